"""What is asked about metrics, and what is answered. Figures are exact at the moment they are read."""

# Annotations are read when the API is built, so this module does not postpone them.
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Literal, NewType

import msgspec

from nexus.contracts.metric_records import Kind

Period = Literal["1m", "5m", "15m", "1h", "1d", "1w"]
PERIODS: Mapping[Period, timedelta] = MappingProxyType(
    {
        "1m": timedelta(minutes=1),
        "5m": timedelta(minutes=5),
        "15m": timedelta(minutes=15),
        "1h": timedelta(hours=1),
        "1d": timedelta(days=1),
        "1w": timedelta(weeks=1),
    }
)
"""Lengths of the six periods, each beginning at a whole multiple in UTC; weeks begin on Monday."""
Rollup = NewType("Rollup", str)
ROLLUPS: Mapping[Rollup, timedelta] = MappingProxyType(
    {
        Rollup("minutes"): timedelta(minutes=1),
        Rollup("quarter_hours"): timedelta(minutes=15),
        Rollup("hours"): timedelta(hours=1),
        Rollup("days"): timedelta(days=1),
    }
)
"""Tables of sums and the length of their rows' periods."""
SOURCES: Mapping[Period, Rollup] = MappingProxyType(
    {
        "1m": Rollup("minutes"),
        "5m": Rollup("minutes"),
        "15m": Rollup("quarter_hours"),
        "1h": Rollup("hours"),
        "1d": Rollup("days"),
        "1w": Rollup("days"),
    }
)
"""Which rows each period is added up from."""
_MONDAY = datetime(2001, 1, 1, tzinfo=UTC)
FRACTIONS: Mapping[str, float] = MappingProxyType({"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99})
AGGREGATIONS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {
        "counter": ("increase", "rate"),
        "gauge": ("avg", "min", "max", "last", "sum"),
        "histogram": ("count", "rate", "sum", "avg", "min", "max", *FRACTIONS),
        "summary": ("count", "rate", "sum", "avg", "quantiles"),
    }
)
"""What is answered of metrics of each kind."""
OWN_LABELS = ("service", "environment", "application", "instance")
LABEL_PREFIX = "label."


def begin(at: datetime, length: timedelta) -> datetime:
    """Return when the period of a length began that an instant is in."""
    return at - (at - _MONDAY) % length


class Metric(msgspec.Struct, frozen=True):
    """A metric."""

    name: str
    kind: Kind
    unit: str
    description: str
    series: int
    """How many series it has."""
    last_seen: datetime | None
    """Time of its newest point."""


class SeriesUsage(msgspec.Struct, frozen=True):
    """How many series an organization has begun, and what was refused because there were too many."""

    active: int
    """Series that count: with a point in the last `limits.metric_series_idle_hours`."""
    limit: int
    """How many may; 0 is no limit."""
    refused_points: int
    """Points that would have begun one more, ever."""
    last_refused_at: datetime | None
    last_refused_metric: str
    """Name of the metric of the newest of them; empty where there is none."""


class LabelValues(msgspec.Struct, frozen=True):
    """A label and the values it has."""

    name: str
    """As it is grouped and filtered by: `service`, `label.route`."""
    values: list[str]
    """Most frequent first, then by name."""
    count: int
    """How many there are; more than `values` holds where they are too many."""


@dataclass(frozen=True, kw_only=True)
class MetricQuestion:
    """Which metric is meant. Kind and unit decide where a name has several."""

    name: str
    kind: str | None = None
    unit: str | None = None


@dataclass(frozen=True, kw_only=True)
class SeriesQuestion:
    """A metric over time."""

    metric: MetricQuestion
    start: datetime
    """Begin of a period."""
    end: datetime
    """End of a period."""
    period: Period
    group_by: tuple[str, ...] = ()
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    aggregations: frozenset[str] = frozenset()
    """Empty: all that the kind has."""

    @property
    def length(self) -> timedelta:
        """Length of a point."""
        return PERIODS[self.period]


@dataclass(frozen=True, kw_only=True)
class MetricsQuestion:
    """Which metrics are listed."""

    words: str | None = None
    """Part of the name."""
    kind: str | None = None
    after: tuple[str, str, str] | None = None
    """Name, kind and unit of the last one seen."""
    limit: int = 50
