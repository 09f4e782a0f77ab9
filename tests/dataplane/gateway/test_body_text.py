"""Whatever bytes a body has, reading it ends, never fails, and keeps no more than was asked for."""

from __future__ import annotations

import gzip
import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.dataplane.gateway.body_text import BodyText, read_text
from nexus.kit.masking import Finder

FINDER = Finder(["email", "phone", "card", "iban", "ip"], fields=["ssn"], words=["Projekt Blau"])
KINDS = ["", "application/json", "text/event-stream", "application/x-ndjson", "text/plain; charset=latin-1", "image/png",
         "application/x-www-form-urlencoded", "application/vnd.amazon.eventstream", "application/ld+json"]  # fmt: skip
PIECES = st.sampled_from(
    [b'{"a": "', b'"', b"\\", b"\\ud83d", b"\\u00", b"}", b"]", b"[", b"data: ", b"\n\n", b"\xff\xfe", b"\x00", b"%zz", b"&a=",
     b"4111 1111 1111 1111", b"bob@example.org", b'"password": "', b"\xc3", "ä\u2028".encode(), b": ", b","]
)  # fmt: skip


def read(raw: bytes, kind: str, encoding: str = "", *, is_cut: bool = False, max_bytes: int = 1024) -> BodyText:
    return read_text(raw, is_cut=is_cut, media_type=kind, encoding=encoding, max_bytes=max_bytes, finder=FINDER)


@given(
    st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=30).map(b"".join)),
    st.sampled_from(KINDS),
    st.sampled_from(["", "gzip", "deflate", "zstd", "br", "nonsense"]),
    st.booleans(),
)
def test_any_bytes_are_read(raw: bytes, kind: str, encoding: str, is_cut: bool) -> None:
    found = read(raw, kind, encoding, is_cut=is_cut)

    assert len(found.text.encode()) <= 1024
    assert "4111 1111 1111 1111" not in found.text and "bob@example.org" not in found.text
    assert found.state == "text" or found.text == ""


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_bomb_is_unpacked_no_further_than_is_kept(encoding: str, pack: object) -> None:
    assert callable(pack)
    found = read(pack(b"word " * 10_000_000), "text/plain", encoding)

    assert found.is_cut and found.text == ("word " * 205)[:1024]


def test_frames_of_a_stream_are_kept_as_the_lines_they_hold() -> None:
    def frame(payload: bytes) -> bytes:
        head = struct.pack(">II", 16 + len(payload), 0)
        content = head + struct.pack(">I", zlib.crc32(head)) + payload
        return content + struct.pack(">I", zlib.crc32(content))

    pieces = ["my card is 4111", " 1111 1111", " 1111, thanks"]
    raw = b"".join(frame(json.dumps({"delta": {"text": piece}}).encode()) for piece in pieces)

    found = read(raw, "application/vnd.amazon.eventstream")

    said = [json.loads(line)["delta"]["text"] for line in found.text.splitlines()]
    assert said == ["my card is [card]", "", ", thanks"]


@pytest.mark.parametrize(
    ("raw", "kind", "state"),
    [
        (b"", "application/json", "empty"),
        (b"\x89PNG\r\n", "image/png", "binary"),
        (b"--x", "multipart/form-data; boundary=x", "binary"),
        (b"PK\x00\x01", "", "binary"),
        (b"\xff\xfe\xfd", "", "binary"),
        (b"plain words", "", "text"),
        (b'{"a": 1}', "", "text"),
    ],
)
def test_what_is_no_text_is_not_kept(raw: bytes, kind: str, state: str) -> None:
    assert read(raw, kind).state == state
