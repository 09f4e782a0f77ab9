"""Hostile bodies for POST /v1/events: each bad record is refused by index and field, its good neighbours are stored."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import backports.zstd as zstd
import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nexus.entry.api import Application
from nexus.kit.ids import uuid7
from tests.application import client_of
from tests.fuzz.conftest import Installation

PATH = "/v1/events"
MIB = 2**20


@pytest.fixture
async def client(application: Application, installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {installation.key}", "content-type": "application/json"}
    async with client_of(application, headers=headers) as made:
        yield made


def good(**fields: Any) -> dict[str, Any]:
    """Return a record that is in order."""
    now = datetime.now(UTC)
    return {"id": str(uuid7(now)), "timestamp": now.isoformat(), "provider": "openai", "status_code": 200} | fields


async def stored(admin: asyncpg.Connection) -> list[UUID]:
    """Return the ids of all calls, as they are in the table."""
    return [row["id"] for row in await admin.fetch("SELECT id FROM metering.calls ORDER BY id")]


def expect_problem(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """Check that a refusal is problem details; return them."""
    assert answer.status_code in statuses, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == answer.status_code and problem["detail"] and problem["type"].startswith("urn:nexus:")
    return problem


def raw(field: str, value: str) -> str:
    """Return a record as JSON text in which one field's value is written as given, sound or not."""
    text = json.dumps({name: item for name, item in good().items() if name != field})
    return f'{text[:-1]}, "{field}": {value}}}'


BAD_RECORDS: dict[str, tuple[str, str]] = {
    "year 9999": (raw("timestamp", '"9999-12-31T23:59:59Z"'), "timestamp"),
    "year 10000": (raw("timestamp", '"10000-01-01T00:00:00Z"'), "timestamp"),
    "year 0001": (raw("timestamp", '"0001-01-01T00:00:00Z"'), "timestamp"),
    "year 0000": (raw("timestamp", '"0000-01-01T00:00:00Z"'), "timestamp"),
    "year 0001 before UTC": (raw("timestamp", '"0001-01-01T00:00:00+14:00"'), "timestamp"),
    "no zone": (raw("timestamp", '"2026-01-01T00:00:00"'), "timestamp"),
    "seconds since the epoch": (raw("timestamp", "1767225600"), "timestamp"),
    "30 February": (raw("timestamp", '"2026-02-30T00:00:00Z"'), "timestamp"),
    "negative latency": (raw("response_time_ms", "-1"), "response_time_ms"),
    "latency NaN": (raw("response_time_ms", "NaN"), "response_time_ms"),
    "latency Infinity": (raw("response_time_ms", "Infinity"), "response_time_ms"),
    "latency -Infinity": (raw("response_time_ms", "-Infinity"), "response_time_ms"),
    "latency 1e999": (raw("response_time_ms", "1e999"), "response_time_ms"),
    "latency 1e300": (raw("response_time_ms", "1e300"), "response_time_ms"),
    "latency as text": (raw("response_time_ms", '"12"'), "response_time_ms"),
    "latency true": (raw("response_time_ms", "true"), "response_time_ms"),
    "first byte of a list": (raw("time_to_first_byte_ms", "[1]"), "time_to_first_byte_ms"),
    "cost NaN": (raw("cost", '"NaN"'), "cost"),
    "cost Infinity": (raw("cost", '"Infinity"'), "cost"),
    "cost 1e999": (raw("cost", '"1e999"'), "cost"),
    "cost of a billion digits": (raw("cost", '"1E+999999999"'), "cost"),
    "cost negative": (raw("cost", '"-0.01"'), "cost"),
    "cost a word": (raw("cost", '"cheap"'), "cost"),
    "currency of two letters": (raw("currency", '"EU"'), "currency"),
    "status a word": (raw("status_code", '"200"'), "status_code"),
    "status negative": (raw("status_code", "-200"), "status_code"),
    "status a fraction": (raw("status_code", "200.5"), "status_code"),
    "status of 31 bits": (raw("status_code", str(2**31)), "status_code"),
    "status of 70 bits": (raw("status_code", str(2**70)), "status_code"),
    "size of 400 digits": (raw("request_size_bytes", "9" * 400), "request_size_bytes"),
    "size of 5,000 digits": (raw("response_size_bytes", "9" * 5_000), "response_size_bytes"),
    "size negative": (raw("response_size_bytes", "-1"), "response_size_bytes"),
    "tokens of 63 bits": (raw("tokens", f'{{"input": {2**63}}}'), "tokens.input"),
    "tokens negative": (raw("tokens", '{"output": -1}'), "tokens.output"),
    "tokens of an unknown class": (raw("tokens", '{"inptu": 1}'), "tokens.inptu"),
    "part greater than the whole": (raw("tokens", '{"input": 1, "cached_input": 2}'), "tokens.cached_input"),
    "units a list": (raw("units", "[]"), "units"),
    "NUL in a name": (raw("user", '"a\\u0000b"'), "user"),
    "NUL in a tag": (raw("tags", '{"team": "a\\u0000"}'), "tags"),
    "NUL in a tag's name": (raw("tags", '{"te\\u0000am": "a"}'), "tags"),
    "NUL deep in metadata": (raw("metadata", '{"a": [{"b": "\\u0000"}]}'), "metadata"),
    "half a surrogate pair": (raw("model", '"\\ud800"'), "model"),
    "surrogates turned round": (raw("metadata", '{"a": "\\udc00\\ud800"}'), "metadata"),
    "name of 201 characters": (raw("model", json.dumps("m" * 201)), "model"),
    "text of 1 MB": (raw("error_message", json.dumps("x" * MIB)), ""),
    "text of 200 KB": (raw("error_message", json.dumps("x" * 200_000)), "error_message"),
    "provider of 1 MB": (raw("provider", json.dumps("x" * MIB)), ""),
    "provider a sentence": (raw("provider", '"who knows?"'), "provider"),
    "provider empty": (raw("provider", '""'), "provider"),
    "provider null": (raw("provider", "null"), "provider"),
    "id empty": (raw("id", '""'), "id"),
    "id of 201 characters": (raw("id", json.dumps("i" * 201)), "id"),
    "id a number": (raw("id", "7"), "id"),
    "id NUL": (raw("id", '"\\u0000"'), "id"),
    "id a UUIDv7 of the year 2100": (raw("id", json.dumps(str(uuid7(datetime(2100, 1, 1, tzinfo=UTC))))), "id"),
    "40 tags": (raw("tags", json.dumps({str(n): "" for n in range(40)})), "tags"),
    "tag a number": (raw("tags", '{"team": 7}'), "tags.team"),
    "tag without a name": (raw("tags", '{"": "x"}'), "tags"),
    "metadata a list": (raw("metadata", "[1, 2]"), "metadata"),
    "metadata of 20 KB": (raw("metadata", json.dumps({"x": "y" * 20_000})), "metadata"),
    "metadata 9 deep": (raw("metadata", '{"a":' * 9 + "1" + "}" * 9), "metadata"),
    "metadata 10,000 deep": (raw("metadata", '{"a":' * 10_000 + "1" + "}" * 10_000), ""),
    "100,000 brackets": (raw("metadata", "[" * 100_000 + "]" * 100_000), ""),
    "key's text for its id": (raw("key", '"nx_not-an-id"'), "key"),
    "no address": (raw("ip_address", '"999.1.1.1"'), "ip_address"),
    "method of digits": (raw("method", '"G3T"'), "method"),
    "200 headers": (raw("request_headers", json.dumps({f"x-{n}": "1" for n in range(200)})), "request_headers"),
    "headers a list": (raw("response_headers", '[["a", "b"]]'), "response_headers"),
    "unknown field": (raw("statuscode", "200"), "statuscode"),
    "unknown type": (raw("type", '"api_cal"'), "type"),
    "field with a NUL in its name": (raw("a\\u0000b", "1"), "ab"),
    "nothing in it": ("{}", "provider"),
    "a number": ("7", ""),
    "null": ("null", ""),
    "a string": ('"record"', ""),
    "a list": ('[{"provider": "openai"}]', ""),
    "a bare word": ("NaN", ""),
}  # fmt: skip


@pytest.mark.parametrize("is_lines", [False, True], ids=["array", "lines"])
async def test_bad_records_are_refused_by_field_and_their_neighbours_stored(
    client: httpx.AsyncClient, admin_connection: asyncpg.Connection, is_lines: bool
) -> None:
    expected = []
    for name, (bad, field) in BAD_RECORDS.items():
        before, after = good(), good()
        parts = [json.dumps(before), bad, json.dumps(after)]
        body = "\n".join(parts) if is_lines else f"[{','.join(parts)}]"
        headers = {"content-type": "application/x-ndjson"} if is_lines else {}

        answer = await client.post(PATH, content=body.encode(), headers=headers)

        assert answer.status_code == 200, f"{name}: {answer.text[:500]}"
        receipt = answer.json()
        assert (receipt["received"], receipt["stored"], receipt["duplicates"]) == (3, 2, 0), name
        (refusal,) = receipt["refused"]
        assert refusal["index"] == 1, name
        fields = [fault["field"] for fault in refusal["errors"]]
        assert any(found == field or (field and found.startswith(f"{field}.")) for found in fields), (
            f"{name}: {refusal}"
        )
        assert all(fault["message"] for fault in refusal["errors"])
        assert len(answer.content) < 4_000, f"{name}: what was wrong is echoed at length"
        expected += [UUID(before["id"]), UUID(after["id"])]

    assert await stored(admin_connection) == sorted(expected)


async def test_alone_a_bad_record_is_a_problem_that_names_the_field(
    client: httpx.AsyncClient, admin_connection: asyncpg.Connection
) -> None:
    for name, (bad, field) in BAD_RECORDS.items():
        answer = await client.post(PATH, content=f"[{bad}]".encode())
        assert answer.status_code == 422, f"{name}: {answer.text[:300]}"
        problem = expect_problem(answer, 422)
        assert any(field in fault["field"] and fault["message"] for fault in problem["errors"]), f"{name}: {problem}"

    assert await stored(admin_connection) == []


def _two() -> bytes:
    return json.dumps([good(), good()]).encode()


def _bomb(encoding: str, megabytes: int) -> bytes:
    """Return a few kilobytes that unpack to many megabytes of one JSON string."""
    piece = b"x" * MIB
    if encoding == "gzip":
        packer = zlib.compressobj(9, wbits=31)
        return b"".join([packer.compress(b'["'), *(packer.compress(piece) for _ in range(megabytes)), packer.flush()])
    made = zstd.ZstdCompressor()
    return b"".join([made.compress(b'["'), *(made.compress(piece) for _ in range(megabytes)), made.flush()])


WHOLE_BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "nothing": (b"", {}, 400),
    "no JSON": (b"provider=openai", {}, 400),
    "one bracket": (b"[", {}, 400),
    "a bracket too many": (b"[]]", {}, 400),
    "brackets that do not match": (b"[{}}", {}, 400),
    "cut off in a string": (_two()[:60], {}, 400),
    "cut off between records": (_two()[:-1], {}, 400),
    "100,000 brackets": (b"[" * 100_000, {}, 400),
    "not UTF-8": (b"\xff\xfe\x00[\x00]", {}, 400),
    "UTF-16": ("[]".encode("utf-16"), {}, 400),
    "nothing but NUL": (b"\x00" * 100, {}, 400),
    "media type of a form": (_two(), {"content-type": "application/x-www-form-urlencoded"}, 415),
    "media type of a page": (_two(), {"content-type": "text/html"}, 415),
    "another charset": (_two(), {"content-type": "application/json; charset=utf-16"}, 415),
    "unknown encoding": (_two(), {"content-encoding": "br"}, 415),
    "two encodings": (gzip.compress(gzip.compress(_two())), {"content-encoding": "gzip, gzip"}, 415),
    "gzip that is none": (_two(), {"content-encoding": "gzip"}, 400),
    "zstd that is none": (_two(), {"content-encoding": "zstd"}, 400),
    "gzip called zstd": (gzip.compress(_two()), {"content-encoding": "zstd"}, 400),
    "zstd called gzip": (zstd.compress(_two()), {"content-encoding": "gzip"}, 400),
    "gzip cut off": (gzip.compress(_two())[:-9], {"content-encoding": "gzip"}, 400),
    "zstd cut off": (zstd.compress(_two())[:-3], {"content-encoding": "zstd"}, 400),
    "gzip's checksum wrong": (gzip.compress(_two())[:-8] + b"\0" * 8, {"content-encoding": "gzip"}, 400),
    "gzip and something behind": (gzip.compress(_two()) + b"more", {"content-encoding": "gzip"}, 400),
    "zstd and something behind": (zstd.compress(_two()) + b"more", {"content-encoding": "zstd"}, 400),
    "gzip of nothing sent": (b"", {"content-encoding": "gzip"}, 400),
    "gzip bomb": (_bomb("gzip", 64), {"content-encoding": "gzip"}, 413),
    "zstd bomb": (_bomb("zstd", 64), {"content-encoding": "zstd"}, 413),
    "bomb of many members": (gzip.compress(b"[" + b" " * MIB) * 40, {"content-encoding": "gzip"}, 413),
    "17 MB": (b"[" + b" " * 17 * MIB + b"]", {}, 413),
    "length of 17 digits": (_two(), {"content-length": "9" * 17}, 413),
    "10,001 records": (b"[" + b",".join([b"{}"] * 10_001) + b"]", {}, 413),
    "key of 300 characters": (_two(), {"idempotency-key": "k" * 300}, 400),
}  # fmt: skip


async def test_bodies_of_no_sense_are_refused_whole(
    client: httpx.AsyncClient, admin_connection: asyncpg.Connection
) -> None:
    for name, (body, headers, status) in WHOLE_BODIES.items():
        answer = await client.post(PATH, content=body, headers=headers)
        assert answer.status_code == status, f"{name}: {answer.text[:300]}"
        assert len(expect_problem(answer, status)["detail"]) > 10, name

    assert await stored(admin_connection) == []


async def test_a_body_without_a_length_is_cut_at_the_limit(client: httpx.AsyncClient) -> None:
    taken = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b"["
        for _ in range(64):
            taken += 1
            yield b" " * MIB
        yield b"]"

    expect_problem(await client.post(PATH, content=pieces()), 413)


SOUND_BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "an empty array": (b" [ ] ", {}, 0),
    "no lines": (b"\n\r\n  \n", {"content-type": "application/x-ndjson"}, 0),
    "one object": (json.dumps(good()).encode(), {}, 1),
    "a mark of byte order": (b"\xef\xbb\xbf" + _two(), {}, 2),
    "a mark of byte order before lines": (
        b"\xef\xbb\xbf" + json.dumps(good()).encode(), {"content-type": "application/x-ndjson"}, 1,
    ),
    "blank lines and carriage returns": (
        b"\r\n" + b"\r\n\r\n  \r\n".join(json.dumps(good()).encode() for _ in range(5)) + b"\r\n",
        {"content-type": "application/x-ndjson"}, 5,
    ),
    "no media type": (_two(), {"content-type": ""}, 2),
    "two members": (
        gzip.compress(b"[" + json.dumps(good()).encode()) + gzip.compress(b"," + json.dumps(good()).encode() + b"]"),
        {"content-encoding": "gzip"}, 2,
    ),
    "numbers at their limits": (
        json.dumps([good(response_time_ms=0), good(request_size_bytes=2**43, tokens={"input": 10**9}, cost="10000000")]).encode(),
        {}, 2,
    ),
    "text at its limits": (json.dumps([good(error_message="\U0001f600" * 8_192, model="ß" * 200)]).encode(), {}, 1),
    # No time that there is: it is taken as a text like any other.
    "an id that looks like a UUIDv7": (json.dumps([good(id="ffffffff-ffff-7fff-bfff-ffffffffffff")]).encode(), {}, 1),
    "text of an injection": (
        json.dumps([good(model="'; DROP TABLE metering.calls; --", user="\\copy $1 %s {}")]).encode(), {}, 1,
    ),
}  # fmt: skip


async def test_bodies_that_are_odd_but_sound_are_stored(
    client: httpx.AsyncClient, admin_connection: asyncpg.Connection
) -> None:
    before = 0
    for name, (body, headers, count) in SOUND_BODIES.items():
        answer = await client.post(PATH, content=body, headers=headers)
        assert answer.status_code == 200, f"{name}: {answer.text[:300]}"
        after = len(await stored(admin_connection))
        assert answer.json()["stored"] == count == after - before, name
        before = after


async def test_of_a_field_given_twice_one_counts_and_nothing_else_is_harmed(
    client: httpx.AsyncClient, admin_connection: asyncpg.Connection
) -> None:
    record = good()
    twice = json.dumps(record)[:-1] + ', "status_code": 404, "provider": "exa"}'

    answer = await client.post(PATH, content=f"[{twice}]".encode())

    assert answer.status_code == 200
    row = await admin_connection.fetchrow("SELECT provider, status_code FROM metering.calls")
    assert tuple(row) == ("exa", 404)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["2026-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "openai", "-1", "1e999", "\x00", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = [
    "id", "type", "timestamp", "provider", "endpoint", "path", "method", "status_code", "response_time_ms",
    "time_to_first_byte_ms", "request_size_bytes", "model", "tokens", "units", "service_variant", "cost", "currency",
    "price_source", "key", "application", "user", "end_user", "region", "session_id", "tags", "metadata", "error_type",
    "error_message", "user_agent", "ip_address", "request_headers", "response_headers", "whatever",
]  # fmt: skip
QUICK = hypothesis_settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@QUICK
@given(changes=st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=4), is_lines=st.booleans())
async def test_whatever_a_record_holds_its_neighbours_are_stored(
    client: httpx.AsyncClient, admin_connection: asyncpg.Connection, changes: dict[str, Any], is_lines: bool
) -> None:
    records = [good(), good() | changes, good()]
    texts = [json.dumps(record) for record in records]
    body = "\n".join(texts) if is_lines else f"[{', '.join(texts)}]"
    headers = {"content-type": "application/x-ndjson"} if is_lines else {}

    answer = await client.post(PATH, content=body.encode(), headers=headers)

    assert answer.status_code == 200, answer.text
    receipt = answer.json()
    assert receipt["accepted"] + len(receipt["refused"]) == receipt["received"] == 3
    assert [refusal["index"] for refusal in receipt["refused"]] in ([], [1])
    for refusal in receipt["refused"]:
        named = {fault["field"].partition(".")[0] for fault in refusal["errors"]}
        assert named & {*changes, "cached_input", "cache_write", "", "cost", "tokens"}, (refusal, changes)
    neighbours = [UUID(records[0]["id"]), UUID(records[2]["id"])]
    assert await admin_connection.fetchval("SELECT count(*) FROM metering.calls WHERE id = ANY ($1)", neighbours) == 2


def _mutations(body: bytes) -> Iterator[st.SearchStrategy[bytes]]:
    place = st.integers(0, len(body) - 1)
    yield st.builds(lambda at, new: body[:at] + bytes([new]) + body[at + 1 :], place, st.integers(0, 255))
    yield st.builds(lambda at, length: body[:at] + body[at + length :], place, st.integers(1, 40))
    yield st.builds(lambda at, more: body[:at] + more + body[at:], place, st.binary(min_size=1, max_size=8))
    yield st.builds(lambda at: body[:at], place)
    yield st.builds(lambda start, end: body + body[start : start + end], place, st.integers(1, 200))
    yield st.builds(
        lambda at, mark: body[:at] + mark + body[at + 1 :],
        place,
        st.sampled_from([b"[", b"]", b"{", b"}", b'"', b",", b"\\"]),
    )


@QUICK
@given(data=st.data(), form=st.sampled_from(["array", "lines", "gzip", "zstd"]))
async def test_whatever_bytes_come_the_receipt_is_true(
    client: httpx.AsyncClient, admin_connection: asyncpg.Connection, data: st.DataObject, form: str
) -> None:
    at = datetime(2026, 6, 1, tzinfo=UTC)
    # The same records for each example: what was damaged must not depend on the clock.
    records = [
        {"id": f"{form}-{n}", "timestamp": at.isoformat(), "provider": "openai", "status_code": 200} for n in range(3)
    ]
    text = "\n".join(map(json.dumps, records)) if form == "lines" else json.dumps(records)
    body = {"gzip": lambda raw: gzip.compress(raw, mtime=0), "zstd": zstd.compress}.get(form, bytes)(text.encode())
    damaged = data.draw(st.one_of(*_mutations(body)))
    headers = {"content-type": "application/x-ndjson"} if form == "lines" else {}
    if form in {"gzip", "zstd"}:
        headers["content-encoding"] = form
    before = len(await stored(admin_connection))

    answer = await client.post(PATH, content=damaged, headers=headers)

    after = len(await stored(admin_connection))
    if answer.status_code == 200:
        receipt = answer.json()
        assert receipt["stored"] == after - before
        assert receipt["stored"] + receipt["duplicates"] == receipt["accepted"]
        assert receipt["accepted"] + len(receipt["refused"]) == receipt["received"]
    else:
        expect_problem(answer, 400, 413, 415, 422)
        assert after == before
