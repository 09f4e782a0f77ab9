"""Who saw a call: the gateway that made it, a span that tells of it, or several. However many saw it, it is one call.

A call seen by several has several records, of which one is kept. They find each other by *nodes*, which are spans, by trace
and span, and answers, by the provider's id of them. The gateway, which knows most, goes before a span of an inference, and
that before the span of the HTTP request it made; `metering.settle_sightings_v1` decides, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import msgspec

from nexus.contracts.calls import ApiCall
from nexus.kit.ids import opaque_uuid

MIN_ANSWER_ID_CHARS = 20
"""Providers' ids of answers are long and random. A server with shorter ones may number its answers, or say the same always."""
MAX_REQUESTS = 16
"""HTTP requests of one inference that are remembered by their spans."""


class Seen(IntEnum):
    """Who saw a call."""

    HTTP_SPAN = 1
    INFERENCE_SPAN = 2
    GATEWAY = 3


class Sighting(msgspec.Struct, frozen=True):
    """What tells that records are about one call."""

    seen: int
    nodes: list[str]
    """Ids of what the call is known by."""
    parent: str | None = None
    """Id of the span around the span."""


def span_node(trace_id: str, span_id: str) -> str:
    """Return the id of a span's node."""
    return str(opaque_uuid(f"span {trace_id} {span_id}"))


def answer_node(response_id: str) -> str:
    """Return the id of an answer's node."""
    return str(opaque_uuid(f"answer {response_id}"))


def sighting_of(call: ApiCall) -> Sighting | None:
    """Return who saw a call, by what gateway and receiver note in its metadata; None where only its caller did."""
    metadata = call.metadata
    if not metadata or (not call.trace_id and "gateway" not in metadata):
        return None
    gateway, told = metadata.get("gateway"), metadata.get("otel")
    if isinstance(gateway, dict):
        nodes = [*_spans(call.trace_id, gateway.get("parent_span_id")), *_answers(gateway.get("response_id"))]
        return Sighting(Seen.GATEWAY, nodes) if nodes else None
    if not isinstance(told, dict) or not isinstance(told.get("span_id"), str):
        return None
    is_inference = "operation" in told
    requests = told.get("request_spans") or ()
    nodes = [*_spans(call.trace_id, told["span_id"], *requests), *_answers(told.get("response_id"))]
    parents = _spans(call.trace_id, told.get("parent_span_id"))
    seen = Seen.INFERENCE_SPAN if is_inference else Seen.HTTP_SPAN
    return Sighting(seen, nodes, parents[0] if parents else None)


def _spans(trace_id: str | None, *span_ids: Any) -> list[str]:
    return [span_node(trace_id, span_id) for span_id in span_ids if trace_id and isinstance(span_id, str) and span_id]


def _answers(*response_ids: Any) -> Iterable[str]:
    return [
        answer_node(response_id)
        for response_id in response_ids
        if isinstance(response_id, str) and len(response_id) >= MIN_ANSWER_ID_CHARS
    ]
