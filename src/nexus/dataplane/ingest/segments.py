"""The form of the spool's files: how frames are written, and how they are read back after a crash.

A segment holds records of one type. It begins with `MAGIC`, then a frame that names the type and its columns; every
other frame holds the rows of one batch. A frame is `mark (4 bytes), length, CRC-32 of the payload, CRC-32 of these
three (4 bytes each, big-endian)` and the payload in MessagePack. What a reader can find:

    whole frame                 -> given out
    frame cut off by the end    -> never acknowledged, as a synced frame is whole: discarded
    zeros to the end            -> the same: the file had grown, its content was not yet written
    anything else               -> damaged: given out as such, to be kept in quarantine; reading goes on at the next
                                   sound header
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import msgspec

MAGIC = b"NXSPOOL1"
MARK = b"\xf1NXf"
_HEAD = struct.Struct(">4sII")
_CHECK = struct.Struct(">I")
HEADER_BYTES = _HEAD.size + _CHECK.size


class SegmentHeader(msgspec.Struct, frozen=True):
    """First frame of a segment."""

    columns: list[str]
    created_at_us: int
    process_id: int
    type: str = "api_call"
    """Type of the records; segments of releases that took calls only do not say it."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """Rows of one batch, with what the writer needs to know of them without reading them."""

    organization_id: bytes
    days: list[int]
    """Days since 2000 of the rows' keys."""
    rows: list[bytes]


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of a segment that cannot be read."""

    offset: int
    content: bytes
    reason: str


_HEADER_DECODER = msgspec.msgpack.Decoder(SegmentHeader)
_FRAME_DECODER = msgspec.msgpack.Decoder(Frame)
_ENCODER = msgspec.msgpack.Encoder()


def encode_frame(payload: Any) -> bytes:
    """Write a value as one frame."""
    return write_frame(_ENCODER.encode(payload))


def write_frame(content: bytes) -> bytes:
    """Put a payload into a frame."""
    head = _HEAD.pack(MARK, len(content), crc32(content))
    return b"".join((head, _CHECK.pack(crc32(head)), content))


def encode_preamble(
    columns: Sequence[str], *, created_at_us: int, process_id: int, record_type: str = "api_call"
) -> bytes:
    """Write what a segment begins with."""
    return MAGIC + encode_frame(SegmentHeader(list(columns), created_at_us, process_id, record_type))


def read_segment(content: bytes) -> tuple[SegmentHeader | None, list[Frame | Damage], int]:
    """Read a segment: its header, its frames and damages in order, and the bytes of a torn tail.

    Without a header nothing in the segment can be understood: if any of it is not a torn beginning, it is damage.
    """
    if not content.startswith(MAGIC):
        if MAGIC.startswith(content) or not content.strip(b"\x00"):
            return None, [], len(content)
        return None, [Damage(0, content, "the file does not begin as a segment")], 0
    header: SegmentHeader | None = None
    found: list[Frame | Damage] = []
    torn = 0
    for part in _parts(content, len(MAGIC)):
        if isinstance(part, Damage):
            found.append(part)
        elif isinstance(part, int):
            torn = part
        else:
            offset, payload = part
            try:
                if header is None:
                    header = _HEADER_DECODER.decode(payload)
                else:
                    found.append(_FRAME_DECODER.decode(payload))
            except msgspec.MsgspecError as error:
                if header is None:
                    return None, [Damage(0, content, f"the segment's columns cannot be read: {error}")], 0
                found.append(Damage(offset, payload, f"the frame cannot be read: {error}"))
    if header is None and found:
        return None, [Damage(0, content, "the segment's columns are lost")], 0
    return header, found, torn


def read_frames(content: bytes) -> Iterator[bytes | None]:
    """Read the frames of a file without preamble: payloads, and None for each damage; a torn tail is left out."""
    for part in _parts(content, 0):
        if isinstance(part, Damage):
            yield None
        elif not isinstance(part, int):
            yield part[1]


def _parts(content: bytes, at: int) -> Iterator[tuple[int, bytes] | Damage | int]:
    """Yield payloads with their offsets, damages, and last the length of a torn tail if there is one."""
    end = len(content)
    while at < end:
        length = _sound_length(content, at)
        if length is not None and at + HEADER_BYTES + length <= end:
            payload = content[at + HEADER_BYTES : at + HEADER_BYTES + length]
            stop = at + HEADER_BYTES + length
            if crc32(payload) == _HEAD.unpack_from(content, at)[2]:
                yield at, payload
            elif stop == end and not payload.rstrip(b"\x00"):
                yield end - at
            else:
                yield Damage(at, content[at:stop], "the frame's content does not match its checksum")
            at = stop
            continue
        next_at = _next_header(content, at + 1)
        is_cut_head = end - at < HEADER_BYTES and MARK.startswith(content[at : at + len(MARK)])
        if next_at is None and (length is not None or is_cut_head or not content[at:].strip(b"\x00")):
            yield end - at
            return
        stop = end if next_at is None else next_at
        yield Damage(at, content[at:stop], "no frame begins where one should")
        at = stop


def _sound_length(content: bytes, at: int) -> int | None:
    if at + HEADER_BYTES > len(content):
        return None
    head = content[at : at + _HEAD.size]
    mark, length, _ = _HEAD.unpack(head)
    if mark != MARK or _CHECK.unpack_from(content, at + _HEAD.size)[0] != crc32(head):
        return None
    return int(length)


def _next_header(content: bytes, at: int) -> int | None:
    while (at := content.find(MARK, at)) >= 0:
        if _sound_length(content, at) is not None:
            return at
        at += 1
    return None
