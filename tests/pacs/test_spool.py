"""The queue on disk, with a power failure at each of its steps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ctdenoise.pacs import dead_letters, durable, spool
from ctdenoise.pacs.names import digest
from ctdenoise.pacs.spool import DuplicateError, Spool
from tests.conftest import SAMPLE

SERIES = digest("1.2", "3.4")
FILES = sorted(SAMPLE.glob("*.dcm"))[:2]
OBJECTS = {digest(uid): path.read_bytes() for uid, path in zip("ab", FILES, strict=True)}


class PowerFailureError(BaseException):
    pass


class Archive:
    """Takes series through a spool, and knows what was sent; a failure leaves it in the midst."""

    def __init__(
        self, root: Path, *, problems: tuple[str, ...] = (), refuses: bool = False
    ) -> None:
        self.sent: list[str] = []
        self._root = root
        self._problems = problems
        self._refuses = refuses

    def run(self) -> Spool:
        """All steps that there are to do."""
        queue = Spool(self._root, remember=3600.0)
        try:
            for name, content in OBJECTS.items():
                queue.store(SERIES, name, [content])
            for series in queue.incoming():
                queue.claim(series)
            for series in queue.ready():
                self._denoise(queue, series)
            for series in queue.denoised():
                self._send(queue, series)
        finally:
            queue.close()
        return queue

    def _denoise(self, queue: Spool, series: str) -> None:
        folder, _ = queue.begin(series)
        for place, path in enumerate(sorted(queue.sources(series).glob("*.dcm"))):
            # What is derived from an object has a name that depends on it alone.
            (folder / f"{place}-{path.stem}.dcm").write_bytes(path.read_bytes())
        queue.ended(series, self._problems)

    def _send(self, queue: Spool, series: str) -> None:
        if self._refuses:
            queue.bury(series, "sending", ["refused"])
            return
        for path in queue.unsent(series):
            self.sent.append(path.stem.partition("-")[2])
            path.unlink()
        queue.finish(series)


def failing(monkeypatch: pytest.MonkeyPatch, step: int) -> Callable[[], int]:
    """Has the power fail before a step that changes the disk; gives how many steps there were."""
    count = 0

    def guarded(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            nonlocal count
            count += 1
            if count == step:
                raise PowerFailureError
            return function(*arguments)

        return call

    for module in (spool, dead_letters):
        for name in ("move", "write", "sync_folder", "write_partial"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, guarded(getattr(durable, name)))
    monkeypatch.setattr(spool.shutil, "rmtree", guarded(_rmtree))
    return lambda: count


_rmtree = spool.shutil.rmtree


@pytest.mark.parametrize(
    ("how", "dead"), [({}, False), ({"problems": ("damaged",)}, True), ({"refuses": True}, True)]
)
def test_a_power_failure_at_any_step_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: dict, dead: bool
) -> None:
    step = 0
    while True:
        step += 1
        archive = Archive(tmp_path / str(step), **how)
        with monkeypatch.context() as patched:
            steps = failing(patched, step)
            with suppress(PowerFailureError):
                archive.run()
            if steps() < step:
                break
        queue = archive.run()
        queue = archive.run()
        letters = list((queue.root / "dead-letter").iterdir())
        for letter in letters:
            assert letter.name.startswith(SERIES)
            assert {path.stem for path in (letter / "source").iterdir()} == set(OBJECTS)
        assert bool(letters) is dead
        if not how.get("refuses"):
            assert set(archive.sent) == set(OBJECTS)
        for stage in ("denoising", "done"):
            assert not list((queue.root / stage).iterdir())
    assert step > 10


def test_equal_and_other_objects_of_one_uid(tmp_path: Path) -> None:
    queue = Spool(tmp_path / "spool", remember=3600.0)
    name, content = next(iter(OBJECTS.items()))
    assert queue.store(SERIES, name, [content[:100], memoryview(content)[100:]])
    assert not queue.store(SERIES, name, [content])
    queue.claim(SERIES)
    assert not queue.store(SERIES, name, [content])
    with pytest.raises(DuplicateError):
        queue.store(SERIES, name, [content, b"more"])
    assert queue.finish(SERIES)
    assert not queue.store(SERIES, name, [content])
    with pytest.raises(DuplicateError):
        queue.store(SERIES, name, [b"other"])
    queue.close()
    queue = Spool(tmp_path / "spool", remember=0.0)
    assert queue.store(SERIES, name, [content])
    assert not list((tmp_path / "spool" / "sent").iterdir())


def test_a_late_part_waits_for_the_first(tmp_path: Path) -> None:
    queue = Spool(tmp_path / "spool", remember=3600.0)
    (first, content), (second, other) = OBJECTS.items()
    queue.store(SERIES, first, [content])
    assert queue.claim(SERIES) == SERIES
    queue.store(SERIES, second, [other])
    assert queue.claim(SERIES) is None
    queue.finish(SERIES)
    assert queue.claim(SERIES) == SERIES
    assert [path.stem for path in queue.sources(SERIES).iterdir()] == [second]
