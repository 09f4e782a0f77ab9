"""Records: well-formed ones are read, faulty ones refused by index with field and remedy, and nothing is an error."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.contracts.calls import MAX_METADATA_BYTES, MAX_TAGS, ApiCall
from nexus.contracts.prices import PriceBook
from nexus.dataplane.ingest.record_type import Caller, Prepared, Tables
from nexus.dataplane.ingest.record_types import API_CALL, RECORD_TYPES
from nexus.dataplane.ingest.resolve import faults_of_call
from nexus.dataplane.ingest.validate import (
    Part,
    TooManyRecords,
    Unreadable,
    check_at_once,
    check_one_by_one,
)
from nexus.dataplane.snapshots import PriceTable
from nexus.kit.ids import uuid7

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CALLER = Caller(uuid4(), "USD")
TABLES = Tables(PriceTable(0, PriceBook.from_documents([])))
ENCODERS = {name: record_type.encoder(TABLES) for name, record_type in RECORD_TYPES.items()}
GOOD: dict[str, Any] = {"id": "good", "provider": "openai", "status_code": 200}
NEST = '{"a":' * 3_000 + "1" + "}" * 3_000


def take(body: bytes | str, *, is_lines: bool = False, key: str | None = None) -> Prepared:
    """Read and resolve a body as the service does."""
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    checked = check_at_once(raw, is_lines=is_lines, max_records=100)
    if checked is None:
        checked = check_one_by_one(raw, is_lines=is_lines, max_records=100, max_record_bytes=262_144)
    prepared = Prepared(faults=checked.faults)
    for part in checked.parts:
        ENCODERS[part.record_type.name].prepare(
            CALLER, part.records, received_at=NOW, idempotency_key=key, positions=part.positions, into=prepared
        )
    return prepared


def fields(prepared: Prepared, index: int = 0) -> set[str]:
    """The fields at fault of one record."""
    return {fault.field for at, _, faults in prepared.faults if at == index for fault in faults}


def test_only_provider_and_status_are_required() -> None:
    prepared = take('[{"provider": "openai", "status_code": 200}]', key="k")

    assert len(prepared.rows) == 1
    assert prepared.faults == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ('"status_code": "200"', "status_code"),
        ('"status_code": 1000', "status_code"),
        ('"status_code": -1', "status_code"),
        ('"status_code": null', "status_code"),
        ('"status_code": 99999999999999999999999999', "status_code"),
        ('"provider": ""', "provider"),
        ('"provider": "../etc"', "provider"),
        ('"provider": "' + "x" * 65 + '"', "provider"),
        ('"id": ""', "id"),
        ('"id": "' + "x" * 201 + '"', "id"),
        ('"id": "a\\u0000b"', "id"),
        ('"timestamp": "9999-12-31T23:59:59Z"', "timestamp"),
        ('"timestamp": "9999-12-31T23:59:59-23:59"', "timestamp"),
        ('"timestamp": "0001-01-01T00:00:00+14:00"', "timestamp"),
        ('"timestamp": "1989-12-31T23:59:59Z"', "timestamp"),
        ('"timestamp": "2026-03-01T12:00:00"', "timestamp"),
        ('"timestamp": "yesterday"', "timestamp"),
        ('"timestamp": 1700000000', "timestamp"),
        ('"response_time_ms": -0.001', "response_time_ms"),
        ('"response_time_ms": 1e308', "response_time_ms"),
        ('"response_time_ms": 1e999', "response_time_ms"),
        ('"response_time_ms": NaN', "response_time_ms"),
        ('"response_time_ms": -Infinity', "response_time_ms"),
        ('"time_to_first_byte_ms": -5', "time_to_first_byte_ms"),
        ('"request_size_bytes": -1', "request_size_bytes"),
        ('"response_size_bytes": 9223372036854775808', "response_size_bytes"),
        ('"response_size_bytes": ' + "9" * 5_000, "response_size_bytes"),
        ('"tokens": {"input": -1}', "tokens.input"),
        ('"tokens": {"input": 1.5}', "tokens.input"),
        ('"tokens": {"inputs": 1}', "tokens.inputs"),
        ('"tokens": {"input": 5, "cached_input": 6}', "tokens.cached_input"),
        ('"tokens": [1]', "tokens"),
        ('"units": {"web_searches": -1}', "units.web_searches"),
        ('"cost": "-1"', "cost"),
        ('"cost": "NaN"', "cost"),
        ('"cost": "sNaN"', "cost"),
        ('"cost": "Infinity"', "cost"),
        ('"cost": 1e400', "cost"),
        ('"cost": "ten"', "cost"),
        ('"cost": true', "cost"),
        ('"currency": "usd"', "currency"),
        ('"price_source": "given"', "cost"),
        ('"price_source": "guessed"', "price_source"),
        ('"key": "nx_secret"', "key"),
        ('"method": "GET /"', "method"),
        ('"ip_address": "1.2.3"', "ip_address"),
        ('"model": "a\\u0000"', "model"),
        ('"model": "\\ud800"', "model"),
        ('"model": "' + "m" * 1_000_000 + '"', "model"),
        ('"error_message": "' + "m" * 9_000 + '"', "error_message"),
        ('"tags": {"team": 5}', "tags.team"),
        ('"tags": {"team": "a\\u0000"}', "tags"),
        ('"tags": ' + json.dumps({str(n): "x" for n in range(MAX_TAGS + 1)}), "tags"),
        ('"metadata": {"a": "\\u0000"}', "metadata"),
        ('"metadata": {"\\u0000": 1}', "metadata"),
        ('"metadata": {"a": "' + "x" * MAX_METADATA_BYTES + '"}', "metadata"),
        ('"metadata": {"a": [[[[[[[[[1]]]]]]]]]}', "metadata"),
        ('"metadata": {"a": Infinity}', "metadata"),
        ('"metadata": []', "metadata"),
        ('"request_headers": {"a": ["b"]}', "request_headers.a"),
        ('"request_headers": ' + json.dumps({str(n): "x" * 8_000 for n in range(9)}), "request_headers"),
        ('"type": "tool_calls"', "type"),
        ('"type": 7', "type"),
        ('"latency": 5', "latency"),
    ],
)
@pytest.mark.parametrize("is_lines", [False, True])
def test_bad_field_is_named_and_its_neighbours_are_taken(change: str, field: str, is_lines: bool) -> None:
    name = change.partition(":")[0].strip('"')
    rest = "".join(f', "{key}": {json.dumps(value)}' for key, value in GOOD.items() if key != name)
    records = [json.dumps(GOOD | {"id": "before"}), f"{{{change}{rest}}}", json.dumps(GOOD | {"id": "after"})]

    prepared = take("\n".join(records) if is_lines else f"[{', '.join(records)}]", is_lines=is_lines)

    assert prepared.positions == [0, 2]
    assert [at for at, _, _ in prepared.faults] == [1]
    assert fields(prepared, 1) - {""} == {field}
    assert all(fault.message for _, _, faults in prepared.faults for fault in faults)


def test_every_fault_of_a_record_is_told_at_once() -> None:
    record = {
        "status_code": "x",
        "response_time_ms": -1,
        "tokens": {"input": -1, "output": "y", "what": 1},
        "timestamp": "9999-12-31T00:00:00Z",
        "ip_address": "nowhere",
        "statuscode": 1,
        "id": "r1",
    }

    prepared = take(json.dumps([record]))

    assert fields(prepared) == {
        "provider",
        "status_code",
        "response_time_ms",
        "tokens.input",
        "tokens.output",
        "tokens.what",
        "timestamp",
        "ip_address",
        "statuscode",
    }
    assert prepared.faults[0][1] == "r1"
    hint = next(fault.message for fault in prepared.faults[0][2] if fault.field == "statuscode")
    assert "`status_code`" in hint and "metadata" in hint


@pytest.mark.parametrize(
    "bad",
    [
        NEST,
        '{"metadata":' + NEST + ', "provider": "x", "status_code": 1, "id": "n"}',
        "[" * 5_000 + "]" * 5_000,
        "7",
        '"x"',
        "null",
        "NaN",
    ],
)
def test_records_of_no_sense_leave_their_neighbours_alone(bad: str) -> None:
    prepared = take(f"[{json.dumps(GOOD)}, {bad}, {json.dumps(GOOD | {'id': 'b'})}]")

    assert prepared.positions == [0, 2]
    assert len(prepared.faults) == 1


@pytest.mark.parametrize(
    "body", ["", "[", "[{}", '[{"a', "nonsense", "[1,2] 3", '[{"provider": "x}]', "\xff", "7", "[}", "{]"]
)
def test_body_that_is_no_list_is_unreadable_or_refused(body: str) -> None:
    try:
        prepared = take(body)
    except Unreadable as error:
        assert error.status == 400
    else:
        assert prepared.rows == []
        assert prepared.faults


def test_line_that_is_not_utf8_is_refused_alone() -> None:
    lines = [json.dumps(GOOD).encode(), b'{"provider": "\xff\xfe", "status_code": 200}', json.dumps(GOOD).encode()]

    prepared = take(b"\n".join(lines), is_lines=True)

    assert prepared.positions == [0, 2]
    assert "UTF-8" in prepared.faults[0][2][0].message


def test_blank_lines_are_no_records() -> None:
    good = json.dumps(GOOD)

    fast = take(f"\n{good}\r\n\r\n{good}\n\n", is_lines=True)
    slow = take(f"\n{good}\r\n\r\n{{}}\n{good}\n\n", is_lines=True)

    assert fast.positions == [0, 1]
    assert slow.positions == [0, 2]


def test_too_many_records_are_refused_before_they_are_built() -> None:
    bodies = [json.dumps([GOOD] * 101), "[" + "1," * 101 + "1]", "[" + "{}," * 200]
    for body, is_lines in [*((body, False) for body in bodies), ("\n".join([json.dumps(GOOD)] * 101), True)]:
        with pytest.raises(TooManyRecords):
            take(body, is_lines=is_lines)


def test_single_object_is_a_batch_of_one() -> None:
    assert take(json.dumps(GOOD)).positions == [0]


def test_record_without_id_needs_the_key_of_the_request() -> None:
    body = json.dumps([{"provider": "x", "status_code": 200}, GOOD])

    without, with_key = take(body), take(body, key="batch-1")

    assert without.positions == [1]
    assert fields(without) == {"id"}
    assert "Idempotency-Key" in without.faults[0][2][0].message
    assert with_key.positions == [0, 1]
    assert take(body, key="batch-1").rows[0][:24] == with_key.rows[0][:24]


def test_id_of_a_day_and_more_ahead_is_refused() -> None:
    late, soon = uuid7(NOW + timedelta(days=1, seconds=1)), uuid7(NOW + timedelta(hours=23))

    prepared = take(json.dumps([GOOD | {"id": str(late)}, GOOD | {"id": str(soon)}]))

    assert prepared.positions == [1]
    assert fields(prepared) == {"id"}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\x00", "\ud800", "é" * 300]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
optional = {name: json_values for name in ApiCall.__struct_fields__ if name not in GOOD}
records = st.dictionaries(
    st.sampled_from([*ApiCall.__struct_fields__, "unknown", "x\x00"]), json_values, max_size=8
) | st.fixed_dictionaries({name: st.just(value) for name, value in GOOD.items()}, optional=optional)


@given(st.lists(records | json_values, max_size=5), st.booleans(), st.booleans())
def test_any_json_is_taken_or_refused_record_by_record(values: list[Any], is_lines: bool, ascii_only: bool) -> None:
    pieces = [json.dumps(value, ensure_ascii=ascii_only) for value in [*values, GOOD]]
    body = "\n".join(pieces) if is_lines else f"[{','.join(pieces)}]"

    prepared = take(body, is_lines=is_lines)

    assert len(prepared.rows) + len(prepared.faults) == len(pieces)
    assert len(values) in prepared.positions
    assert sorted([*prepared.positions, *(at for at, _, _ in prepared.faults)]) == list(range(len(pieces)))
    assert all(faults and all(fault.message for fault in faults) for _, _, faults in prepared.faults)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_taken_or_refused(body: bytes, is_lines: bool) -> None:
    try:
        take(body, is_lines=is_lines)
    except (Unreadable, TooManyRecords) as error:
        assert error.status in {400, 413}


@given(st.lists(records, min_size=1, max_size=5))
def test_fast_and_slow_way_agree(values: list[dict[str, Any]]) -> None:
    body = json.dumps(values).encode()

    fast = check_at_once(body, is_lines=False, max_records=100)
    slow = check_one_by_one(body, is_lines=False, max_records=100, max_record_bytes=262_144)

    assert (fast is None) == bool(slow.faults)
    if fast is not None:
        assert fast.parts == [Part(API_CALL, slow.parts[0].records, range(len(values)))]


@given(st.data())
def test_record_is_refused_by_the_loop_exactly_when_it_has_faults(data: st.DataObject) -> None:
    ids = [str(uuid7(NOW)), str(uuid7(NOW + timedelta(days=9))), "0" * 32]
    text = st.text(max_size=10) | st.sampled_from(["\x00", "::1", *ids])
    call = ApiCall(
        provider=data.draw(text.filter(bool)),
        status_code=200,
        id=data.draw(st.none() | text.filter(bool)),
        timestamp=data.draw(st.none() | st.datetimes(timezones=st.just(UTC))),
        cost=data.draw(st.none() | st.decimals()),
        price_source=data.draw(st.sampled_from([None, "given", "book"])),
        key=data.draw(st.none() | text),
        ip_address=data.draw(st.none() | text),
        metadata=data.draw(st.none() | st.dictionaries(text, json_values, max_size=2)),
        tags=data.draw(st.none() | st.dictionaries(text, text, max_size=2)),
    )

    faults = faults_of_call(call, received_at=NOW, has_idempotency_key=False)
    prepared = ENCODERS["api_call"].prepare(CALLER, [call], received_at=NOW, positions=[0])

    assert bool(faults) == bool(prepared.faults), faults
    if faults:
        assert prepared.faults[0][2] == faults
