"""Which spans of a batch tell of one call: an inference, the HTTP request it makes, and what wraps it, are one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from nexus.dataplane.ingest.otlp.model import Span, SpanKind

_MAX_DEPTH = 64
# A request made on behalf of another service or of a tool is a call of its own, whatever model asked for it.
_WITHIN = frozenset({SpanKind.UNSPECIFIED, SpanKind.INTERNAL})


class Role(Enum):
    """What a span is to us."""

    INFERENCE = "inference"
    HTTP = "http"
    TOOL = "tool"
    MCP = "mcp"
    OTHER = "other"


def told_by_others(spans: Sequence[Span], roles: Mapping[int, Role]) -> dict[int, int]:
    """Return the indices of spans whose call is told by another span of the batch, and by which.

    An HTTP request within an inference, or within another HTTP request, is the outer one's. Of inferences within each
    other the inner one counts: the outer ones are of a framework that counts up what it called, perhaps several times. What an
    MCP client sends is the tool call's; what an MCP server asks of others while it serves is not.
    """
    places = {(span.trace_id, span.span_id): index for index, span in enumerate(spans)}
    told: dict[int, int] = {}
    for index, role in roles.items():
        if role not in {Role.INFERENCE, Role.HTTP}:
            continue
        outer = _nearest(spans, roles, places, index)
        if outer is None:
            continue
        if role is Role.HTTP:
            told[index] = outer
        elif roles[outer] is Role.INFERENCE:
            told[outer] = index
    return told


def _nearest(
    spans: Sequence[Span], roles: Mapping[int, Role], places: Mapping[tuple[str, str], int], index: int
) -> int | None:
    """Return the nearest call around a span, passing through what is neither a call nor another service's."""
    span = spans[index]
    for _ in range(_MAX_DEPTH):
        outer = places.get((span.trace_id, span.parent_id)) if span.parent_id else None
        if outer is None:
            return None
        role = roles.get(outer, Role.OTHER)
        if role in {Role.INFERENCE, Role.HTTP} or (role is Role.MCP and spans[outer].kind == SpanKind.CLIENT):
            return outer
        span = spans[outer]
        if role is Role.TOOL or span.kind not in _WITHIN:
            return None
    return None
