"""Work in threads before and behind the calling thread, through bounded queues.

Ctrl-C reaches the calling thread alone. It never waits where that could not wake it, and the
queues are those of C, which an interrupt leaves whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_WAKE_SECONDS = 0.2
_END = object()


@dataclass(frozen=True)
class _Raised:
    error: BaseException


class Ahead(Generic[T]):
    """The items of a generator, made by a thread that is at most ``depth`` of them ahead.

    A context, which gives the items and stops the thread at its end. What the generator raises
    is raised behind the items before it.
    """

    def __init__(self, items: Generator[T, None, None], *, depth: int) -> None:
        self._items = items
        self._made: SimpleQueue[Any] = SimpleQueue()
        self._room = _tokens(depth)
        self._stopped = False
        self._thread = threading.Thread(target=self._make, name="ahead", daemon=True)

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._take()

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._room.put(None)
        _join(self._thread)

    def _take(self) -> Iterator[T]:
        while (item := _get(self._made)) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            self._room.put(None)
            yield item

    def _make(self) -> None:
        try:
            item: object = None
            while item is not _END:
                self._room.get()
                if self._stopped:
                    break
                item = next(self._items, _END)
                self._made.put(item)
        except BaseException as error:
            self._made.put(_Raised(error))
        finally:
            self._items.close()


class Behind(Generic[T]):
    """A function that a thread calls with one item after the other; ``depth`` of them may wait.

    A context, which gives the function that hands over an item. Its end waits until all is done,
    also where there was an error on this side: it has been paid for. What the function raises is
    raised here, at the next item or at the end; items that wait are then left.
    """

    def __init__(self, work: Callable[[T], None], *, depth: int) -> None:
        self._work = work
        self._given: SimpleQueue[Any] = SimpleQueue()
        self._room = _tokens(depth)
        self._raised: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)

    def __enter__(self) -> Callable[[T], None]:
        self._thread.start()
        return self._give

    def __exit__(self, kind: object, *_: object) -> None:
        self._given.put(_END)
        try:
            _join(self._thread)
        except KeyboardInterrupt:  # one more, while what waits is being done
            self._stopped = True
            _join(self._thread)
            raise
        if kind is None and self._raised is not None:
            raise self._raised

    def _give(self, item: T) -> None:
        _get(self._room)
        if self._raised is not None:
            raise self._raised
        self._given.put(item)

    def _run(self) -> None:
        try:
            while (item := self._given.get()) is not _END and not self._stopped:
                self._work(item)
                self._room.put(None)
        except BaseException as error:
            self._raised = error
            self._room.put(None)


def _tokens(count: int) -> SimpleQueue[None]:
    """A queue that holds a token for each item there is room for."""
    tokens: SimpleQueue[None] = SimpleQueue()
    for _ in range(count):
        tokens.put(None)
    return tokens


def _get(queue: SimpleQueue[Any]) -> Any:
    """The next of a queue; on Windows, Ctrl-C is seen between two waits only."""
    while True:
        try:
            return queue.get(timeout=_WAKE_SECONDS)
        except Empty:
            continue


def _join(thread: threading.Thread) -> None:
    while thread.is_alive():
        thread.join(_WAKE_SECONDS)
