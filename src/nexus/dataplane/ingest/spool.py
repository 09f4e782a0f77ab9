"""Takes rows to disk while PostgreSQL is away, so that they can be acknowledged, and gives them back in order.

Each process appends to segments of its own, one for each type of record, which it holds under an exclusive lock (flock)
as long as it writes to them. A segment nobody holds is adopted by whoever drains first: its writer has finished it, or
died. A segment is deleted when all its rows are committed; a crash in between repeats rows, whose ids decide.

    .new (locked, header synced) --rename, sync of the folder--> .spool (written) --sealed or process died-->
    .spool (unlocked) --adopted by any process--> drained --> deleted

Nothing in this module waits for the event loop: the writer calls it in a thread of its own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nexus.dataplane.held_files import clear_drafts, create_held, files_of, read_nobodys
from nexus.dataplane.ingest.record_type import RowType
from nexus.dataplane.ingest.segments import Damage, Frame, encode_frame, encode_preamble, read_segment
from nexus.kit.errors import Unavailable
from nexus.platform.db.secrets import write_private

SEGMENT_BYTES = 64 * 2**20
SUFFIX = ".spool"
_DRAFT_SUFFIX = ".new"
_QUARANTINE = "quarantine"


class SpoolFull(Unavailable):
    """The database is away and the spool has reached its limit: send the records again later."""

    code = "spool_full"


class SpoolBroken(Unavailable):
    """The database is away and the spool cannot be written: send the records again later."""

    code = "spool_broken"


class SegmentHandle(Protocol):
    """An open segment file. The tests put one in place that forgets what was not synced."""

    def write(self, content: bytes) -> None:
        """Append all of the content."""
        ...

    def datasync(self) -> None:
        """Return when everything written is on disk."""
        ...

    def truncate(self, length: int) -> None:
        """Cut the file to a length."""
        ...

    def close(self) -> None:
        """Let go of the file and its lock."""
        ...


class Disk:
    """The file system as it is."""

    def create(self, path: Path) -> SegmentHandle:
        """Create a file only its owner can read, and lock it."""
        return DiskHandle(create_held(path))

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in a folder are on disk."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class DiskHandle:
    """An open and locked file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, content: bytes) -> None:
        """Append all of the content; `OSError` when there is no room, with a part of it written."""
        view = memoryview(content)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def datasync(self) -> None:
        """Return when everything written is on disk."""
        os.fdatasync(self._descriptor)

    def truncate(self, length: int) -> None:
        """Cut the file to a length."""
        os.ftruncate(self._descriptor, length)

    def close(self) -> None:
        """Let go of the file and its lock."""
        os.close(self._descriptor)


@dataclass(slots=True)
class _Active:
    path: Path
    handle: SegmentHandle
    length: int


@dataclass(slots=True)
class Adopted:
    """A segment this process holds, to drain it."""

    path: Path
    descriptor: int
    type_name: str = ""
    columns: tuple[str, ...] = ()
    frames: list[Frame] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    torn_bytes: int = 0


class Spool:
    """The spool of one node: a folder shared by its processes."""

    def __init__(
        self, folder: Path, *, limit_bytes: int, segment_bytes: int = SEGMENT_BYTES, disk: Disk | None = None
    ) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes
        self._segment_bytes = segment_bytes
        self._disk = disk or Disk()
        self._active: dict[str, _Active] = {}
        """The segment being written, by type of record."""
        self._count = 0

    def append(self, record_type: RowType, frames: Sequence[Frame]) -> int:
        """Write frames of one type and return their size when they are on disk: from then on they survive anything but the disk.

        `SpoolFull` at the limit, `SpoolBroken` when the disk refuses; then none of the frames counts as taken.
        """
        content = b"".join(encode_frame(frame) for frame in frames)
        if self.size_bytes() + len(content) > self._limit_bytes:
            raise SpoolFull(retry_after_seconds=10)
        try:
            active = self._active.get(record_type.name) or self._create(record_type)
        except OSError as error:
            raise SpoolBroken(f"{SpoolBroken.__doc__} ({error.strerror})", retry_after_seconds=10) from error
        try:
            active.handle.write(content)
        except OSError as error:
            # Part of it may be written: cut it off, so that what follows stays readable.
            try:
                active.handle.truncate(active.length)
            except OSError:
                self._abandon(record_type.name)
            raise SpoolBroken(f"{SpoolBroken.__doc__} ({error.strerror})", retry_after_seconds=10) from error
        try:
            active.handle.datasync()
        except OSError as error:
            # After a failed sync the kernel may take pages for clean that never reached the disk: no more writes here.
            self._abandon(record_type.name)
            raise SpoolBroken(f"{SpoolBroken.__doc__} ({error.strerror})", retry_after_seconds=10) from error
        active.length += len(content)
        if active.length >= self._segment_bytes:
            self._abandon(record_type.name)
        return len(content)

    def _create(self, record_type: RowType) -> _Active:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now_ns = time.time_ns()
        self._count += 1
        name = f"{now_ns:020d}-{os.getpid()}-{self._count}"
        draft = self.folder / f"{name}{_DRAFT_SUFFIX}"
        handle = self._disk.create(draft)
        preamble = encode_preamble(
            record_type.columns,
            created_at_us=now_ns // 1000,
            process_id=os.getpid(),
            record_type=record_type.name,
        )
        path = self.folder / f"{name}{SUFFIX}"
        try:
            # Others look at names with SUFFIX only, so none can adopt the file before it is locked.
            handle.write(preamble)
            handle.datasync()
            draft.rename(path)
            self._disk.sync_folder(self.folder)
        except OSError:
            handle.close()
            for leftover in (draft, path):
                with contextlib.suppress(OSError):
                    leftover.unlink()
            raise
        active = self._active[record_type.name] = _Active(path, handle, len(preamble))
        return active

    def _abandon(self, type_name: str) -> None:
        active = self._active.pop(type_name, None)
        if active is not None:
            with contextlib.suppress(OSError):
                active.handle.close()

    def seal(self) -> None:
        """Finish this process's segments, so that they can be drained."""
        for type_name in list(self._active):
            self._abandon(type_name)

    def _segments(self) -> list[Path]:
        return files_of(self.folder, SUFFIX)

    def size_bytes(self) -> int:
        """Return the bytes in all segments of the node."""
        total = 0
        for path in self._segments():
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def quarantine_bytes(self) -> int:
        """Return the bytes kept because they could not be stored."""
        folder = self.folder / _QUARANTINE
        if not folder.is_dir():
            return 0
        return sum(path.stat().st_size for path in folder.iterdir())

    def is_empty(self) -> bool:
        """Tell whether there is nothing to drain."""
        return not self._segments()

    def adopt(self) -> Iterator[Adopted]:
        """Take, oldest first, each segment nobody holds. What is given out stays held until dropped or released."""
        own = frozenset(active.path for active in self._active.values())
        for path, descriptor, content in read_nobodys(self.folder, SUFFIX, but=own):
            header, found, torn = read_segment(content)
            yield Adopted(
                path,
                descriptor,
                header.type if header else "",
                tuple(header.columns) if header else (),
                [item for item in found if isinstance(item, Frame)],
                [item for item in found if isinstance(item, Damage)],
                torn,
            )

    def release(self, segment: Adopted) -> None:
        """Let go of a segment that could not be drained to its end; it is adopted again later."""
        os.close(segment.descriptor)

    def drop(self, segment: Adopted) -> None:
        """Delete a segment whose rows are all stored or in quarantine."""
        segment.path.unlink(missing_ok=True)
        os.close(segment.descriptor)
        self._disk.sync_folder(self.folder)

    def quarantine(self, name: str, content: bytes) -> Path:
        """Keep what cannot be stored, synced, for a person to look at."""
        folder = self.folder / _QUARANTINE
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / name
        write_private(path, content)
        self._disk.sync_folder(folder)
        return path

    def clear_drafts(self) -> None:
        """Delete the unfinished segments of processes that died while making one; nothing in them was acknowledged."""
        clear_drafts(self.folder, _DRAFT_SUFFIX)
