"""What is asked about storage, and by which dimensions the figures are kept apart."""

# Annotations are read when the API is built, so this module does not postpone them.
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from nexus.metering.cube import Cube, Measure, added
from nexus.metering.types import Filter

DIMENSIONS = ("application", "cluster", "operation")
_SETS: Mapping[int, frozenset[str]] = MappingProxyType({0: frozenset({"application"}), 1: frozenset(DIMENSIONS)})
"""Dimensions that the rollups of each set keep apart, the smaller set first."""

LATENCY_METRICS = frozenset({"window_latency_p50_ms", "window_latency_p95_ms", "window_latency_p99_ms"})
_OPERATIONS = "read_ops + write_ops"

WINDOWS = Cube(
    raw="storage.windows",
    journal="storage.rollup_journal",
    rollups="storage.rollups_",
    columns=MappingProxyType({name: name for name in DIMENSIONS}),
    sets=_SETS,
    measures=MappingProxyType(
        {
            "windows": Measure("count(*)", "sum(windows)"),
            **{name: added(name) for name in ("read_ops", "write_ops", "error_count", "bytes_read", "bytes_written")},
            "latency_ops": Measure(
                f"coalesce(sum({_OPERATIONS}) FILTER (WHERE latency_us IS NOT NULL), 0)", "sum(latency_ops)"
            ),
            "latency_sum_us": Measure(
                f"coalesce(sum(latency_us::numeric * ({_OPERATIONS})), 0)", "sum(latency_sum_us)"
            ),
            "latency_p95_us": Measure("max(latency_p95_us)", "max(latency_p95_us)", "max"),
            "latency_p99_us": Measure("max(latency_p99_us)", "max(latency_p99_us)", "max"),
            "peak_iops": Measure(f"max(({_OPERATIONS}) * 1000000.0::float8 / window_us)", "max(peak_iops)", "max"),
            "peak_bytes_per_second": Measure(
                "max(greatest(bytes_per_second, peak_bytes_per_second))", "max(peak_bytes_per_second)", "max"
            ),
            "connection_count": Measure("max(connection_count)", "max(connection_count)", "max"),
        }
    ),
    counted="windows",
    duration="latency_us",
    percentiles=LATENCY_METRICS,
    distinct=MappingProxyType({"applications": ("application",)}),
)
"""Windows of storage operations. The sketches are of the windows' mean latencies."""

FOLDED: Mapping[str, Any] = MappingProxyType(
    {
        "journal": WINDOWS.journal,
        "rollups": WINDOWS.rollups,
        "horizons": "storage.rollup_horizons",
        "dimensions": [[name, "text"] for name in DIMENSIONS],
        "measures": {name: measure.merge for name, measure in WINDOWS.measures.items()},
        "counted": WINDOWS.counted,
        "sets": {str(number): sorted(kept) for number, kept in _SETS.items()},
    }
)
"""What `metering.fold_rollups_v1` is told."""


@dataclass(frozen=True, kw_only=True)
class WindowsQuestion:
    """Which windows are asked for, newest first."""

    start: datetime
    end: datetime
    filters: tuple[Filter, ...] = ()
    after: tuple[datetime, UUID] | None = None
    """Time and id of the last one seen; what comes after it comes next."""
    limit: int = 50
