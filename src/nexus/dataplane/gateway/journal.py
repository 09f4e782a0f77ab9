"""Marks of calls that began and ended, on file, so that a killed process loses no call it forwarded.

    begin (small mark) --> end (the whole record) --> stored by ingest --> forgotten
      |                      |
      +-- process killed     +-- process killed: the record is submitted again; its id decides whether it is new
          --> a record "interrupted", made from the mark

Marks are written, not synced: what was written outlives the process, though not the machine. Each process has files of
its own, held under flock; one that nobody holds is adopted by any process of the node. A file is deleted when all
its calls are stored. The frames are those of ingest's spool.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import msgspec

from nexus.contracts.calls import ApiCall
from nexus.dataplane.held_files import clear_drafts, create_held, read_nobodys
from nexus.dataplane.ingest.segments import read_frames, write_frame

SUFFIX = ".calls"
_DRAFT = ".draft"
SEGMENT_BYTES = 8 * 2**20


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="b"):
    """A call was sent upstream."""

    id: UUID
    key_id: UUID
    organization_id: UUID
    provider: str
    method: str
    path: str
    model: str
    request_id: str
    request_bytes: int
    input_estimate: int
    """Model tokens of the request as estimated; what an interrupted call is priced by."""


class End(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """A call ended; this is its record."""

    id: UUID
    key_id: UUID
    organization_id: UUID
    call: ApiCall


_encode = msgspec.msgpack.Encoder(uuid_format="hex").encode
_DECODER = msgspec.msgpack.Decoder(Begin | End)


class JournalFile:
    """One file of a journal being written."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.written_bytes = 0
        self.open_calls = 0
        """Calls with a mark here that are not stored yet."""
        self.is_sealed = False


@dataclass(slots=True)
class Leftover:
    """What a process that died left in one file."""

    path: Path
    descriptor: int
    begun: dict[UUID, Begin] = field(default_factory=dict)
    ended: list[End] = field(default_factory=list)
    damages: int = 0


class Journal:
    """The journal of one process, in a folder that the processes of a node share."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._active: JournalFile | None = None
        self._files: set[Path] = set()
        self._count = 0

    def begin(self, mark: Begin) -> JournalFile:
        """Note that a call is sent; give what is returned to `end`, `stored` or `forget`. `OSError` when it cannot be noted."""
        file = self._active
        if file is None or file.written_bytes >= self._segment_bytes:
            file = self._next()
        file.written_bytes += _write(file.descriptor, write_frame(_encode(mark)))
        file.open_calls += 1
        return file

    def end(self, file: JournalFile, mark: End) -> None:
        """Note the record of a call, in the file that holds its beginning. `OSError` when the disk refuses."""
        file.written_bytes += _write(file.descriptor, write_frame(_encode(mark)))

    def stored(self, file: JournalFile) -> None:
        """Note that a call is stored. A file whose calls are all stored is deleted, or emptied if it is still written to."""
        file.open_calls -= 1
        if file.open_calls == 0:
            if file.is_sealed:
                self._drop(file)
            else:
                os.ftruncate(file.descriptor, 0)
                file.written_bytes = 0

    def _next(self) -> JournalFile:
        old = self._active
        if old is not None:
            old.is_sealed = True
            if old.open_calls == 0:
                self._drop(old)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._count += 1
        name = f"{time.time_ns():020d}-{os.getpid()}-{self._count}"
        draft, path = self.folder / f"{name}{_DRAFT}", self.folder / f"{name}{SUFFIX}"
        descriptor = create_held(draft)
        try:
            draft.rename(path)
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        self._files.add(path)
        self._active = JournalFile(path, descriptor)
        return self._active

    def _drop(self, file: JournalFile) -> None:
        if self._active is file:
            self._active = None
        file.path.unlink(missing_ok=True)
        os.close(file.descriptor)
        self._files.discard(file.path)

    def close(self) -> None:
        """Let go of all files. Those with calls that are not stored are adopted by another process, or the next."""
        file, self._active = self._active, None
        if file is not None and file.open_calls == 0:
            self._drop(file)
        elif file is not None:
            os.close(file.descriptor)

    def leftovers(self) -> Iterator[Leftover]:
        """Take each file nobody holds, oldest first. What is given out stays held until `settle` or `release`."""
        for path, descriptor, content in read_nobodys(self.folder, SUFFIX, but=frozenset(self._files)):
            yield _read(path, descriptor, content)

    def clear_drafts(self) -> None:
        """Delete the files of processes that died while making one; no call is marked in them."""
        clear_drafts(self.folder, _DRAFT)

    def release(self, leftover: Leftover) -> None:
        """Let go of a file whose calls could not be stored now."""
        os.close(leftover.descriptor)

    def settle(self, leftover: Leftover) -> None:
        """Delete a file whose calls are all stored."""
        leftover.path.unlink(missing_ok=True)
        os.close(leftover.descriptor)


def _write(descriptor: int, content: bytes) -> int:
    written = os.write(descriptor, content)
    while written < len(content):
        written += os.write(descriptor, content[written:])
    return len(content)


def _read(path: Path, descriptor: int, content: bytes) -> Leftover:
    found = Leftover(path, descriptor)
    for payload in read_frames(content):
        if payload is None:
            found.damages += 1
            continue
        try:
            mark = _DECODER.decode(payload)
        except msgspec.MsgspecError:
            found.damages += 1
            continue
        if isinstance(mark, Begin):
            found.begun[mark.id] = mark
        else:
            found.begun.pop(mark.id, None)
            found.ended.append(mark)
    return found
