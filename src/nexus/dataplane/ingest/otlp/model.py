"""Telemetry as it is read from either form of OTLP: plain values, ids in lower-case hexadecimal, times in ns since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

Attributes = Mapping[str, Any]
"""Texts, numbers, truth values, lists of them, and mappings again."""

TRACE_ID_DIGITS = 32
SPAN_ID_DIGITS = 16


class SpanKind(IntEnum):
    """On which side of what a span stands."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


STATUS_ERROR = 2


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened within a span, such as an exception."""

    name: str
    time_ns: int
    attributes: Attributes


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """One span."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the first of a trace."""
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    status: int = 0
    status_message: str = ""
    events: tuple[Event, ...] = ()
    resource: Attributes = field(default_factory=dict)
    scope: str = ""
    """Name of the instrumentation that made it."""

    @property
    def fault(self) -> str | None:
        """What makes it no span at all, or None."""
        if not is_id(self.trace_id, TRACE_ID_DIGITS):
            return "the trace id has not 16 bytes, or is zero"
        if not is_id(self.span_id, SPAN_ID_DIGITS):
            return "the span id has not 8 bytes, or is zero"
        return None


@dataclass(frozen=True, slots=True, eq=False)
class LogRecord:
    """One log record. Trace and span are empty where it belongs to none."""

    time_ns: int
    """When it happened; 0 where that is not known."""
    observed_ns: int
    """When it was seen; 0 where that is not known."""
    severity: int
    """1 to 24, or 0 where it does not say."""
    severity_text: str
    body: Any
    attributes: Attributes
    trace_id: str = ""
    span_id: str = ""
    event_name: str = ""
    resource: Attributes = field(default_factory=dict)
    scope: str = ""


@dataclass(frozen=True, slots=True)
class NumberValue:
    """The value of a gauge's or sum's point."""

    value: float | None


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """Counts between explicit bounds; both are empty where only count and sum are told."""

    count: int
    sum: float | None
    min: float | None
    max: float | None
    bounds: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExponentialValue:
    """Counts of exponential buckets: of each sign the index of the first, and the counts from there on."""

    count: int
    sum: float | None
    min: float | None
    max: float | None
    scale: int
    zero_count: int
    zero_threshold: float
    positive: tuple[int, tuple[int, ...]]
    negative: tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class SummaryValue:
    """Quantiles that the program worked out."""

    count: int
    sum: float
    quantiles: tuple[tuple[float, float], ...]


NO_RECORDED_VALUE = 1
"""Flag of a point that only says that there is none any more."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What the points of one metric of one instrumentation have in common."""

    name: str
    unit: str
    description: str
    kind: str
    """`gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`; empty for what is none of them."""
    temporality: int
    """0 unspecified, 1 delta, 2 cumulative."""
    is_monotonic: bool
    scope: str
    resource: Attributes


@dataclass(frozen=True, slots=True, eq=False)
class DataPoint:
    """One point. Exemplars are not read."""

    stream: Stream
    time_ns: int
    start_ns: int
    """0 where it is not known."""
    attributes: Attributes
    flags: int
    value: NumberValue | HistogramValue | ExponentialValue | SummaryValue


def is_id(text: str, digits: int) -> bool:
    """Tell whether a text is an id: so many hexadecimal digits, not all of them zero."""
    if len(text) != digits or not text.isascii() or not text.isalnum():
        return False
    try:
        return int(text, 16) != 0
    except ValueError:
        return False


def text_in(attributes: Attributes, *names: str) -> str:
    """Return the first of the named attributes that is a text with something in it; else the empty text."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def number_in(attributes: Attributes, *names: str) -> float | None:
    """Return the first of the named attributes that is a finite number of 0 or more, or a text of one; else None."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 18:
            value = int(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
            return value
    return None
