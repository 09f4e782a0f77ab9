"""Records on disk until Nexus has them: append-only files that survive the process which wrote them.

    folder/<owner>.lock      held by `flock` as long as the owner lives
    folder/<owner>/<n>.ndjson   segments: one record a line, the newest one still being written

A segment is one request to Nexus. It is deleted when Nexus has answered for it. Whoever finds a lock that nobody holds
takes over the segments behind it; sending one twice does no harm, as Nexus knows the ids.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nexus_client.ids import uuid7

try:
    import fcntl
except ImportError:
    # On Windows, where records are kept in memory only.
    fcntl = None  # type: ignore[assignment]

_SCAN_SECONDS = 1.0
_SCAN_AGAIN_SECONDS = 0.25


class SpoolFull(OSError):
    """The spool holds as much as it may."""


@dataclass
class Segment:
    """A file of records that is not written to any more."""

    path: Path
    records: int
    """How many it should hold; 0 when that is not known."""
    is_adopted: bool = False

    def read(self) -> tuple[list[bytes], int]:
        """Return its lines, and how many could not be read. Raises `OSError`."""
        pieces = self.path.read_bytes().split(b"\n")
        torn = 1 if pieces.pop() else 0
        if not self.is_adopted:
            return pieces, torn
        good = [piece for piece in pieces if _is_record(piece)]
        return good, torn + len(pieces) - len(good)

    def remove(self) -> None:
        """Delete it. Raises `OSError`."""
        self.path.unlink()


class Adopted:
    """What a process that has ended left; ours as long as the lock is held."""

    def __init__(self, folder: Path, lock: Path, descriptor: int) -> None:
        self._folder = folder
        self._lock = lock
        self._descriptor = descriptor
        self.segments = [Segment(path, 0, is_adopted=True) for path in _segment_paths(folder)]

    def release(self) -> None:
        """Let go, and tidy up if nothing is left."""
        _discard(self._folder, self._lock)
        os.close(self._descriptor)


class Spool:
    """The segments of this process, in a folder that other processes use too. Not safe for several threads at once."""

    def __init__(
        self, folder: Path, *, limit_bytes: int, segment_records: int, segment_bytes: int, fsync: bool
    ) -> None:
        self._root = folder
        self._limit_bytes = limit_bytes
        self._segment_records = segment_records
        self._segment_bytes = segment_bytes
        self._fsync = fsync
        self._folder: Path | None = None
        self._lock: int | None = None
        self._file: int | None = None
        self._number = 0
        self._path = folder
        self._size = 0
        self._used = 0
        self._scanned_at = float("-inf")
        self.records = 0
        """Records in the segment being written."""
        self.begun_at = 0.0
        """When its first record was written, on the monotonic clock."""

    def append(self, lines: list[bytes]) -> int:
        """Write as many lines as the segment takes; returns how many. Nothing is written in part.

        `SpoolFull` when the folder is at its limit, `OSError` when the disk is: the segment then ends where it was.
        """
        descriptor = self._begin() if self._file is None else self._file
        count, size = 0, 0
        for line in lines[: self._segment_records - self.records]:
            if count and self._size + size >= self._segment_bytes:
                break
            count += 1
            size += len(line) + 1
        if self._used + size > self._limit_bytes:
            self._scan(_SCAN_AGAIN_SECONDS)
            if self._used + size > self._limit_bytes:
                raise SpoolFull(f"the spool in {self._root} holds its {self._limit_bytes} bytes")
        try:
            _write(descriptor, b"\n".join(lines[:count]) + b"\n")
            if self._fsync:
                os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, self._size)
            raise
        if not self.records:
            self.begun_at = time.monotonic()
        self.records += count
        self._size += size
        self._used += size
        return count

    @property
    def is_full(self) -> bool:
        """Whether the segment being written holds as much as one request should."""
        return self.records >= self._segment_records or self._size >= self._segment_bytes

    def rotate(self) -> Segment | None:
        """End the segment being written and return it; None when nothing is in it."""
        descriptor = self._file
        if descriptor is None or not self.records:
            return None
        done = Segment(self._path, self.records)
        self._file = None
        self.records = self._size = 0
        # A disk far away may say only now that a write failed. What is missing is missed where the segment is read.
        with contextlib.suppress(OSError):
            os.close(descriptor)
        return done

    def adopt(self) -> Iterator[Adopted]:
        """Take over what ended processes left, one after the other. Raises `OSError`."""
        if fcntl is None or not self._root.is_dir():
            return
        for lock in sorted(self._root.glob("*.lock")):
            folder = lock.with_suffix("")
            if folder == self._folder:
                continue
            try:
                descriptor = os.open(lock, os.O_RDWR)
            except OSError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            if os.fstat(descriptor).st_nlink == 0:
                # Somebody else was faster, and has tidied up.
                os.close(descriptor)
                continue
            yield Adopted(folder, lock, descriptor)

    def close(self) -> None:
        """Let go of everything; segments that are left wait for whoever comes next."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            if not self.records:
                self._path.unlink(missing_ok=True)
        if self._lock is not None and self._folder is not None:
            _discard(self._folder, self._folder.with_suffix(".lock"))
            os.close(self._lock)
        self._lock = self._folder = None
        self.records = self._size = 0

    def forget(self) -> None:
        """In a forked child: close what was inherited, and leave the parent's files alone."""
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = self._folder = None
        self.records = self._size = 0

    def _begin(self) -> int:
        folder = self._folder
        if folder is None or not folder.is_dir():
            folder = self._claim()
        self._scan(_SCAN_SECONDS)
        if self._used >= self._limit_bytes:
            raise SpoolFull(f"the spool in {self._root} holds its {self._limit_bytes} bytes")
        self._number += 1
        self._path = folder / f"{self._number:09d}.ndjson"
        self._file = descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        self.records = self._size = 0
        if self._fsync:
            # A file is there after a power cut when its folder is on the disk, too.
            _sync_folder(folder)
        return descriptor

    def _claim(self) -> Path:
        if fcntl is None:
            raise OSError("there are no file locks here: records are kept in memory only")
        if self._lock is not None:
            # Somebody has removed our folder from under us: begin a new one.
            os.close(self._lock)
            self._lock = None
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            lock = self._root / f"{uuid7()}.lock"
            descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:
                    folder = lock.with_suffix("")
                    folder.mkdir(mode=0o700)
                    break
            except BlockingIOError:
                pass
            except OSError:
                os.close(descriptor)
                lock.unlink(missing_ok=True)
                raise
            # Somebody looking for leftovers took it for one, and tidies it up.
            os.close(descriptor)
        self._lock, self._folder, self._number = descriptor, folder, 0
        if self._fsync:
            _sync_folder(self._root)
        return folder

    def _scan(self, older_than_seconds: float) -> None:
        now = time.monotonic()
        if now - self._scanned_at < older_than_seconds:
            return
        self._scanned_at = now
        used = 0
        for path in self._root.glob("*/*.ndjson"):
            # Another process may just have sent it.
            with contextlib.suppress(OSError):
                used += path.stat().st_size
        self._used = used


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _segment_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.ndjson"))


def _discard(folder: Path, lock: Path) -> None:
    try:
        if folder.is_dir():
            folder.rmdir()
    except OSError:
        return
    lock.unlink(missing_ok=True)
