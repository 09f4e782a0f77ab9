"""From the bytes of a request to the bytes of its records: media types, encodings, and their limits."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from nexus.dataplane.http import BodyTooLarge
from nexus.kit.errors import MalformedRequest, UnsupportedMediaType

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

_ARRAY_TYPES = frozenset({"application/json", "text/json"})
_LINE_TYPES = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/jsonlines",
    }
)
_GZIP = 16 + zlib.MAX_WBITS
_PIECE_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"


class UnknownMediaType(UnsupportedMediaType):
    """Send application/json (an array of records) or application/x-ndjson (one record a line), in UTF-8."""

    code = "unknown_media_type"


class UnknownEncoding(UnsupportedMediaType):
    """Send the body as it is, or compressed by gzip or zstd."""

    code = "unknown_content_encoding"
    answer_headers: ClassVar[Mapping[str, str]] = {"accept-encoding": "gzip, zstd, identity"}


class BodyCompressedWrongly(MalformedRequest):
    """The body is not compressed the way its Content-Encoding says."""

    code = "body_compressed_wrongly"


@dataclass(frozen=True, slots=True)
class BodyForm:
    """How a body is written."""

    is_lines: bool
    encoding: str
    """`identity`, `gzip` or `zstd`."""


def form_of(content_type: str, content_encoding: str) -> BodyForm:
    """Read the two headers; `UnknownMediaType` and `UnknownEncoding` say what would be taken."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if kind and kind not in _ARRAY_TYPES and kind not in _LINE_TYPES:
        raise UnknownMediaType
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in {"utf-8", "utf8", "us-ascii"}:
            raise UnknownMediaType
    return BodyForm(kind in _LINE_TYPES, encoding_of(content_encoding))


def encoding_of(content_encoding: str) -> str:
    """Read the header Content-Encoding: `identity`, `gzip` or `zstd`; `UnknownEncoding` for every other."""
    encoding = content_encoding.strip().lower() or "identity"
    encoding = "gzip" if encoding == "x-gzip" else encoding
    if encoding not in {"identity", "gzip", "zstd"}:
        raise UnknownEncoding
    return encoding


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def feed(self, data: bytes, limit: int) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def feed(self, data: bytes, limit: int) -> bytes:
        return self._stream.decompress(data, limit)


class _Zstd:
    def __init__(self) -> None:
        self._stream = ZstdDecompressor()

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def feed(self, data: bytes, limit: int) -> bytes:
        return self._stream.decompress(data, limit)


def decompress(body: bytes, encoding: str, *, limit: int) -> bytes:
    """Return what was compressed, never making more than `limit` bytes of it. Takes several members or frames.

    `BodyTooLarge` beyond the limit, `BodyCompressedWrongly` for what is damaged, cut off, or followed by anything else.
    """
    if encoding == "identity":
        if len(body) > limit:
            raise BodyTooLarge(f"send at most {limit} bytes in one request")
        return body.removeprefix(_BOM)
    parts: list[bytes] = []
    size = at = 0
    stream: _Decompressor | None = None
    try:
        while at < len(body):
            stream = stream or (_Gzip() if encoding == "gzip" else _Zstd())
            # Piece by piece: what a member leaves over is copied, and a body may hold very many members.
            piece = body[at : at + _PIECE_BYTES]
            # One byte more than allowed tells a body at the limit from one beyond it.
            part = stream.feed(piece, limit - size + 1)
            size += len(part)
            if size > limit:
                raise BodyTooLarge(f"send at most {limit} bytes in one request, counted after decompression")
            parts.append(part)
            at += len(piece)
            if stream.eof:
                at -= len(stream.unused_data)
                stream = None
    except (zlib.error, ZstdError, EOFError, MemoryError) as error:
        what = "something else follows the" if parts else "the body is no"
        raise BodyCompressedWrongly(f"{what} {encoding} data ({error})") from error
    if stream is not None:
        raise BodyCompressedWrongly(f"the {encoding} data are cut off")
    if not parts:
        raise BodyCompressedWrongly(f"the body is empty, which is no {encoding} data")
    return b"".join(parts).removeprefix(_BOM)
