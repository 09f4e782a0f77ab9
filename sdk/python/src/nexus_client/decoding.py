"""Undoes the content encoding of an answer, piece by piece: a small answer that unpacks to a huge one costs no memory.

The pieces are as small as the decoder at hand allows, and after `MOST_BYTES` there are no more of them.
"""

from __future__ import annotations

import contextlib
import importlib
import zlib
from collections.abc import Iterator
from typing import Any, Callable

MOST_BYTES = 64 * 2**20
_PIECE_BYTES = 2**18
_ZSTD_WINDOW_LOG = 23
"""8 MiB: what a decoder of the web has to provide (RFC 9659), and no more."""
_BROTLI_STEP_BYTES = 8
"""How much an old brotli is given at once, as it cannot be told how much to give back: 16 MiB at most come of it."""


def decoded(content: bytes, encoding: str) -> Iterator[bytes]:
    """Yield what was encoded; as much as there is of it. Nothing where the encoding cannot be read here.

    Raises what the decoder raises when the content is not what it says.
    """
    decoder = _DECODERS.get(encoding)
    if decoder is None:
        return
    size = 0
    for piece in decoder(content):
        yield piece
        size += len(piece)
        if size >= MOST_BYTES:
            return


def _inflated(content: bytes, window_bits: int = 47) -> Iterator[bytes]:
    # 47 tells zlib's and gzip's headers apart.
    decompressor = zlib.decompressobj(window_bits)
    while not decompressor.eof:
        piece = decompressor.decompress(content, _PIECE_BYTES)
        content = decompressor.unconsumed_tail
        if not piece and not content:
            return
        yield piece


def _deflated(content: bytes) -> Iterator[bytes]:
    # The standard asks for zlib's header, and some leave it away.
    return _inflated(content, 47 if content[:1] == b"\x78" else -15)


def _brotli(content: bytes) -> Iterator[bytes]:
    module = _first_of("brotli", "brotlicffi")
    if module is None:
        return
    decompressor = module.Decompressor()
    if hasattr(decompressor, "can_accept_more_data"):
        yield decompressor.process(content, output_buffer_limit=_PIECE_BYTES)
        while not decompressor.can_accept_more_data():
            yield decompressor.process(b"", output_buffer_limit=_PIECE_BYTES)
        return
    step = getattr(decompressor, "process", None) or decompressor.decompress
    for at in range(0, len(content), _BROTLI_STEP_BYTES):
        yield step(content[at : at + _BROTLI_STEP_BYTES])


def _zstd(content: bytes) -> Iterator[bytes]:
    module = _first_of("compression.zstd", "backports.zstd")
    if module is not None:
        options = {module.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        decompressor = module.ZstdDecompressor(options=options)
        while not decompressor.eof:
            piece = decompressor.decompress(content, _PIECE_BYTES)
            if not piece:
                return
            yield piece
            content = b""
        return
    module = _first_of("zstandard")
    if module is not None:
        reader = module.ZstdDecompressor(max_window_size=2**_ZSTD_WINDOW_LOG).stream_reader(content)
        while True:
            piece = reader.read(_PIECE_BYTES)
            if not piece:
                return
            yield piece


_DECODERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _inflated,
    "x-gzip": _inflated,
    "deflate": _deflated,
    "br": _brotli,
    "zstd": _zstd,
}


def _first_of(*names: str) -> Any:
    # A program that asks for such answers can read them, so what is needed is here; it is not needed otherwise.
    for name in names:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return None
