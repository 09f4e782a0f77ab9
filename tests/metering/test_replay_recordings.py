"""Recordings read: every line is a record or a fault that names it, and ids come from content and line alone."""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nexus.kit.ids import uuid7
from nexus.metering.recordings import FORMATS, Format, Line, UnreadableRecording, open_recording

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMBINED = (
    '203.0.113.9 - frank [10/Oct/2026:13:55:36 -0700] "GET /a.gif?key=s HTTP/1.1" 200 2326 '
    '"http://www.example.com/start.html" "Mozilla/5.0 (X11)"'
)
COMMON = '198.51.100.7 - - [10/Oct/2026:20:55:36 +0000] "POST /v1/chat HTTP/1.0" 503 -'
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
CALL = '{"provider": "openai", "status_code": 200, "timestamp": "2026-10-10T20:55:36Z"}'
GENTLE = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes, name: str = "recording") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read(path: Path, **options: Any) -> list[Line]:
    return list(open_recording(path, **options))


def records(path: Path, **options: Any) -> list[dict[str, Any]]:
    lines = read(path, **options)
    assert not [line.fault for line in lines if line.fault]
    return [line.record for line in lines if line.record is not None]


def without_id(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "id"}


def test_combined_log_line_becomes_a_call(write: Write) -> None:
    (record,) = records(write(COMBINED + "\n"))

    assert without_id(record) == {
        "timestamp": "2026-10-10T20:55:36+00:00",
        "provider": "web",
        "method": "GET",
        "path": "/a.gif",
        "status_code": 200,
        "response_size_bytes": 2326,
        "user_agent": "Mozilla/5.0 (X11)",
        "ip_address": "203.0.113.9",
        "user": "frank",
    }


def test_common_log_line_becomes_a_call(write: Write) -> None:
    (record,) = records(write(COMMON))

    assert without_id(record) == {
        "timestamp": "2026-10-10T20:55:36+00:00",
        "provider": "web",
        "method": "POST",
        "path": "/v1/chat",
        "status_code": 503,
        "ip_address": "198.51.100.7",
    }


def test_nginx_line_with_a_request_time_tells_the_duration(write: Write) -> None:
    plain, named = records(write(f'{COMBINED} "-" 0.254\n{COMBINED} "10.1.1.1" rt=1.500 uct=0.001\n'))

    assert plain["response_time_ms"] == 254
    assert named["response_time_ms"] == 1500


@pytest.mark.parametrize(
    ("request_text", "expected"),
    [
        ("-", (None, None)),
        ("", (None, None)),
        (r"\x16\x03\x01", (None, None)),
        ("GET http://example.com/a/b?c=d HTTP/1.1", ("GET", "/a/b")),
        ('GET /say?q=\\"quoted\\" HTTP/1.1', ("GET", "/say")),
        ("OPTIONS * HTTP/1.1", ("OPTIONS", "/*")),
        ("GET http://[broken/ HTTP/1.1", ("GET", "/http://[broken/")),
    ],
)
def test_odd_requests_of_a_log_are_calls_all_the_same(
    write: Write, request_text: str, expected: tuple[str | None, str | None]
) -> None:
    (record,) = records(write(f'::1 - - [10/Oct/2026:20:55:36 +0000] "{request_text}" 400 0 "-" "-"\n'))

    assert (record.get("method"), record.get("path")) == expected
    assert "user_agent" not in record


def test_host_names_of_a_log_are_not_taken_for_addresses(write: Write) -> None:
    (record,) = records(write(COMMON.replace("198.51.100.7", "cafe.de")))

    assert "ip_address" not in record


def test_trace_row_becomes_a_call_of_a_model(write: Write) -> None:
    content = TRACE + "2023-11-16 18:15:46.6805907,374,44\n2024-05-10 02:00:00.009930+02:00,10,0\n"

    first, second = records(write(content))

    assert without_id(first) == {
        "timestamp": "2023-11-16T18:15:46.680590+00:00",
        "provider": "azure",
        "model": "gpt-4o",
        "endpoint": "/chat/completions",
        "method": "POST",
        "status_code": 200,
        "tokens": {"input": 374, "output": 44},
    }
    assert datetime.fromisoformat(second["timestamp"]) == datetime(2024, 5, 10, 0, 0, 0, 9930, tzinfo=UTC)


def test_trace_may_come_from_a_spreadsheet(write: Write) -> None:
    content = '\ufeffContextTokens, "TIMESTAMP" ,GeneratedTokens,Extra\r\n374,2023-11-16 18:15:46,44,x\r\n\r\n'

    (record,) = records(write(content))

    assert record["tokens"] == {"input": 374, "output": 44}


def test_records_of_our_own_are_sent_as_they_are(write: Write) -> None:
    content = '\ufeff{"id": "a", "provider": "exa", "status_code": 200, "tags": {"team": "x"}}\r\n\n' + CALL

    own, other = records(write(content))

    assert own == {"id": "a", "provider": "exa", "status_code": 200, "tags": {"team": "x"}}
    assert without_id(other) == json.loads(CALL)


def test_provider_and_model_can_be_named(write: Write) -> None:
    paths = [write(COMMON, "log"), write(TRACE + "2023-11-16 18:15:46,1,2", "trace"), write(CALL, "ndjson")]

    named = [records(path, provider="p", model="m")[0] for path in paths]

    assert [record["provider"] for record in named] == ["p", "p", "p"]
    assert [record.get("model") for record in named] == [None, "m", "m"]


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        (
            f"{COMBINED}\nnonsense\n\n{COMMON}\n{COMMON.replace('Oct', 'Okt')}\n{COMMON.replace('10/', '32/')}\n"
            + COMMON.replace("503 -", "503 " + "9" * 5000),
            [2, 5, 6, 7],
        ),
        (
            TRACE + '2023-11-16 18:15:46,1,2\nnever,1,2\n2023-11-16 18:15:46,"1,2\n2023-11-16 18:15:46,-1,2\n'
            "2023-11-16 18:15:46,1\n2023-11-16 18:15:46,1.5,2\n\n2023-11-16 18:15:47,3,4\n",
            [3, 4, 5, 6, 7],
        ),
        (f'{CALL}\n{{\n[1]\n{CALL}\n"text"\n' + "[" * 100_000 + f"\n{CALL}\n", [2, 3, 5, 6]),
        (f"{COMMON}\n{COMMON.replace('10/Oct/2026:20', '01/Jan/0001:05').replace('+0000', '+1400')}\n", [2]),
    ],
    ids=["access log", "trace", "ndjson", "a time before time"],
)
def test_odd_lines_are_told_by_their_number_and_the_others_are_read(
    write: Write, content: str, numbers: list[int]
) -> None:
    lines = read(write(content))

    written = [number for number, text in enumerate(content.splitlines(), 1) if text.strip()]
    if content.startswith(TRACE):
        written.remove(1)
    assert [line.number for line in lines] == written
    assert [line.number for line in lines if line.fault] == numbers
    assert all((line.record is None) == bool(line.fault) for line in lines)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"some,other,table\n1,2,3\n", "--format"),
        (gzip.compress(COMMON.encode() * 1000)[:-20], "cannot be read"),
        (gzip.compress(random.Random(1).randbytes(5000))[:2000] + b"\xff" * 100, "cannot be read"),
        (zstd.compress(COMMON.encode() * 1000)[:-5], "cannot be read"),
        (b"\x28\xb5\x2f\xfd" + b"nonsense", "cannot be read"),
        (b"\x1f\x8bnonsense", "cannot be read"),
    ],
)  # fmt: skip
def test_files_that_are_no_recordings_are_refused_with_the_reason(write: Write, content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableRecording, match=re.escape(reason)):
        open_recording(write(content))


def test_trace_without_its_columns_is_refused_by_their_names(write: Write) -> None:
    with pytest.raises(UnreadableRecording, match="GeneratedTokens"):
        read(write("TIMESTAMP,ContextTokens\n"), format="azure-llm-trace")


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UnreadableRecording, match="cannot be read"):
            open_recording(path)


@pytest.mark.parametrize(
    "content", [f"{COMBINED}\n{COMBINED}\n", TRACE + "2023-11-16 18:15:46,1,2\n" * 3, f"{CALL}\n" * 2]
)
def test_compression_and_name_change_nothing(write: Write, content: str) -> None:
    plain = records(write(content, "a.log"))

    assert records(write(gzip.compress(content.encode()), "b.gz")) == plain
    assert records(write(zstd.compress(content.encode()), "c.zst")) == plain
    # What they are is told by their content, not their name.
    assert records(write(zstd.compress(content.encode()), "d.gz")) == plain


def test_lines_that_repeat_are_different_calls(write: Write) -> None:
    for content in (f"{COMBINED}\n" * 5, TRACE + "2023-11-16 18:15:46,1,2\n" * 5, f"{CALL}\n" * 5):
        assert len({record["id"] for record in records(write(content))}) == 5


def test_same_line_of_another_file_is_another_call(write: Write) -> None:
    (first,) = records(write(f"{COMBINED}\n"))
    (second, _) = records(write(f"{COMBINED}\n{COMBINED}\n"))

    assert first["id"] != second["id"]


@pytest.mark.parametrize("given_id", ["null", '"mine"'])
def test_record_without_an_id_gets_one_and_one_with_an_id_keeps_it(write: Write, given_id: str) -> None:
    (record,) = records(write(f'{{"provider": "p", "status_code": 200, "id": {given_id}}}'))

    assert record["id"] == "mine" if given_id == '"mine"' else len(record["id"]) == 36


def test_time_of_a_record_is_its_timestamp_else_that_of_its_id(write: Write) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    rows = [
        {"timestamp": at.isoformat(), "id": str(uuid7(at + timedelta(hours=1)))},
        {"id": str(uuid7(at))},
        {"id": "opaque"},
        {"id": 7},
        {"timestamp": "2026-01-02T03:04:05"},
        {"timestamp": 7},
    ]

    lines = read(write("".join(json.dumps(row) + "\n" for row in rows)))

    assert [line.at for line in lines] == [at, at, None, None, None, None]


AGENTS = st.text(st.characters(codec="utf-8", exclude_characters='"\\\n'), max_size=600)
INSTANTS = st.datetimes(
    datetime(1990, 1, 1),
    datetime(2100, 1, 1),
    timezones=st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@GENTLE
@given(
    at=INSTANTS,
    method=st.from_regex("[A-Z]{1,16}", fullmatch=True),
    path=st.from_regex(r"/[a-zA-Z0-9/._~%\-]{0,60}", fullmatch=True),
    status=st.integers(100, 599),
    size=st.one_of(st.none(), st.integers(0, 2**43)),
    agent=st.one_of(st.none(), AGENTS),
    address=st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)),
)
def test_what_a_server_writes_is_read(
    write: Write, at: datetime, method: str, path: str, status: int, size: int | None, agent: str | None, address: Any
) -> None:
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    when = f"{at.day:02}/{months[at.month - 1]}/{at.year}:{at:%H:%M:%S %z}"
    tail = "" if agent is None else f' "-" "{agent}"'
    line = f'{address} - - [{when}] "{method} {path}?q=1 HTTP/1.1" {status} {"-" if size is None else size}{tail}'

    (record,) = records(write(line))

    assert datetime.fromisoformat(record["timestamp"]) == at.replace(microsecond=0)
    assert (record["method"], record["path"], record["status_code"]) == (method, path, status)
    assert record.get("response_size_bytes") == size
    assert record["ip_address"] == str(address)


LINES = st.lists(
    st.one_of(
        st.sampled_from([COMBINED, COMMON, CALL, TRACE.strip(), "2023-11-16 18:15:46.6805900,374,44", "", '"', "{}"]),
        st.text(st.characters(codec="utf-8"), max_size=80),
    ),
    max_size=8,
).map("\n".join)


@GENTLE
@given(content=st.one_of(LINES.map(str.encode), st.binary(max_size=300)), kind=st.sampled_from([None, *FORMATS]))
@example(content=b"TIMESTAMP,ContextTokens,GeneratedTokens\n\x00\n", kind="azure-llm-trace")
@example(content=b'TIMESTAMP,ContextTokens,GeneratedTokens\n"' + b"x" * 200_000, kind="azure-llm-trace")
@example(content=b'{"timestamp": "0001-01-01T00:00:00+14:00"}', kind="ndjson")
@example(content=b"a\rb\n", kind="access-log")
def test_whatever_a_file_holds_each_line_is_one_record_or_one_fault(
    write: Write, content: bytes, kind: Format | None
) -> None:
    try:
        lines = read(write(content), format=kind)
    except UnreadableRecording:
        return

    assert all((line.record is None) == bool(line.fault) for line in lines)
    assert len({line.number for line in lines}) == len(lines) <= content.count(b"\n") + 1
    given_ids = [line for line in lines if line.record is not None and len(str(line.record["id"])) == 36]
    assert len({line.record["id"] for line in given_ids if line.record}) == len(given_ids)


def test_calls_of_tools_are_told_by_their_columns_and_keep_what_they_say(tmp_path: Path) -> None:
    rows = [
        {
            "server": "files",
            "tool": "read",
            "arguments": {"path": "/a"},
            "is_error": True,
            "result_chars": 9,
            "task_id": "t",
        },
        {"server": None, "tool": None, "call": "route", "arguments": None, "is_error": False},
        {"server": "files", "tool": "read", "arguments": {}},
        "no object",
    ]
    file = tmp_path / "calls.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    recording = open_recording(file)
    lines = list(recording)

    assert recording.format == "tool-calls"
    first, agents, short, other = lines
    assert first.record == {
        "type": "tool_call", "id": first.record["id"], "tool": "read", "outcome": "tool_error", "server": "files",
        "parameters": {"path": "/a"}, "response_size_bytes": 9, "trace_id": "t",
    }  # fmt: skip
    assert agents.record is not None and (agents.record["tool"], agents.record["outcome"]) == ("route", "ok")
    assert "is_error" in short.fault and other.record is None
