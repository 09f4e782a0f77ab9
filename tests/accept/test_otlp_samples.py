"""Recorded OpenTelemetry payloads are accepted and mean the right thing.

Reads, in the folder that NEXUS_ACCEPT_DATA names and below it, the protocol's own examples of traces and metrics, spans recorded
of Vercel's AI SDK (name, attributes, times by operation), and traces of ten frameworks (observations with usage, and the
attributes they were made from).
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import backports.zstd as zstd
import pytest

from tests.dataplane.ingest.otlp.conftest import Receiver, receiver
from tests.dataplane.ingest.otlp.payloads import as_protobuf, request, span

__all__ = ["receiver"]
FOLDER = os.environ.get("NEXUS_ACCEPT_DATA", "")
pytestmark = pytest.mark.skipif(
    not FOLDER, reason="NEXUS_ACCEPT_DATA names no folder: set it to one with recorded data"
)
FORMS = pytest.mark.parametrize("form", ["protobuf", "json"])


def found(pattern: str) -> Path:
    path = next(iter(sorted(Path(FOLDER).rglob(pattern))), None)
    if path is None:
        pytest.skip(f"no {pattern} in the folder")
    return path


async def test_protocols_own_example_is_accepted_in_both_forms(receiver: Receiver) -> None:
    content = found("otlp_example_trace.json").read_bytes()
    assert (await receiver.post(content, "application/json")).body == b"{}"
    assert (await receiver.post(as_protobuf(json.loads(content)))).body == b""
    # It is a server's span, and no call of anything.
    assert receiver.fates() == {"not_kept": 2}


async def test_protocols_own_example_of_metrics_is_the_same_points_in_both_forms(receiver: Receiver) -> None:
    content = found("otlp_example_metrics.json").read_bytes()
    first = await receiver.post(content, "application/json", path="/otlp/v1/metrics")
    again = await receiver.post(as_protobuf(json.loads(content), "metrics"), path="/otlp/v1/metrics")

    assert (first.status, first.body, again.status, again.body) == (200, b"{}", 200, b"")
    rows = {row["name"]: row for row in receiver.decoded("metric")}
    assert len(receiver.decoded("metric")) == 4
    assert {name: (row["kind"], row["value"], row["count"], row["service"]) for name, row in rows.items()} == {
        "my.counter": ("counter", 5.0, 0, "my.service"),
        "my.gauge": ("gauge", 10.0, 0, "my.service"),
        "my.histogram": ("histogram", 2.0, 2, "my.service"),
        "my.exponential.histogram": ("histogram", 10.0, 3, "my.service"),
    }


@FORMS
async def test_recorded_spans_of_vercels_sdk_are_one_call_for_each_request(receiver: Receiver, form: str) -> None:
    operations = json.loads(gzip.decompress(found("vercel_ai_sdk*spans_by_operation.json.gz").read_bytes()))
    recorded = [(name, item) for name, items in operations.items() for item in items]
    spans = [
        span(
            number,
            item["attributes"],
            kind=1,
            name=item["name"],
            traceId=item["spanContext"]["traceId"],
            startTimeUnixNano=str(item["startTime"][0] * 10**9 + item["startTime"][1]),
            endTimeUnixNano=str(item["endTime"][0] * 10**9 + item["endTime"][1]),
        )
        for number, (_, item) in enumerate(recorded, 1)
    ]
    answer = await receiver.tell(request(*spans), form)

    requests = [item["attributes"] for name, item in recorded if ".do" in name]
    assert answer.status == 200 and receiver.fates() == {"kept": len(requests), "not_kept": len(spans) - len(requests)}
    told = [(said.get("gen_ai.usage.input_tokens", said.get("ai.usage.tokens", 0))) for said in requests]
    assert sorted(row["input_tokens"] for row in receiver.stored) == sorted(told)
    assert {row["provider"] for row in receiver.stored} == {"openai"}
    assert all(row["response_time_us"] and row["model"] for row in receiver.stored)


def generations() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Attributes of spans in which a model was called, and the usage another product read from them."""
    archive = zstd.decompress(found("langfuse_framework_traces.tar.zst").read_bytes())
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        for member in tar.getmembers():
            file = tar.extractfile(member) if member.isfile() else None
            for item in json.load(file)["observations"] if file else ():
                metadata = item.get("metadata") or {}
                if isinstance(metadata, str):
                    metadata = json.loads(metadata)
                said = metadata.get("attributes") if isinstance(metadata, dict) else None
                if said and item["type"] == "GENERATION" and any("token" in name.lower() for name in said):
                    yield said, item["usageDetails"]


@FORMS
async def test_usage_of_ten_frameworks_is_read_as_another_product_read_it(receiver: Receiver, form: str) -> None:
    known = [(said, usage) for said, usage in generations() if said.get("ai.operationId") != "ai.generateText"]
    assert known
    plain = [{name: value for name, value in said.items() if not isinstance(value, dict)} for said, _ in known]
    await receiver.tell(request(*(span(number, said, kind=1) for number, said in enumerate(plain, 1))), form)

    assert receiver.fates() == {"kept": len(known)}
    expected = sorted((usage.get("input", 0), usage.get("output", 0)) for _, usage in known)
    assert sorted((row["input_tokens"], row["output_tokens"]) for row in receiver.stored) == expected
