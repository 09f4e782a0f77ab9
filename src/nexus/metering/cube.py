"""What is summed of one kind of record, and where its figures are kept: raw rows, journal and rollups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from nexus.metering.types import COLUMNS, DIMENSION_SETS, PERCENTILE_METRICS, SUMS

IS_ERROR = "(status_code >= 400 OR status_code = 0)"
IS_MADE = "refused_by IS NULL"
"""Calls that a limit of ours refused are kept as rows, at a bounded rate: no figure is made of them."""


@dataclass(frozen=True)
class Measure:
    """A number that is kept of many records: how it is taken from raw rows and from the journal, how two are merged."""

    raw: str
    journal: str
    merge: Literal["sum", "min", "max"] = "sum"


def added(column: str) -> Measure:
    """Return the measure that adds a column up."""
    return Measure(f"coalesce(sum({column}), 0)", f"sum({column})")


@dataclass(frozen=True, kw_only=True)
class Cube:
    """One kind of record, its dimensions and measures. Names are written into statements: they come from here alone."""

    raw: str
    """Table of the raw rows, with `occurred_at`."""
    journal: str
    """Table of the sums that are not in the rollups yet, with `minute` and `bin`."""
    rollups: str
    """What the names of the rollups begin with; the level follows."""
    columns: Mapping[str, str]
    """Column of each dimension in journal and rollups, and in the raw rows but for `raw_columns`."""
    raw_columns: Mapping[str, str] = field(default_factory=dict)
    sets: Mapping[int, frozenset[str]]
    """Dimensions that the rollups of each set keep apart, the smaller sets first."""
    apart: tuple[str, ...] = ()
    """Columns that every set keeps apart and every answer too."""
    raw_only: str = ""
    """Condition on raw rows: those that are summed."""
    only: str = ""
    """Condition on journal and rollups, where they hold several kinds."""
    measures: Mapping[str, Measure]
    counted: str
    """The measure that counts records."""
    duration: str
    """Column of the raw rows that the sketches are of, in µs."""
    percentiles: frozenset[str]
    """Metrics that need the sketches."""
    distinct: Mapping[str, tuple[str, ...]]
    """Dimensions that make what is counted as distinct; it is the last of them, and one that is empty is not counted."""

    def column(self, source: str, dimension: str) -> str:
        """Return the column of a dimension."""
        if source == "raw" and dimension in self.raw_columns:
            return self.raw_columns[dimension]
        return self.columns[dimension]


_SPECIAL = {
    "requests": Measure("count(*)", "sum(requests)"),
    "errors": Measure(f"count(*) FILTER (WHERE {IS_ERROR})", f"coalesce(sum(requests) FILTER (WHERE {IS_ERROR}), 0)"),
    "unpriced": Measure("count(*) FILTER (WHERE cost IS NULL)", "sum(unpriced)"),
    "latency_count": Measure("count(response_time_us)", "coalesce(sum(requests) FILTER (WHERE bin IS NOT NULL), 0)"),
    "latency_sum_us": Measure("coalesce(sum(response_time_us), 0)", "sum(latency_sum_us)"),
}

CALLS = Cube(
    raw="metering.calls",
    journal="metering.rollup_journal",
    rollups="metering.rollups_",
    columns=COLUMNS,
    sets=DIMENSION_SETS,
    apart=("currency",),
    raw_only=IS_MADE,
    measures=MappingProxyType({name: _SPECIAL.get(name) or added(name) for name in SUMS}),
    counted="requests",
    duration="response_time_us",
    percentiles=PERCENTILE_METRICS,
    distinct=MappingProxyType({"user": ("user",), "endpoint": ("provider", "method", "endpoint")}),
)
"""API calls."""
