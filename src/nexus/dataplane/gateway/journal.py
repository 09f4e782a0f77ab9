"""Marks of calls that began and ended, on file: how calls are handed to whoever stores them, and how none is lost to a kill.

    begin (small mark) --> end (the whole record) --file let go--> taken by any process of the node --stored--> deleted
      |                      |
      +-- process killed     +-- process killed: its files are nobody's, and taken like any other
          --> a record "interrupted", made from the mark

Marks are written, not synced: what was written outlives the process, though not the machine. Each process writes to files of
its own, held under flock, and turns over to the next many times a second; a file that nobody holds is taken by any process
of the node and deleted when all its calls are stored. Should that end half-way, it is taken again: ids decide. The frames
are those of ingest's spool. A set of limits that many records name is in each file once.

A call that is still open when the file turns over would hold up the records of all others in it. So its mark moves to a
second file, which holds nothing but marks of such calls, and the first is told so.
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
from nexus.contracts.limit_sets import LimitSet
from nexus.contracts.mcp_requests import McpRequest
from nexus.contracts.tool_calls import ToolCall
from nexus.dataplane.held_files import clear_drafts, create_held, read_nobodys
from nexus.dataplane.ingest.segments import read_frames, write_frame
from nexus.platform.settings import Settings

SUFFIX = ".calls"
OPEN_SUFFIX = ".open"
_DRAFT = ".draft"
SEGMENT_BYTES = 8 * 2**20


def journal_folder(settings: Settings) -> Path:
    """Return where the gateways of a node keep their journals."""
    return settings.data_dir / "gateway"


Record = ApiCall | ToolCall | McpRequest


# An upgrade can find the marks of the release before: fields are added at the end, with a default.
class Begin(msgspec.Struct, frozen=True, array_like=True, tag="b"):
    """A call was sent upstream."""

    id: str
    """A UUIDv7."""
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
    application: str = ""
    user_id: UUID | None = None


class BeginRecords(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """A call was sent upstream, with the records to keep should its process die before it ends."""

    id: str
    key_id: UUID
    organization_id: UUID
    records: tuple[Record, ...]
    application: str = ""
    user_id: UUID | None = None


class End(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """A call ended; this is its record, and on whose behalf it was made, as the key may be gone when it is read."""

    id: str
    key_id: UUID
    organization_id: UUID
    call: Record
    application: str = ""
    user_id: UUID | None = None
    more: tuple[Record, ...] = ()
    """Further records of the same call: what a tool did, and the request of the protocol that asked for it."""


class Over(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """What else there is to say of a call stands in another file."""

    id: str


_encode = msgspec.msgpack.Encoder().encode
_DECODER = msgspec.msgpack.Decoder(Begin | BeginRecords | End | Over | LimitSet)


class _File:
    """One file of a journal being written."""

    def __init__(self, folder: Path, number: int, suffix: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{os.getpid()}-{number}"
        draft = folder / f"{name}{_DRAFT}"
        self.path = folder / f"{name}{suffix}"
        self.descriptor = create_held(draft)
        try:
            draft.rename(self.path)
        except OSError:
            os.close(self.descriptor)
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        self.written_bytes = 0
        self.records = 0
        self.open: dict[OpenCall, bytes] = {}
        """The calls that began here and did not end, with their marks as written."""
        self.limit_sets: set[str] = set()
        """The sets of limits that are written here, by their ids."""

    def write(self, content: bytes) -> None:
        """Append all of the content."""
        written = os.write(self.descriptor, content)
        while written < len(content):
            written += os.write(self.descriptor, content[written:])
        self.written_bytes += len(content)

    def let_go(self) -> None:
        """Leave the file to whoever takes it."""
        os.close(self.descriptor)

    def delete(self) -> None:
        """Delete the file: nothing in it is of use to anybody."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class OpenCall:
    """A call with a mark in the journal and no record yet."""

    __slots__ = ("file", "id")

    def __init__(self, call_id: str, file: _File) -> None:
        self.id = call_id
        self.file = file


@dataclass(slots=True)
class Leftover:
    """A file that its writer let go, or left when it died. Whoever has it holds it."""

    path: Path
    descriptor: int
    begun: dict[str, Begin | BeginRecords] = field(default_factory=dict)
    ended: list[End] = field(default_factory=list)
    limit_sets: dict[str, LimitSet] = field(default_factory=dict)
    """What the records name, by id."""
    damages: int = 0

    def release(self) -> None:
        """Let go of a file whose calls could not be stored now."""
        os.close(self.descriptor)

    def settle(self) -> None:
        """Delete a file whose calls are all stored."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class Journal:
    """The journal of one process, in a folder that the processes of a node share."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self._segment_bytes = segment_bytes
        self._count = 0
        self._active: _File | None = None
        self._long: _File | None = None
        self._left: dict[Path, tuple[int, float]] = {}

    @property
    def has_records(self) -> bool:
        """Whether records wait for the file to be turned over."""
        return self._active is not None and self._active.records > 0

    def begin(self, mark: Begin | BeginRecords) -> OpenCall:
        """Note that a call is sent; `end` must be given what is returned. `OSError` when it cannot be noted."""
        file = self._writable()
        frame = write_frame(_encode(mark))
        file.write(frame)
        call = OpenCall(mark.id, file)
        file.open[call] = frame
        return call

    def end(self, call: OpenCall | None, mark: End, limit_set: LimitSet | None = None) -> None:
        """Note the record of a call, whose beginning could be noted or not. `OSError` when the disk refuses.

        The set of limits that the record names is in the same file, before it.
        """
        noted_in: _File | None = None
        try:
            file = self._writable()
            frame = write_frame(_encode(mark))
            if limit_set is not None and limit_set.id not in file.limit_sets:
                file.write(write_frame(_encode(limit_set)))
                file.limit_sets.add(limit_set.id)
            file.write(frame)
            file.records += 1
            noted_in = file
        finally:
            if call is not None:
                self._forget(call, noted_in)

    def _forget(self, call: OpenCall, noted_in: _File | None) -> None:
        begun_in = call.file
        del begun_in.open[call]
        if begun_in is noted_in:
            return
        # After the record: killed in between, the call is found both ended and open, and ended it is.
        with contextlib.suppress(OSError):
            begun_in.write(write_frame(_encode(Over(call.id))))
        if not begun_in.open and begun_in is not self._active:
            begun_in.delete()
            if begun_in is self._long:
                self._long = None

    def turn_over(self) -> None:
        """Let go of the file that is written to, if records are in it; the next call begins another. `OSError`: not now."""
        file = self._active
        if file is None or not file.records:
            return
        if file.open:
            self._move(file)
        self._active = None
        file.let_go()
        self._left[file.path] = (file.records, time.monotonic())

    def _move(self, file: _File) -> None:
        long = self._long
        if long is None or long.written_bytes >= self._segment_bytes:
            # The one before goes when its last call ends.
            long = self._long = self._next(OPEN_SUFFIX)
        # First there, then here: killed in between, the call is found twice, which counts once.
        long.write(b"".join(file.open.values()))
        file.write(b"".join(write_frame(_encode(Over(call.id))) for call in file.open))
        long.open |= file.open
        for call in file.open:
            call.file = long
        file.open = {}

    def _writable(self) -> _File:
        file = self._active
        if file is not None and file.written_bytes < self._segment_bytes:
            return file
        if file is not None:
            if file.records:
                self.turn_over()
            elif file.open:
                self._move(file)
                file.delete()
        self._active = self._next(SUFFIX)
        return self._active

    def _next(self, suffix: str) -> _File:
        self._count += 1
        return _File(self.folder, self._count, suffix)

    def waiting(self) -> tuple[int, float]:
        """Return how many records of this process nobody has stored yet, and for how many seconds the oldest file waits."""
        self._left = {path: left for path, left in self._left.items() if path.exists()}
        count = sum(records for records, _ in self._left.values()) + (self._active.records if self._active else 0)
        oldest = min((since for _, since in self._left.values()), default=None)
        return count, 0.0 if oldest is None else time.monotonic() - oldest

    def close(self) -> None:
        """Let go of all files. What is in them is recorded by another process, or the next; open calls as interrupted."""
        for file in (self._active, self._long):
            if file is not None and not file.records and not file.open:
                file.delete()
            elif file is not None:
                file.let_go()
        self._active = self._long = None


def leftovers(folder: Path) -> Iterator[Leftover]:
    """Take each file that nobody holds, oldest first, those of open calls last: who has ended is known by then."""
    for suffix in (SUFFIX, OPEN_SUFFIX):
        for path, descriptor, content in read_nobodys(folder, suffix):
            yield _read(path, descriptor, content)


def clear_unfinished(folder: Path) -> None:
    """Delete the files of processes that died while making one; no call is marked in them."""
    clear_drafts(folder, _DRAFT)


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
        if isinstance(mark, (Begin, BeginRecords)):
            found.begun[mark.id] = mark
            continue
        if isinstance(mark, LimitSet):
            found.limit_sets[mark.id] = mark
            continue
        found.begun.pop(mark.id, None)
        if isinstance(mark, End):
            found.ended.append(mark)
    return found
