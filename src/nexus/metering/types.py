"""What is asked of the meter, and by which dimensions its sums are kept apart."""

# Annotations are read when the API is built, so this module does not postpone them.
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

Source = Literal["day", "hour", "quarter_hour", "minute", "raw"]
LEVELS: tuple[Source, ...] = ("day", "hour", "quarter_hour", "minute")
LEVEL_SECONDS: Mapping[str, int] = MappingProxyType({"hour": 3600, "quarter_hour": 900, "minute": 60})

Interval = Literal["1m", "5m", "15m", "1h", "1d", "1w", "1mo"]
INTERVALS: Mapping[str, timedelta | str] = MappingProxyType(
    {
        "1m": timedelta(minutes=1),
        "5m": timedelta(minutes=5),
        "15m": timedelta(minutes=15),
        "1h": timedelta(hours=1),
        "1d": "day",
        "1w": "week",
        "1mo": "month",
    }
)
"""Length of an interval, or the calendar unit it is."""

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "provider": "provider",
        "model": "model",
        "endpoint": "endpoint",
        "method": "method",
        "region": "region",
        "status_code": "status_code",
        "key": "key_id",
        "application": "application",
        "user": "user_ref",
        "currency": "currency",
    }
)
"""Column of each dimension; tags (`tag:<name>`) have none of their own."""

DIMENSION_SETS: Mapping[int, frozenset[str]] = MappingProxyType(
    {
        0: frozenset(),
        1: frozenset({"provider", "model"}),
        3: frozenset({"provider", "model", "key", "application"}),
        2: frozenset({"provider", "model", "endpoint", "method", "region", "status_code"}),
        5: frozenset({"provider", "model", "tag"}),
        6: frozenset({"provider", "user"}),
        4: frozenset({"provider", "model", "user"}),
    }
)
"""Dimensions that the rollups of each set keep apart, the smaller sets first. The currency is kept apart in all."""

SUMS = (
    "requests", "errors", "unpriced", "cost", "latency_count", "latency_sum_us", "request_bytes", "response_bytes",
    "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens",
    "audio_input_tokens", "audio_output_tokens", "image_input_tokens", "image_output_tokens",
)  # fmt: skip
"""What is added up, as the rollups name it."""

METRICS = (
    "requests", "errors", "error_rate", "cost", "cost_other", "unpriced",
    "tokens_input", "tokens_output", "tokens_cached_input", "tokens_cache_write", "tokens_reasoning",
    "tokens_audio_input", "tokens_audio_output", "tokens_image_input", "tokens_image_output",
    "bytes_request", "bytes_response",
    "latency_avg_ms", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms",
    "distinct_endpoints", "distinct_users",
)  # fmt: skip
"""Metrics of an answer, in its order."""

PERCENTILE_METRICS = frozenset({"latency_p50_ms", "latency_p95_ms", "latency_p99_ms"})
DISTINCT_METRICS = frozenset({"distinct_endpoints", "distinct_users"})
TAG_PREFIX = "tag:"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


@dataclass(frozen=True)
class Filter:
    """One dimension and the values it may have."""

    dimension: str
    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked for: metrics of the calls that occurred in a half-open range."""

    start: datetime
    end: datetime
    group_by: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    exact: bool = False
    """Percentiles from the raw rows instead of the sketches; for ranges of up to a day."""
    metrics: frozenset[str] = frozenset(METRICS)
    interval: str | None = None
    """Set for a series; None for a summary."""
    tz: str = "UTC"

    @property
    def dimensions(self) -> frozenset[str]:
        """Every dimension that is grouped or filtered by, the currency left out."""
        named = frozenset(self.group_by) | {item.dimension for item in self.filters}
        return named - {"currency"}


SORTS: Mapping[str, str | None] = MappingProxyType(
    {
        "timestamp": None,
        "response_time_ms": "response_time_us::numeric",
        "cost": "cost",
        "tokens": "(input_tokens + output_tokens)::numeric",
    }
)
"""What calls are sorted by, as the fields are called, and the number in SQL that stands before their time."""


@dataclass(frozen=True, kw_only=True)
class CallsQuestion:
    """Which raw calls are asked for, and in which order: the newest first unless `sort` says otherwise."""

    start: datetime
    end: datetime
    filters: tuple[Filter, ...] = ()
    only_errors: bool = False
    """Only those that failed, as figures count them: not those that a limit refused."""
    refused: bool | None = None
    """Only those that a limit refused, or only the others; None: both."""
    only_unpriced: bool = False
    request_id: str | None = None
    """Only the calls of one request: the attempts it took."""
    after: tuple[datetime, UUID] | None = None
    """Time and id of the last call seen; what comes after it comes next."""
    after_value: Decimal | None = None
    """What the last call seen is sorted by; None where it has no such value, or the time alone sorts."""
    sort: str = "timestamp"
    """One of `SORTS`. Calls without the value come last, equal ones newest first."""
    is_ascending: bool = False
    limit: int = 50


@dataclass(frozen=True)
class Piece:
    """A part of a range and where its figures come from."""

    source: Source
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class RangeFacts:
    """What the database knows about a range before it is planned."""

    currency: str
    day_zone: str
    """Zone whose days the day level holds."""
    as_of: datetime
    whole_from: Mapping[str, datetime]
    """From when on a level is whole, where retention has taken something."""
    first_day: datetime
    """The first beginning of a day of `day_zone` in the range, or after it."""
    last_day: datetime
    """The last beginning of a day of `day_zone` that is not after the range's end."""
    calendar: tuple[datetime, ...] = ()
    """Beginnings of the asked calendar unit around the range."""


class RepricingNew(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename={"start": "from", "end": "to"}):
    """Which calls to price again."""

    start: Annotated[datetime, msgspec.Meta(tz=True)]
    end: Annotated[datetime, msgspec.Meta(tz=True)]
    provider: Name | None = None
    model: Name | None = None
    dry_run: bool = False
    only_unpriced: bool = False
    include_given: bool = False


class RepricingTotal(msgspec.Struct, frozen=True):
    """What a repricing does to the calls of one provider, model and currency."""

    provider: str
    model: str | None
    currency: str
    calls: int
    changed: int
    cost_before: str
    cost_after: str
    unpriced_before: int
    unpriced_after: int


class Repricing(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """An order to price calls again, how far it is and what it changed, or would change when dry."""

    id: UUID
    state: Literal["waiting", "running", "done", "failed"]
    cause: Literal["asked", "prices_changed"]
    start: datetime
    end: datetime
    provider: str | None
    model: str | None
    dry_run: bool
    only_unpriced: bool
    include_given: bool
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    examined: int
    changed: int
    totals: list[RepricingTotal]
    error: str | None = None
