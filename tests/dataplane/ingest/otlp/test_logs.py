"""Exceptions in spans, and `/otlp/v1/logs`: errors are kept once, everything else is accepted and counted."""

from __future__ import annotations

import gzip
import json
from typing import Any

import backports.zstd as zstd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from nexus.dataplane.ingest.otlp.asgi import MAX_BODY_BYTES
from tests.dataplane.ingest.otlp.conftest import Receiver
from tests.dataplane.ingest.otlp.payloads import (
    START,
    TRACE,
    as_json,
    as_protobuf,
    attributes,
    request,
    span,
    value_of,
)
from tests.dataplane.ingest.otlp.test_receiver import CHAT, FORMS, TYPES, status_of

LOGS = "/otlp/v1/logs"
RESOURCE = {"service.name": "shop", "service.version": "2.1", "deployment.environment.name": "staging"}
RAISED = {
    "exception.type": "ValueError",
    "exception.message": "no user 17",
    "exception.stacktrace": 'Traceback (most recent call last):\n  File "/app/a.py", line 3, in find\nValueError: no user 17',
}


def log(said: dict[str, Any] | None = None, *, body: Any = None, severity: int = 9, **more: Any) -> dict[str, Any]:
    """One log record in OTLP's JSON."""
    told: dict[str, Any] = {
        "timeUnixNano": str(START),
        "severityNumber": severity,
        "attributes": attributes(said or {}),
    }
    if body is not None:
        told["body"] = value_of(body)
    return told | more


def logs_of(*records: dict[str, Any], scope: str = "test") -> dict[str, Any]:
    """A request for logs in OTLP's JSON."""
    scoped = {"scope": {"name": scope}, "logRecords": list(records)}
    return {"resourceLogs": [{"resource": {"attributes": attributes(RESOURCE)}, "scopeLogs": [scoped]}]}


async def send(receiver: Receiver, document: dict[str, Any], form: str) -> Any:
    """Send logs in one of the forms."""
    body = as_json(document) if form == "json" else as_protobuf(document, "logs")
    return await receiver.post(body, TYPES[form], path=LOGS)


def counted(receiver: Receiver, name: str = "log_records") -> dict[str, int]:
    """The account of all items of one kind."""
    fates = ("kept", "not_kept", "rejected")
    found = {fate: receiver.registry.get_sample_value(f"nexus_otlp_{name}_total", {"fate": fate}) for fate in fates}
    return {fate: int(value) for fate, value in found.items() if value}


@FORMS
async def test_errors_and_exceptions_in_logs_are_kept_and_the_rest_is_accepted(receiver: Receiver, form: str) -> None:
    answer = await send(
        receiver,
        logs_of(
            log(RAISED | {"http.route": "/cart", "gen_ai.input.messages": "private"}, body="cart failed", severity=17,
                traceId=TRACE, spanId=f"{9:016x}"),
            log(RAISED | {"exception.message": "only a warning"}, severity=13),
            log(body="disk is full", severity=21),
            log(body="disk is slow", severity=0, severityText="ERROR"),
            log(body=["a", 1], severity=18),
            log(body="hello", severity=9),
            log(body="hm", severity=13),
            log(severity=0),
        ),
        form,
    )  # fmt: skip

    assert (answer.status, answer.headers["content-type"]) == (200, TYPES[form])
    assert answer.body == (b"{}" if form == "json" else b"")
    rows = {row["message"]: row for row in receiver.decoded("error")}
    assert {message: row["level"] for message, row in rows.items()} == {
        "no user 17": "error", "only a warning": "warn", "disk is full": "fatal", "disk is slow": "error", '["a",1]': "error",
    }  # fmt: skip
    row = rows["no user 17"]
    expected = {
        "error_type": "ValueError", "service": "shop", "service_version": "2.1", "environment": "staging",
        "trace_id": TRACE, "span_id": f"{9:016x}", "culprit": "find (a.py)", "category": "",
    }  # fmt: skip
    assert row | expected == row
    assert row["context"] == {"scope": "test", "log": "cart failed", "attributes": {"http.route": "/cart"}}
    assert counted(receiver) == {"kept": 5, "not_kept": 3}


async def test_both_forms_mean_the_same_and_a_resent_batch_counts_once(receiver: Receiver) -> None:
    # Two that are the same in all are two all the same.
    document = logs_of(log(RAISED), log(body="x", severity=17), log(body="x", severity=17), log(body="y", severity=17))
    for form in ("protobuf", "json", "protobuf"):
        assert (await send(receiver, document, form)).status == 200

    assert len(receiver.decoded("error")) == 4


@FORMS
async def test_exception_of_a_span_is_an_error_once_however_many_tell_of_it(receiver: Receiver, form: str) -> None:
    event = {"name": "exception", "timeUnixNano": str(START + 5), "attributes": attributes(RAISED)}
    other = {"name": "exception", "attributes": attributes({"exception.type": "KeyError"})}
    document = request(
        span(1, {}, name="outer", kind=1, events=[event, {"name": "note"}]),
        span(2, {"db.system": "postgresql"}, parent=1, name="inner", events=[event]),
        span(3, CHAT, parent=1, events=[other], status={"code": 2}),
        span(4, {"mcp.method.name": "tools/call", "gen_ai.tool.name": "find"}, kind=2, events=[event],
             status={"code": 2}),
        resource=RESOURCE,
    )  # fmt: skip
    answer = await receiver.tell(document, form)
    # The same one as a log record, and the batch again.
    await send(receiver, logs_of(log(RAISED, severity=17, traceId=TRACE, spanId=f"{2:016x}")), form)
    await receiver.tell(document, form)

    rows = {(row["span_id"], row["error_type"]): row for row in receiver.decoded("error")}
    assert answer.status == 200
    assert set(rows) == {(f"{2:016x}", "ValueError"), (f"{3:016x}", "KeyError"), (f"{4:016x}", "ValueError")}
    assert [rows[f"{number:016x}", kind]["category"] for number, kind in
            ((2, "ValueError"), (3, "KeyError"), (4, "ValueError"))] == ["database", "external_api", "mcp"]  # fmt: skip
    assert rows[f"{4:016x}", "ValueError"]["tool_context"] == {"method": "tools/call", "tool": "find"}
    # How the tool call ended is counted with tool calls, and its exception is beside it.
    (tool,) = receiver.decoded("tool_call")
    assert (tool["tool"], tool["outcome"]) == ("find", "protocol_error")
    assert receiver.registry.get_sample_value("nexus_otlp_spans_total", {"fate": "rejected"}) == 0


@FORMS
async def test_mixed_batch_tells_exactly_which_log_records_were_rejected(receiver: Receiver, form: str) -> None:
    far = str(START + 10**18)
    answer = await send(
        receiver,
        logs_of(
            log(body="good", severity=17),
            log(body="far", severity=17, timeUnixNano=far),
            log(RAISED, timeUnixNano=far),
            log(body="nothing to keep", timeUnixNano=far),
            # What says no time is of the moment it comes.
            log(body="timeless", severity=17, timeUnixNano="0"),
        ),
        form,
    )

    if form == "json":
        partial = json.loads(answer.body)["partialSuccess"]
        rejected, message = int(partial["rejectedLogRecords"]), partial["errorMessage"]
    else:
        found = ExportLogsServiceResponse.FromString(answer.body).partial_success
        rejected, message = found.rejected_log_records, found.error_message
    assert (answer.status, rejected) == (200, 2)
    assert "timestamp" in message
    assert counted(receiver) == {"kept": 2, "not_kept": 1, "rejected": 2}
    assert {row["message"] for row in receiver.decoded("error")} == {"good", "timeless"}


@FORMS
async def test_statuses_are_those_of_the_specification(receiver: Receiver, form: str) -> None:
    document = logs_of(log(RAISED))
    body = as_json(document) if form == "json" else as_protobuf(document, "logs")
    kind = TYPES[form]
    for encoding, compress in (("gzip", gzip.compress), ("zstd", zstd.compress)):
        assert (await receiver.post(compress(body), kind, path=LOGS, content_encoding=encoding)).status == 200
        bomb = compress(bytes(MAX_BODY_BYTES + 1))
        answer = await receiver.post(bomb, kind, path=LOGS, content_encoding=encoding)
        assert (answer.status, status_of(answer, form)[0]) == (413, 8)
    for broken, how, status, code in (
        (b"\xff\xff\xff", {}, 400, 3),
        (body, {"kind": "text/plain"}, 415, 3),
        (body, {"key": None}, 401, 16),
        (body, {"method": "GET"}, 405, 12),
    ):
        answer = await receiver.post(broken, how.pop("kind", kind), path=LOGS, **how)  # type: ignore[arg-type]
        assert (answer.status, status_of(answer, "json" if status == 415 else form)[0]) == (status, code)
    empty = await receiver.post(b"{}" if form == "json" else b"", kind, path=LOGS)
    assert (empty.status, empty.body) == (200, b"{}" if form == "json" else b"")


async def test_full_share_is_429_with_retry_after(tmp_path: Any) -> None:
    import asyncio

    receiver = Receiver(tmp_path, ingest_queue_rows=10)
    receiver.store.gate = asyncio.Event()
    parts = [logs_of(*(log(body=f"{start} {n}", severity=17) for n in range(4))) for start in (1, 5)]
    waits = [asyncio.create_task(send(receiver, part, "protobuf")) for part in parts]
    await receiver.store.waiting.wait()
    answer = await send(receiver, logs_of(log(body="one more", severity=17)), "protobuf")
    assert (answer.status, answer.headers["retry-after"], status_of(answer, "protobuf")[0]) == (429, "1", 8)
    receiver.store.gate.set()
    assert [(await wait).status for wait in waits] == [200, 200]
    await receiver.ingest.writer.stop()


@pytest.mark.parametrize("bad", ["a\x00b", "\ud800"])
async def test_text_that_cannot_be_stored_is_no_error_of_ours(receiver: Receiver, bad: str) -> None:
    document = logs_of(log({"exception.message": bad, bad: bad}, body=bad, severity=17))
    body = json.dumps(document).encode()
    answer = await receiver.post(body, "application/json", path=LOGS)
    assert answer.status in {200, 400}


_leaf = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
_names = st.sampled_from(
    ["resourceLogs", "scopeLogs", "logRecords", "attributes", "key", "value", "body", "severityNumber", "stringValue"]
)
_tree = st.recursive(_leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=_tree, noise=st.binary(max_size=60), is_json=st.booleans())
async def test_no_body_makes_an_error_of_ours(receiver: Receiver, document: Any, noise: bytes, is_json: bool) -> None:
    body = json.dumps(document).encode() if is_json else noise
    answer = await receiver.post(body, TYPES["json" if is_json else "protobuf"], path=LOGS)
    assert answer.status in {200, 400}
