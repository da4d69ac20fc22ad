"""Threads before and behind: order, bounds, errors, and that none of them is left."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Iterator

import pytest

from ctdenoise.overlap import Ahead, Behind


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not {"ahead", "behind"} & {thread.name for thread in threading.enumerate()}


def counting(made: list[int], count: int) -> Generator[int, None, None]:
    for i in range(count):
        made.append(i)
        yield i


def test_items_come_in_order_and_no_more_than_the_depth_ahead() -> None:
    made: list[int] = []
    with Ahead(counting(made, 50), depth=3) as ahead:
        for taken, item in enumerate(ahead, start=1):
            assert item == taken - 1
            time.sleep(0.002)
            assert len(made) <= taken + 3
    assert taken == 50


def test_reader_stops_when_nobody_wants_more() -> None:
    made: list[int] = []
    closed = threading.Event()

    def endless() -> Generator[int, None, None]:
        try:
            yield from counting(made, 10**9)
        finally:
            closed.set()

    with Ahead(endless(), depth=2) as ahead:
        assert next(ahead) == 0
    assert closed.is_set()
    assert len(made) <= 4


def test_an_error_in_reading_comes_behind_the_items_before_it() -> None:
    def breaking() -> Generator[int, None, None]:
        yield 1
        raise OSError("gone")

    taken = []

    def take_all() -> None:
        with Ahead(breaking(), depth=5) as ahead:
            for item in ahead:
                taken.append(item)

    with pytest.raises(OSError, match="gone"):
        take_all()
    assert taken == [1]


def test_all_is_written_in_order_before_the_end() -> None:
    written: list[int] = []

    def slow(item: int) -> None:
        time.sleep(0.002)
        written.append(item)

    with Behind(slow, depth=2) as give:
        for i in range(30):
            give(i)
            assert i - len(written) <= 3
    assert written == list(range(30))


def test_what_was_given_is_written_after_an_error_on_this_side() -> None:
    written: list[int] = []

    def slow(item: int) -> None:
        time.sleep(0.05)
        written.append(item)

    def give_two_and_fail() -> None:
        with Behind(slow, depth=2) as give:
            give(1)
            give(2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_two_and_fail()
    assert written == [1, 2]


@pytest.mark.parametrize("depth", [1, 3])
def test_an_error_in_writing_wakes_who_waits_for_room(depth: int) -> None:
    def full(item: int) -> None:
        time.sleep(0.05)
        raise OSError(28, "No space left on device")

    given = []

    def give_all() -> None:
        with Behind(full, depth=depth) as give:
            for i in range(1000):
                give(i)
                given.append(i)

    with pytest.raises(OSError, match="No space left"):
        give_all()
    assert len(given) <= depth


def test_an_error_in_writing_the_last_item_is_not_lost() -> None:
    def full(item: int) -> None:
        time.sleep(0.02)
        raise OSError("full")

    with pytest.raises(OSError, match="full"), Behind(full, depth=3) as give:
        give(1)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that interrupts")
@pytest.mark.parametrize("waits_for", ["reader", "writer"])
def test_an_interrupt_reaches_who_waits(waits_for: str) -> None:
    """The other side takes its time, and is waited for; nothing of it is lost."""
    written: list[int] = []

    def read() -> Generator[int, None, None]:
        for i in range(1000):
            time.sleep(0.3 if waits_for == "reader" else 0.0)
            yield i

    def write(item: int) -> None:
        time.sleep(0.3 if waits_for == "writer" else 0.0)
        written.append(item)

    given = []

    def go_through() -> None:
        with Ahead(read(), depth=1) as ahead, Behind(write, depth=1) as give:
            for item in ahead:
                give(item)
                given.append(item)

    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    try:
        with pytest.raises(KeyboardInterrupt):
            go_through()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 2.5
    assert 0 < len(given) < 10
    assert written == given
