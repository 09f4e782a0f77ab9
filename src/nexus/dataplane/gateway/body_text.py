"""Turns the bytes of a body, as they passed, into the masked text that may be stored."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from backports import zstd

from nexus.dataplane.gateway.reading import unpacker_of
from nexus.dataplane.gateway.streams import FrameSplitter, TooLongEventError
from nexus.kit.masked_text import Form, mask
from nexus.kit.masking import Finder

State = Literal["text", "empty", "binary", "unreadable"]
MARGIN_BYTES = 16 * 1024
"""A cut body is read so much further than it is kept, so that what begins before the cut is recognised."""
_LONGEST = 1024
"""Letters of the longest thing that is not recognised while its end is missing. In a stream each may have an event of its own."""

_FORMS: Mapping[str, Form] = {
    "text/event-stream": "events",
    "application/x-ndjson": "lines",
    "application/jsonl": "lines",
    "application/x-jsonlines": "lines",
    "application/x-www-form-urlencoded": "form",
}
_FRAMES = "application/vnd.amazon.eventstream"
_TEXTS = frozenset(
    {"application/xml", "application/javascript", "application/graphql", "application/yaml", "application/toml"}
)


@dataclass(frozen=True, slots=True)
class BodyText:
    """What may be stored of a body."""

    state: State
    text: str = ""
    is_cut: bool = False
    masked: Mapping[str, int] = field(default_factory=dict)
    """How many masks of each kind are in the text."""


def read_text(
    raw: bytes,
    *,
    is_cut: bool,
    media_type: str,
    encoding: str,
    max_bytes: int,
    finder: Finder,
    rest: Callable[[], None] = lambda: None,
) -> BodyText:
    """Unpack, mask and cut a body; `is_cut` says that more bytes passed than are here. Of what is no text, nothing is kept."""
    if not raw:
        return BodyText("empty")
    kind = media_type.partition(";")[0].strip().lower()
    if not _may_be_text(kind):
        return BodyText("binary")
    unpacked = _unpacked(raw, encoding.strip().lower(), max_bytes + MARGIN_BYTES)
    if unpacked is None:
        return BodyText("unreadable")
    content, has_more = unpacked
    is_cut = is_cut or has_more
    if kind == _FRAMES:
        content = _payloads(content)
    # A letter that was cut in two is no fault.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(content, final=not is_cut)
    if "\x00" in text or (not kind and text.count("\ufffd") * 20 > len(text)):
        return BodyText("binary")
    form = _form_of(kind, text)
    masked = mask(text, form, finder, rest=rest)
    kept = masked.text
    if is_cut:
        # Something may begin here whose rest nobody saw.
        is_stream = form in {"events", "lines"} or text.lstrip()[:1] == "["
        kept = kept[: max(0, len(kept) - (MARGIN_BYTES if is_stream else _LONGEST))]
    kept, is_shortened = _first_bytes(kept, max_bytes)
    return BodyText("text", kept, is_cut or is_shortened, dict(masked.found))


def _may_be_text(kind: str) -> bool:
    if not kind or kind in _FORMS or kind == _FRAMES or kind in _TEXTS or kind.startswith("text/"):
        return True
    return kind == "application/json" or kind.endswith(("+json", "+xml"))


def _form_of(kind: str, text: str) -> Form:
    known = _FORMS.get(kind)
    if known is not None:
        return known
    if kind == _FRAMES:
        return "lines"
    begin = text.lstrip("\ufeff \t\r\n")
    if kind.endswith("json") or begin[:1] in {"{", "["}:
        return "json"
    return "events" if begin.startswith(("data:", "event:")) else "plain"


def _unpacked(raw: bytes, encoding: str, limit: int) -> tuple[bytes, bool] | None:
    """Return the first bytes of what a body holds, and whether there are more; None where that cannot be told."""
    unpacker = unpacker_of(encoding)
    if unpacker is None:
        return None
    kept = bytearray()
    try:
        for piece in unpacker.feed(raw):
            kept += piece
            if len(kept) > limit:
                return bytes(kept[:limit]), True
    except (zlib.error, zstd.ZstdError, EOFError):
        if not kept:
            return None
        return bytes(kept), True
    return bytes(kept), False


def _payloads(content: bytes) -> bytes:
    payloads: list[bytes] = []
    try:
        payloads.extend(FrameSplitter().feed(content))
    except TooLongEventError:
        pass
    return b"\n".join(payloads)


def _first_bytes(text: str, limit: int) -> tuple[str, bool]:
    content = text.encode("utf-8", "replace")
    if len(content) <= limit:
        return content.decode(), False
    return content[:limit].decode("utf-8", "ignore"), True
