"""Bodies: media types, encodings, and what is told of those that are damaged or too large."""

from __future__ import annotations

import contextlib
import gzip

import backports.zstd as zstd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.dataplane.http import BodyTooLarge
from nexus.dataplane.ingest.decode import (
    BodyCompressedWrongly,
    BodyForm,
    UnknownEncoding,
    UnknownMediaType,
    decompress,
    form_of,
)

COMPRESS = {"gzip": gzip.compress, "zstd": zstd.compress, "identity": bytes}


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", BodyForm(False, "identity")),
        ("Application/JSON; charset=UTF-8", BodyForm(False, "identity")),
        ("", BodyForm(False, "identity")),
        ("application/x-ndjson", BodyForm(True, "identity")),
        ("application/jsonl", BodyForm(True, "identity")),
    ],
)
def test_media_types_name_the_form(content_type: str, expected: BodyForm) -> None:
    assert form_of(content_type, "") == expected


@pytest.mark.parametrize("content_type", ["text/html", "application/xml", "application/json; charset=utf-16"])
def test_other_media_types_are_refused(content_type: str) -> None:
    with pytest.raises(UnknownMediaType):
        form_of(content_type, "")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd", "compress"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(UnknownEncoding):
        form_of("application/json", encoding)


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_limit_counts_decompressed_bytes(encoding: str) -> None:
    at_limit, beyond = COMPRESS[encoding](b"x" * 1000), COMPRESS[encoding](b"x" * 1001)

    assert decompress(at_limit, encoding, limit=1000) == b"x" * 1000
    with pytest.raises(BodyTooLarge):
        decompress(beyond, encoding, limit=1000)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_are_joined(encoding: str) -> None:
    members = b"".join(COMPRESS[encoding](part) for part in (b"[1,", b"", b"2]"))

    assert decompress(members, encoding, limit=100) == b"[1,2]"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_damage_is_told(encoding: str) -> None:
    whole = COMPRESS[encoding](b"[]" * 50)

    for damaged in (b"", b"[]", whole[:-1], whole[:5], whole + b"junk", whole[:12] + b"\xff\xff" + whole[14:]):
        with pytest.raises(BodyCompressedWrongly):
            decompress(damaged, encoding, limit=10_000)


def test_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\x00" * 200_000_000, 1)

    with pytest.raises(BodyTooLarge):
        decompress(bomb, "gzip", limit=1_000_000)


@given(st.binary(max_size=300), st.sampled_from(["gzip", "zstd"]))
def test_any_bytes_are_refused_or_read(body: bytes, encoding: str) -> None:
    with contextlib.suppress(BodyCompressedWrongly, BodyTooLarge):
        decompress(body, encoding, limit=1000)


@given(st.lists(st.binary(max_size=200_000), min_size=1, max_size=4), st.sampled_from(["gzip", "zstd"]))
def test_what_was_compressed_comes_back(parts: list[bytes], encoding: str) -> None:
    body = b"".join(COMPRESS[encoding](part) for part in parts)

    assert decompress(body, encoding, limit=10**7) == b"".join(parts).removeprefix(b"\xef\xbb\xbf")
