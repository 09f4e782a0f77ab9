"""Encoded answers are read, also where their end is missing, and none of them fills the program's memory."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import json
import tracemalloc
import zlib
from typing import Any, Callable

import httpx
import pytest

import nexus_client.httpx
from conftest import FarSide, spooled
from nexus_client import Client, decoding
from nexus_client.decoding import MOST_BYTES, decoded
from nexus_client.exchange import Ends

CONTENT = json.dumps({"model": "x" * 500, "filling": list(range(50_000))}).encode()
MEBIBYTE = bytes(2**20)


def raw_deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(content) + compressor.flush()


def module(*names: str) -> Any:
    for name in names:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    pytest.skip(f"not installed: pip install {names[-1]}")


def brotli(content: bytes) -> bytes:
    return bytes(module("brotli", "brotlicffi", "brotli").compress(content, quality=5))


def zstd(content: bytes) -> bytes:
    return bytes(module("compression.zstd", "backports.zstd").compress(content))


def zstandard(content: bytes) -> bytes:
    return bytes(module("zstandard").ZstdCompressor().compress(content))


ENCODERS: list[tuple[str, str, Callable[[bytes], bytes]]] = [
    ("gzip", "gzip", gzip.compress),
    ("deflate", "deflate", zlib.compress),
    ("deflate without a header", "deflate", raw_deflate),
    ("br", "br", brotli),
    ("br, a module that takes no limit", "br", brotli),
    ("zstd", "zstd", zstd),
    ("zstd, zstandard", "zstd", zstandard),
]


@pytest.fixture(params=ENCODERS, ids=[case[0] for case in ENCODERS])
def encoding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Callable[[bytes], bytes]]:
    """An encoding's name and its encoder; only the decoder of the case is installed."""
    case, name, encode = request.param
    encode(b"skips where it is not installed")
    find = decoding._first_of
    if case == "zstd, zstandard":
        monkeypatch.setattr(decoding, "_first_of", lambda *names: find(*{"zstandard"} & {*names}))
    elif case == "zstd":
        monkeypatch.setattr(decoding, "_first_of", lambda *names: find(*[one for one in names if one != "zstandard"]))
    elif "no limit" in case:
        installed = module("brotli", "brotlicffi", "brotli")

        class Decompressor:
            """As it was before brotli 1.2."""

            def __init__(self) -> None:
                self._inner = installed.Decompressor()

            def process(self, content: bytes) -> bytes:
                return bytes(self._inner.process(content))

        class OldBrotli:
            pass

        OldBrotli.Decompressor = Decompressor
        monkeypatch.setattr(decoding, "_first_of", lambda *_: OldBrotli)
    return name, encode


def test_encoding_is_undone(encoding: tuple[str, Callable[[bytes], bytes]]) -> None:
    name, encode = encoding

    assert b"".join(decoded(encode(CONTENT), name)) == CONTENT
    assert b"".join(decoded(encode(b""), name)) == b""


def test_answer_whose_end_is_missing_is_decoded_as_far_as_it_goes(
    encoding: tuple[str, Callable[[bytes], bytes]],
) -> None:
    name, encode = encoding
    encoded = encode(CONTENT * 3)

    found = b"".join(decoded(encoded[: len(encoded) * 3 // 4], name))

    assert (CONTENT * 3).startswith(found)
    assert b"".join(decoded(b"", name)) == b""


def test_bomb_is_given_up_and_fills_no_memory(encoding: tuple[str, Callable[[bytes], bytes]]) -> None:
    name, encode = encoding
    bomb = encode(MEBIBYTE * 256)
    assert len(bomb) < 2**20

    ends, size = Ends(), 0
    tracemalloc.start()
    try:
        for piece in decoded(bomb, name):
            ends.add(piece)
            size += len(piece)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert MOST_BYTES <= size <= MOST_BYTES + 16 * 2**20
    assert most < 48 * 2**20


def test_encoding_nobody_knows_is_left_alone() -> None:
    assert list(decoded(CONTENT, "unheard-of")) == []


def test_bomb_as_an_answer_is_recorded_and_the_program_goes_on(client: Client, far: FarSide) -> None:
    far.headers = {"content-type": "application/json", "content-encoding": "gzip"}
    far.parts = [gzip.compress(b'{"model": "gpt-4o", "filling": "' + MEBIBYTE * 128)]

    with (
        nexus_client.httpx.watch(client, httpx.Client()) as http,
        http.stream("POST", f"{far.url}/v1/chat/completions", json={"model": "gpt-4o"}) as answer,
    ):
        assert b"".join(answer.iter_raw()) == far.parts[0]

    (record,) = spooled(client)
    assert record["model"] == "gpt-4o"
    assert record["response_size_bytes"] == len(far.parts[0])
    assert client.stats.own_failures == 0


@pytest.mark.parametrize("step", [16, 1000, 3_000_000, 20_000_000])
def test_only_the_ends_of_an_answer_are_kept(step: int) -> None:
    content = b"".join(b"%07d\n" % number for number in range(1_200_000))
    ends = Ends()

    for at in range(0, len(content), step):
        ends.add(content[at : at + step])

    assert ends.is_cut
    assert content.startswith(ends.head()) and len(ends.head()) == 4 * 2**20
    assert content.endswith(ends.tail()) and len(ends.tail()) >= 256 * 2**10
    assert len(ends.tail()) < 256 * 2**10 + step
