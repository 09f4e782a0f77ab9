"""Reads a copy of an answer as it passes: usage, model, error, and the text where no usage is told.

What the client gets does not depend on this module, with one exception: where usage was asked for that the client did
not want, `feed` gives back the bytes to send, without the one event that holds nothing but usage.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from backports import zstd

from nexus.dataplane.gateway.streams import (
    MAX_EVENT_BYTES,
    EventSplitter,
    FrameSplitter,
    LineSplitter,
    TooLongEventError,
    event_data,
)
from nexus.dataplane.gateway.usage import Lookup, Rule, Usage, UsageFinder, Wire, text_of

READABLE_ENCODINGS = ("gzip", "deflate", "zstd", "identity")
MAX_WHOLE_BYTES = 32 * 2**20
"""Answers that are one JSON document are kept this far; of longer ones nothing is read but their size."""
_MAX_UNPACKED_BYTES = 256 * 2**20
_MAX_KEPT_TEXT_BYTES = 128 * 1024
_SLICE_BYTES = 64 * 1024
_RESPONSE_IDS = tuple(map(Lookup, ("id", "response.id", "message.id", "responseId")))
_INTERESTING = (
    b'"usage"', b'"usageMetadata"', b'"billed_units"', b'"tokens"', b'"error"', b'"metrics"', b"eval_count",
    b"invocationMetrics", b"token_count",
)  # fmt: skip
_ANY = msgspec.json.Decoder()


class UnreadableAnswerError(OSError):
    """An answer of which an event was to be left out cannot be unpacked: nothing of it can be passed on any more."""


class Unpacker(Protocol):
    """Unpacks a content encoding piece by piece."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Give out what the bytes unpack to, in pieces of bounded size."""


class _Plain:
    def feed(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk


class _Zlib:
    def __init__(self, encoding: str) -> None:
        self._raw_allowed = encoding == "deflate"
        self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        while chunk:
            try:
                piece = self._unpacker.decompress(chunk, _SLICE_BYTES)
            except zlib.error:
                if not self._raw_allowed:
                    raise
                # Some send deflate without its header.
                self._raw_allowed = False
                self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
                continue
            self._raw_allowed = False
            chunk = self._unpacker.unconsumed_tail
            if piece:
                yield piece
            elif not chunk:
                break
            if self._unpacker.eof:
                # Another member of the same stream may follow.
                chunk = self._unpacker.unused_data
                self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)


class _Zstd:
    def __init__(self) -> None:
        self._unpacker = zstd.ZstdDecompressor()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        while True:
            piece = self._unpacker.decompress(chunk, _SLICE_BYTES)
            if piece:
                yield piece
            if self._unpacker.eof:
                chunk = self._unpacker.unused_data
                if not chunk:
                    return
                self._unpacker = zstd.ZstdDecompressor()
            elif self._unpacker.needs_input:
                return
            else:
                chunk = b""


_UNPACK_ERRORS = (zlib.error, zstd.ZstdError, EOFError)


def unpacker_of(encoding: str) -> Unpacker | None:
    """Return what unpacks an encoding; None for one we cannot read."""
    match encoding:
        case "" | "identity":
            return _Plain()
        case "gzip" | "x-gzip" | "deflate":
            return _Zlib(encoding)
        case "zstd":
            return _Zstd()
    return None


class AnswerReader:
    """Reads one answer. `feed` each chunk, then `finish`."""

    def __init__(
        self,
        wire: Wire,
        rules: Sequence[Rule],
        *,
        media_type: str,
        encoding: str = "",
        headers: Mapping[str, str] | None = None,
        hides_usage: bool = False,
    ) -> None:
        self._wire = wire
        self._finder = UsageFinder(rules)
        self._hides = hides_usage
        self._headers = headers or {}
        self._unpacker = unpacker_of(encoding)
        self.is_plain = isinstance(self._unpacker, _Plain)
        kind = media_type.partition(";")[0].strip().lower()
        self._is_events = kind == "text/event-stream"
        self._splitter: EventSplitter | LineSplitter | FrameSplitter | None = None
        if self._is_events:
            self._splitter = EventSplitter()
        elif kind in {"application/x-ndjson", "application/jsonl", "application/x-jsonlines"}:
            self._splitter = LineSplitter()
        elif kind == "application/vnd.amazon.eventstream":
            self._splitter = FrameSplitter()
        self.is_stream = self._splitter is not None
        self._is_json = kind == "application/json" or kind.endswith("+json") or kind == ""
        self._whole = bytearray()
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._text_tokens = 0
        self._unpacked_bytes = 0
        self._can_read = self._unpacker is not None and (self.is_stream or self._is_json)
        self.model = ""
        self.response_id = ""
        """The provider's id of the answer."""
        self.error_type = ""
        self.error_message = ""
        self.variant: dict[str, str] = {}

    @property
    def hides(self) -> bool:
        """Whether `feed` gives back what to send."""
        return self._hides and self._is_events and self._unpacker is not None

    def feed(self, chunk: bytes) -> bytes:
        """Look at a chunk; gives back what the client is to get of it, which is the chunk unless usage is hidden."""
        if self.hides:
            return self._feed_hiding(chunk)
        if self._can_read:
            try:
                for piece in self._unpack(chunk):
                    self._read(piece)
            except (*_UNPACK_ERRORS, TooLongEventError):
                self._stop()
        return chunk

    def _unpack(self, chunk: bytes) -> Iterable[bytes]:
        if self.is_plain:
            return (chunk,)
        assert self._unpacker is not None
        return self._bounded(self._unpacker.feed(chunk))

    def _bounded(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._unpacked_bytes += len(piece)
            if self._unpacked_bytes > _MAX_UNPACKED_BYTES:
                raise TooLongEventError
            yield piece

    def _stop(self) -> None:
        self._can_read = False
        self._whole.clear()
        self._kept.clear()

    def _read(self, piece: bytes) -> None:
        splitter = self._splitter
        if splitter is None:
            if len(self._whole) + len(piece) > MAX_WHOLE_BYTES:
                raise TooLongEventError
            self._whole += piece
        elif self._is_events:
            for event in splitter.feed(piece):
                self._look_at(event_data(event))
        else:
            for payload in splitter.feed(piece):
                self._look_at(payload)

    def _feed_hiding(self, chunk: bytes) -> bytes:
        assert isinstance(self._splitter, EventSplitter)
        kept: list[bytes] = []
        if not self._can_read:
            return chunk
        try:
            for piece in self._unpack(chunk):
                kept += [event for event in self._splitter.feed(piece) if not self._look_at(event_data(event))]
        except (*_UNPACK_ERRORS, TooLongEventError) as error:
            self._stop()
            if not self.is_plain:
                # The client was promised plain bytes, and what follows is packed.
                raise UnreadableAnswerError from error
            kept.append(self._splitter.rest())
        return b"".join(kept)

    @property
    def takes_event(self) -> bool:
        """Whether an event of ours may follow what the client got: it is plain, and no event was begun."""
        if not (self._is_events and self._can_read):
            return False
        assert self._splitter is not None
        return self.hides or (self.is_plain and not self._splitter.rest())

    def held_back(self) -> bytes:
        """Return, after the last chunk, what a hiding reader still holds: an event that was never ended."""
        if self.hides and self._can_read:
            assert self._splitter is not None
            return self._splitter.rest()
        return b""

    def _look_at(self, payload: bytes) -> bool:
        """Look at the data of one event; tells whether it is a mere usage event, of which the client did not ask."""
        if not payload or payload == b"[DONE]":
            return False
        if not self.model or any(mark in payload for mark in _INTERESTING):
            part = _decode(payload)
            if part is not None:
                self._note(part)
                had_usage = self._finder.look_at(part)
                if had_usage and isinstance(part, dict) and part.get("choices") == []:
                    return True
                if had_usage:
                    return False
        # Kept for the case that no usage comes; turned into a count now and then, so that it never grows large.
        self._kept.append(payload)
        self._kept_bytes += len(payload)
        if self._kept_bytes > _MAX_KEPT_TEXT_BYTES:
            self._count_kept()
        return False

    def _count_kept(self) -> None:
        for payload in self._kept:
            part = _decode(payload)
            if part is not None:
                self._text_tokens += text_of(_without_repetition(part))
        self._kept.clear()
        self._kept_bytes = 0

    def _note(self, part: Any) -> None:
        if not isinstance(part, dict):
            return
        if not self.model:
            for look_up in self._wire.models:
                value = look_up.within(part)
                if isinstance(value, str) and value:
                    self.model = value[:200]
                    break
        if not self.response_id:
            for look_up in _RESPONSE_IDS:
                value = look_up.within(part)
                if isinstance(value, str) and value:
                    self.response_id = value[:200]
                    break
        for name, look_ups in self._wire.variants.items():
            for look_up in look_ups:
                value = look_up.within(part)
                if isinstance(value, str) and 0 < len(value) <= 64:
                    self.variant[name] = value
                    break
        error = part.get("error")
        if isinstance(error, list) and error:
            error = error[0]
        if error is None and isinstance(part.get("response"), dict):
            error = part["response"].get("error")
        if error is None and part.get("type") == "error":
            error = part
        if error:
            self._note_error(error)

    def _note_error(self, error: Any) -> None:
        if isinstance(error, str):
            self.error_type, self.error_message = self.error_type or "error", error[:2000]
        elif isinstance(error, dict):
            kind = next((error[name] for name in ("code", "type", "status") if isinstance(error.get(name), str)), "")
            message = error.get("message")
            self.error_type = kind[:200] or "error"
            self.error_message = message[:2000] if isinstance(message, str) else ""

    def finish(self, *, is_error: bool, path_is_estimated: bool, estimate_input: Callable[[], int]) -> Usage:
        """Say what was used, once the last chunk has passed."""
        counts = self._finish_reading(is_error=is_error)
        if counts:
            return Usage(counts)
        from_headers = {
            name: int(value)
            for name, header in self._wire.headers.items()
            if (value := self._headers.get(header, "")).isdecimal() and len(value) < 10
        }
        if any(from_headers.values()):
            return Usage(from_headers)
        if is_error or not path_is_estimated or (counts is not None and self._finder.counts is not None):
            return Usage()
        self._count_kept()
        guess = {"input": estimate_input(), "output": self._text_tokens}
        return Usage({name: count for name, count in guess.items() if count}, False)

    def _finish_reading(self, *, is_error: bool) -> dict[str, int] | None:
        if not self._can_read:
            return self._finder.counts
        if self._splitter is not None:
            rest = self._splitter.rest()
            if rest:
                self._look_at(event_data(rest) if self._is_events else rest)
        elif self._whole:
            answer = _decode(bytes(self._whole))
            # Some stream a JSON array, whose last element has the last usage.
            for part in answer if isinstance(answer, list) else [answer]:
                self._note(part)
                self._finder.look_at(part)
            if self._finder.counts is None and not is_error and answer is not None:
                self._text_tokens = text_of(answer)
            if is_error and isinstance(answer, dict) and not self.error_type:
                message = answer.get("message") or answer.get("detail")
                if isinstance(message, str):
                    self.error_message = message[:2000]
        return self._finder.counts


def _without_repetition(part: Any) -> Any:
    """Leave out what streams say twice: the whole text in the events that end a part."""
    if isinstance(part, dict) and isinstance(kind := part.get("type"), str) and kind.endswith((".done", ".completed")):
        return None
    return part


def _decode(content: bytes) -> Any:
    if len(content) > MAX_WHOLE_BYTES + MAX_EVENT_BYTES:
        return None
    try:
        return _ANY.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
