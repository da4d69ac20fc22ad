"""The queue on disk: where a series stands is the folder that it is in.

    incoming/SERIES/OBJECT.dcm    what was accepted, as it came
    ready/SERIES/                 a series that is whole; what it was made from stays here
    denoising/SERIES/             what is being made of it
    denoised/SERIES/              what was made of it, less what the peer has already
    sent/SERIES.json              which objects are done with, for a while
    dead-letter/SERIES/           what was given up, and reason.json

Every step is a rename, and each is safe to be the last before a power failure: a node that starts
again goes on from what it finds. SERIES and OBJECT are digests: nothing that a peer says becomes
part of a path.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ctdenoise.derived.atomic import PARTIAL_SUFFIX, create_folder
from ctdenoise.derived.writers import FILE_PATTERN
from ctdenoise.pacs.dead_letters import DeadLetters
from ctdenoise.pacs.durable import Bytes, OwnFolder, move, sync_folder, write, write_partial

_STAGES = ("incoming", "ready", "denoising", "denoised", "sent", "dead-letter", "done")
_PROBLEMS = "problems.json"
_TRIES = "tries"
_LOCK = "ctdenoise-spool.lock"


class DuplicateError(Exception):
    """Another object has the same SOP Instance UID."""


class Spool:
    """The folders of a node. Several threads may store, one may denoise, and one may send.

    Args:
        root: made if it is not there, for its owner alone.
        remember: seconds for which a series that was sent on is known, if it comes again.

    Raises:
        CTDenoiseError: another node has it, it cannot be made, or it holds something else.
    """

    def __init__(self, root: Path, *, remember: float) -> None:
        create_folder(root)
        self.root = root.resolve()
        self._own = OwnFolder(self.root, _LOCK)
        # Everything in here is of patients.
        self.root.chmod(0o700)
        folders = [self.root / stage for stage in _STAGES]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        for folder in (self.root, *self.root.parents):
            # Those above may be of others, and were there before.
            with suppress(OSError):
                sync_folder(folder)
        self._incoming, self._ready, self._denoising, self._denoised = folders[:4]
        self._sent, dead, self._done = folders[4:]
        self.dead_letters = DeadLetters(dead)
        self._remember = remember
        self._naming = threading.Lock()
        self._finishing = threading.Lock()
        self._made_sure: set[str] = set()
        self._recover()

    def close(self) -> None:
        """Leave the folders to another node."""
        self._own.release()

    def store(self, series: str, instance: str, parts: Sequence[Bytes]) -> bool:
        """Put an object on the disk; when this returns, it is safe.

        Args:
            series: digest of its series.
            instance: digest of its SOP Instance UID.
            parts: the file, one after the other.

        Returns:
            False if the very same object is here already, or was sent on not long ago.

        Raises:
            DuplicateError: another object of the same UID is, or was.
            OSError: the disk does not take it.
        """
        folder = self._incoming / series
        if self._is_known(series, instance, parts):
            # Another association may have brought it just now, or a process that was killed, and
            # not made sure of it yet.
            with suppress(FileNotFoundError):
                self._make_sure(series)
            return False
        folder.mkdir(exist_ok=True)
        partial = write_partial(folder, parts)
        path = folder / f"{instance}.dcm"
        with self._naming:
            new = not path.exists()
            if new:
                partial.rename(path)
        self._make_sure(series)
        if not new:
            partial.unlink()
            self._is_known(series, instance, parts)
        return new

    def claim(self, series: str) -> str | None:
        """Take a series as whole, unless an earlier part of it is still on its way.

        The caller makes sure that nothing of it is being stored.
        """
        folder = self._incoming / series
        if (self._ready / series).exists() or (self._denoised / series).exists():
            return None
        self._made_sure.discard(series)
        if self._holds_none(folder):
            shutil.rmtree(folder)
            return None
        move(folder, self._ready / series)
        return series

    def incoming(self) -> list[str]:
        """Series that are coming in, those that began first at the front."""
        return _by_age(self._incoming)

    def ready(self) -> list[str]:
        """Series that are to be denoised."""
        sending = set(self.denoised())
        return [series for series in _by_age(self._ready) if series not in sending]

    def denoised(self) -> list[str]:
        """Series that are to be sent."""
        return _by_age(self._denoised)

    def sources(self, series: str) -> Path:
        """The folder with what a claimed series was made from."""
        return self._ready / series

    def begin(self, series: str) -> tuple[Path, int]:
        """The folder to denoise a series into, and how often that was begun and not ended.

        It is 1 the first time. A series that ends the process is told by it.
        """
        folder = self._denoising / series
        folder.mkdir(exist_ok=True)
        tries = folder / _TRIES
        count = int(tries.read_text()) + 1 if tries.exists() else 1
        write(tries, str(count).encode())
        return folder, count

    def outlived(self, series: str) -> None:
        """The process is still here after a try: that one is not counted."""
        (self._denoising / series / _TRIES).unlink(missing_ok=True)

    def ended(self, series: str, problems: Sequence[str]) -> None:
        """A series was denoised; ``problems`` is what of it was not, and makes a dead letter."""
        folder = self._denoising / series
        if problems:
            write(folder / _PROBLEMS, json.dumps(list(problems)).encode())
        else:
            (folder / _PROBLEMS).unlink(missing_ok=True)
        self.outlived(series)
        move(folder, self._denoised / series)

    def unsent(self, series: str) -> list[Path]:
        """Derived files that the peer does not have yet."""
        return sorted((self._denoised / series).rglob(FILE_PATTERN))

    def finish(self, series: str) -> bool:
        """A series is done with; False if part of it became a dead letter."""
        with self._finishing:
            return self._finish(series)

    def bury(self, series: str, stage: str, reasons: Sequence[str]) -> None:
        """Give a series up, for somebody to look at it."""
        left = self._denoised if (self._denoised / series).exists() else self._denoising
        self.dead_letters.add(
            series, stage, reasons, {"source": self._ready / series, "derived": left / series}
        )

    def revive(self) -> int:
        """Put the dead letters back into the queue; returns how many."""
        return self.dead_letters.revive(source=self._ready, derived=self._denoised, done=self._done)

    def free_bytes(self) -> int:
        """What the disk has left."""
        return shutil.disk_usage(self.root).free

    def _finish(self, series: str) -> bool:
        problems = self._denoised / series / _PROBLEMS
        if problems.exists():
            self.bury(series, "denoising", json.loads(problems.read_bytes()))
            return False
        sources = self._ready / series
        if sources.exists():
            if self._remember > 0:
                self._note_sent(series, sources.glob("*.dcm"))
            # The sources go first: without them nothing is denoised again.
            move(sources, self._done / f"{series}-sources")
        for folder in (self._denoising, self._denoised):
            if (folder / series).exists():
                move(folder / series, self._done / f"{series}-{folder.name}")
        self._sweep()
        self._forget()
        return True

    def _make_sure(self, series: str) -> None:
        """Make sure of the names of what came of a series, and of its own."""
        sync_folder(self._incoming / series)
        if series not in self._made_sure:
            sync_folder(self._incoming)
            self._made_sure.add(series)

    def _is_known(self, series: str, instance: str, parts: Sequence[Bytes]) -> bool:
        # In the order of the stages, so that nothing slips by while it moves on.
        for folder in (self._incoming, self._ready):
            try:
                there = hashlib.sha256((folder / series / f"{instance}.dcm").read_bytes())
            except FileNotFoundError:
                continue
            return _same(there.hexdigest(), parts)
        sent = self._read_sent(series)
        return instance in sent and _same(sent[instance], parts)

    def _read_sent(self, series: str) -> dict[str, str]:
        path = self._sent / f"{series}.json"
        try:
            if self._is_past(path):
                return {}
            read: dict[str, str] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        return read

    def _note_sent(self, series: str, sources: Iterable[Path]) -> None:
        sent = self._read_sent(series)
        for path in sources:
            sent[path.stem] = hashlib.sha256(path.read_bytes()).hexdigest()
        write(self._sent / f"{series}.json", json.dumps(sent).encode())

    def _is_past(self, path: Path) -> bool:
        return time.time() - path.stat().st_mtime >= self._remember

    def _recover(self) -> None:
        for partial in self.root.glob(f"*/*/{PARTIAL_SUFFIX}-*"):
            if partial.is_file():
                partial.unlink()
        self.dead_letters.recover()
        for series in _by_age(self._denoising):
            if not (self._ready / series).exists():
                move(self._denoising / series, self._done / f"{series}-denoising")
        for series in self.incoming():
            if self._holds_none(self._incoming / series):
                shutil.rmtree(self._incoming / series)
        self._sweep()
        self._forget()

    def _forget(self) -> None:
        for path in self._sent.glob("*.json"):
            if self._is_past(path):
                path.unlink()

    def _sweep(self) -> None:
        for folder in self._done.iterdir():
            shutil.rmtree(folder)

    @staticmethod
    def _holds_none(folder: Path) -> bool:
        return next(folder.glob("*.dcm"), None) is None


def _same(there: str, parts: Sequence[Bytes]) -> bool:
    come = hashlib.sha256()
    for part in parts:
        come.update(part)
    if come.hexdigest() != there:
        raise DuplicateError
    return True


def _by_age(folder: Path) -> list[str]:
    ages = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another thread may have moved it on
            ages.append((path.stat().st_mtime, path.name))
    return [name for _, name in sorted(ages)]
