"""What is asked about MCP servers, and by which dimensions the figures are kept apart."""

# Annotations are read when the API is built, so this module does not postpone them.
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from nexus.metering.cube import Cube, Measure
from nexus.metering.types import Filter

_SETS: Mapping[int, frozenset[str]] = MappingProxyType(
    {
        0: frozenset({"outcome"}),
        6: frozenset({"client", "client_version", "outcome"}),
        7: frozenset({"server", "outcome"}),
        5: frozenset({"principal", "outcome"}),
        1: frozenset({"server", "name", "outcome", "status_code"}),
        4: frozenset({"server", "principal", "client", "client_version", "outcome"}),
        2: frozenset({"server", "name", "principal", "outcome"}),
        3: frozenset({"server", "name", "client", "client_version", "outcome"}),
    }
)
"""Dimensions that the rollups of each set keep apart, those with fewer rows first. The subject is kept apart in all."""

_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "server": "server",
        "name": "name",
        "outcome": "outcome",
        "status_code": "status_code",
        "principal": "principal",
        "client": "client_name",
        "client_version": "client_version",
    }
)

PERCENTILE_METRICS = frozenset({"duration_p50_ms", "duration_p95_ms", "duration_p99_ms"})

TOOLS = Cube(
    raw="mcp.tool_calls",
    journal="mcp.rollup_journal",
    rollups="mcp.rollups_",
    columns=_COLUMNS,
    raw_columns=MappingProxyType({"name": "tool", "status_code": "NULL::smallint"}),
    sets=_SETS,
    only="subject = 'tool'",
    measures=MappingProxyType(
        {
            "calls": Measure("count(*)", "sum(calls)::bigint"),
            "duration_count": Measure("count(duration_us)", "sum(duration_count)::bigint"),
            "duration_sum_us": Measure("coalesce(sum(duration_us), 0)", "sum(duration_sum_us)"),
            "duration_min_us": Measure("min(duration_us)", "min(duration_min_us)", "min"),
            "duration_max_us": Measure("max(duration_us)", "max(duration_max_us)", "max"),
            "response_bytes": Measure("sum(response_bytes)", "sum(response_bytes)"),
        }
    ),
    counted="calls",
    duration="duration_us",
    percentiles=PERCENTILE_METRICS,
    distinct=MappingProxyType({"principals": ("principal",), "clients": ("client_version", "client")}),
)
"""Calls of tools; `name` is the tool."""

REQUESTS = replace(
    TOOLS, raw="mcp.requests", raw_columns=MappingProxyType({"name": "method"}), only="subject = 'request'"
)
"""Requests to servers; `name` is the method."""

FOLDED: Mapping[str, Any] = MappingProxyType(
    {
        "journal": TOOLS.journal,
        "rollups": TOOLS.rollups,
        "horizons": "mcp.rollup_horizons",
        "dimensions": [
            ["subject", "text"],
            *([column, "smallint" if column == "status_code" else "text"] for column in _COLUMNS.values()),
        ],
        "measures": {name: measure.merge for name, measure in TOOLS.measures.items()},
        "counted": TOOLS.counted,
        "sets": {str(number): ["subject", *sorted(_COLUMNS[name] for name in kept)] for number, kept in _SETS.items()},
    }
)
"""What `metering.fold_rollups_v1` is told: both kinds are folded together."""

OUTCOMES = ("ok", "tool_error", "protocol_error")
SORTS = ("calls", "failures", "failure_rate", "duration_p95_ms", "duration_avg_ms", "response_bytes", "name")
_FAILED = "coalesce(sum(calls) FILTER (WHERE {outcome} <> 'ok'), 0)"
RANKED: Mapping[str, str] = MappingProxyType(
    {
        "calls": "sum(calls)",
        "failures": _FAILED,
        "failure_rate": f"{_FAILED}::float8 / sum(calls)::float8",
        "duration_avg_ms": "sum(duration_sum_us)::float8 / nullif(sum(duration_count), 0)::float8",
        "response_bytes": "sum(response_bytes)",
        "name": "1",
    }
)
"""What groups are ranked by where the database does it; `outcome` is the column of outcomes."""
SKETCHES = "string_agg(latency_bins, ''::bytea)"
"""What a percentile is worked out of."""


@dataclass(frozen=True, kw_only=True)
class RowsQuestion:
    """Which tool calls or requests are asked for, newest first."""

    start: datetime
    end: datetime
    filters: tuple[Filter, ...] = ()
    only_failed: bool = False
    parameters: Mapping[str, Any] | None = None
    """Only calls whose parameters hold these."""
    slowest_first: bool = False
    """The slowest first instead of the newest; without pages."""
    after: tuple[datetime, UUID] | None = None
    """Time and id of the last one seen; what comes after it comes next."""
    limit: int = 50
