"""`/otlp/v1/traces`: what the OTLP/HTTP specification asks of a receiver."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backports.zstd as zstd
import pytest
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from nexus.dataplane.ingest.otlp.asgi import MAX_BODY_BYTES
from tests.dataplane.ingest.otlp.conftest import Receiver
from tests.dataplane.ingest.otlp.payloads import START, as_json, as_protobuf, request, span
from tests.dataplane.ingest.test_asgi import READER

FORMS = pytest.mark.parametrize("form", ["protobuf", "json"])
TYPES = {"protobuf": "application/x-protobuf", "json": "application/json"}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}


def status_of(answer: Any, form: str) -> tuple[int, str]:
    """Code and message of a `google.rpc.Status`."""
    if form == "json":
        told = json.loads(answer.body)
        return told["code"], told["message"]
    found = Status.FromString(answer.body)
    return found.code, found.message


@FORMS
async def test_span_becomes_a_call_and_the_answer_has_the_type_of_the_request(receiver: Receiver, form: str) -> None:
    answer = await receiver.tell(request(span(1, CHAT)), form)

    assert (answer.status, answer.headers["content-type"]) == (200, TYPES[form])
    assert answer.body == (b"{}" if form == "json" else b"")
    assert answer.headers["x-nexus-durability"] == "committed"
    (row,) = receiver.stored
    assert (row["provider"], row["model"], row["endpoint"]) == ("openai", "gpt-4o-2024-08-06", "/v1/chat/completions")
    assert (row["input_tokens"], row["output_tokens"], row["status_code"]) == (1000, 100, 200)
    assert (row["response_time_us"], row["cost_nanos"], row["price_source"]) == (500_000, 3_000_000, "book")
    assert row["tags"] == {"service": "shop"}


async def test_both_forms_mean_the_same_and_a_resent_batch_counts_once(receiver: Receiver) -> None:
    document = request(*(span(number, CHAT) for number in range(1, 6)))
    first = await receiver.tell(document, "protobuf")
    for form in ("json", "protobuf"):
        assert (await receiver.tell(document, form)).status == first.status == 200
    assert len(receiver.stored) == 5


@FORMS
@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
async def test_compressed_bodies_are_taken(
    receiver: Receiver, form: str, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    document = request(span(1, CHAT))
    body = as_json(document) if form == "json" else as_protobuf(document)
    answer = await receiver.post(compress(body), TYPES[form], content_encoding=encoding)
    assert answer.status == 200 and len(receiver.stored) == 1


@FORMS
async def test_empty_request_is_answered_with_an_empty_200(receiver: Receiver, form: str) -> None:
    answer = await receiver.post(b"{}" if form == "json" else b"", TYPES[form])
    assert (answer.status, answer.body) == (200, b"{}" if form == "json" else b"")


@pytest.mark.parametrize("bomb", [gzip.compress(bytes(MAX_BODY_BYTES + 1)), zstd.compress(bytes(MAX_BODY_BYTES + 1))])
async def test_bomb_is_413_and_holds_no_memory_afterwards(receiver: Receiver, bomb: bytes) -> None:
    encoding = "gzip" if bomb[:2] == b"\x1f\x8b" else "zstd"
    assert len(bomb) < 100_000
    answer = await receiver.post(bomb, content_encoding=encoding)
    assert answer.status == 413 and status_of(answer, "protobuf")[0] == 8
    assert receiver.telemetry._held._total == 0


@FORMS
@pytest.mark.parametrize("body", [b"\xff\xff\xff", b'{"resourceSpans": 5}', b"[1"])
async def test_malformed_body_is_400_with_a_status_in_its_type(receiver: Receiver, form: str, body: bytes) -> None:
    answer = await receiver.post(body, TYPES[form])
    assert (answer.status, answer.headers["content-type"]) == (400, TYPES[form])
    assert status_of(answer, form)[0] == 3


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ({"key": None}, 401, 16), ({"key": "nx_unknown" + "0" * 40}, 401, 16), ({"key": READER}, 403, 7),
        ({"method": "GET"}, 405, 12), ({"path": "/otlp/v1/profiles"}, 404, 5), ({"kind": "text/plain"}, 415, 3),
        ({"content_encoding": "br"}, 415, 3), ({"content_encoding": "gzip"}, 400, 3),
    ],
)  # fmt: skip
async def test_refusals_have_the_specifications_statuses(
    receiver: Receiver, how: dict[str, Any], status: int, code: int
) -> None:
    answer = await receiver.post(as_protobuf(request(span(1, CHAT))), **how)
    form = "json" if how.get("kind") == "text/plain" else "protobuf"
    assert (answer.status, status_of(answer, form)[0]) == (status, code)
    assert not receiver.stored


async def test_key_of_a_header_as_exporters_can_send_it_is_taken(receiver: Receiver) -> None:
    from tests.dataplane.ingest.test_asgi import KEY

    answer = await receiver.post(as_protobuf(request(span(1, CHAT))), key=None, x_api_key=KEY)
    assert answer.status == 200


@FORMS
async def test_mixed_batch_tells_exactly_what_was_rejected(receiver: Receiver, form: str) -> None:
    document = request(
        span(1, CHAT),
        span(2, {}, name="a function of ours", kind=1),
        span(3, CHAT, traceId="00" * 16),
        span(4, CHAT, startTimeUnixNano="0"),
        span(5, CHAT, startTimeUnixNano=str(START + 10**18), endTimeUnixNano=str(START + 10**18)),
        span(6, CHAT, spanId="ab"),
        span(7, {"http.request.method": "GET", "url.full": "https://api.openai.com/v1/models?x=1"}),
    )
    answer = await receiver.tell(document, form)

    if form == "json":
        partial = json.loads(answer.body)["partialSuccess"]
        assert partial["rejectedSpans"] == "4"
        message = partial["errorMessage"]
    else:
        found = ExportTraceServiceResponse.FromString(answer.body).partial_success
        assert found.rejected_spans == 4
        message = found.error_message
    assert answer.status == 200
    assert all(words in message for words in ("trace id", "span id", "no time", "timestamp"))
    assert receiver.fates() == {"kept": 2, "not_kept": 1, "rejected": 4}
    assert {row["endpoint"] for row in receiver.stored} == {"/v1/chat/completions", "/v1/models"}


async def test_full_queue_is_503_and_an_organizations_full_share_429_both_with_retry_after(tmp_path: Path) -> None:
    import asyncio

    receiver = Receiver(tmp_path, ingest_queue_rows=10)
    receiver.store.gate = asyncio.Event()
    waits = [
        asyncio.create_task(receiver.tell(request(*(span(n, CHAT) for n in range(start, start + 4)))))
        for start in (1, 5)
    ]
    await receiver.store.waiting.wait()
    for count, status, code in ((3, 503, 14), (1, 429, 8)):
        answer = await receiver.tell(request(*(span(20 + n, CHAT) for n in range(count))))
        assert (answer.status, answer.headers["retry-after"]) == (status, "1")
        assert status_of(answer, "protobuf")[0] == code
    receiver.store.gate.set()
    assert [(await wait).status for wait in waits] == [200, 200]
    await receiver.ingest.writer.stop()


async def test_postgres_away_is_200_that_says_so(receiver: Receiver) -> None:
    receiver.store.is_away = True
    answer = await receiver.tell(request(span(1, CHAT)))
    assert (answer.status, answer.headers["x-nexus-durability"]) == (200, "spooled")


_leaf = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
_names = st.sampled_from(["resourceSpans", "scopeSpans", "spans", "attributes", "key", "value", "traceId", "kind", "x"])
_tree = st.recursive(_leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=_tree, noise=st.binary(max_size=60), is_json=st.booleans())
async def test_no_body_makes_an_error_of_ours(receiver: Receiver, document: Any, noise: bytes, is_json: bool) -> None:
    body = json.dumps(document).encode() if is_json else noise
    answer = await receiver.post(body, TYPES["json" if is_json else "protobuf"])
    assert answer.status in {200, 400}
