"""Writes figures and windows as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg

from nexus.kit.latency import RELATIVE_ERROR, decode, quantile

QUANTILES = (("window_latency_p50_ms", 0.5), ("window_latency_p95_ms", 0.95), ("window_latency_p99_ms", 0.99))
ERROR_BOUND = round(RELATIVE_ERROR + 0.00005, 4)
"""How far a percentile may be from the true one, as a fraction of it."""
_ADDED = (
    "windows", "read_ops", "write_ops", "error_count", "bytes_read", "bytes_written", "latency_ops", "latency_sum_us",
)  # fmt: skip
_HIGHEST = ("latency_p95_us", "latency_p99_us", "peak_iops", "peak_bytes_per_second", "connection_count")


@dataclass
class Tally:
    """The figures of one group at one point."""

    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_ADDED, 0))
    highest: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(_HIGHEST))
    bins: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of_row(cls, row: asyncpg.Record) -> Tally:
        """Read a summed row."""
        return cls(
            {name: int(row[name]) for name in _ADDED},
            {name: row[name] for name in _HIGHEST},
            decode(row["latency_bins"]) if row["latency_bins"] else {},
        )

    @property
    def operations(self) -> int:
        """Reads and writes."""
        return self.sums["read_ops"] + self.sums["write_ops"]

    @property
    def bytes(self) -> int:
        """Read and written."""
        return self.sums["bytes_read"] + self.sums["bytes_written"]

    def include(self, other: Tally) -> None:
        """Add the figures of another group."""
        for name in _ADDED:
            self.sums[name] += other.sums[name]
        for name in _HIGHEST:
            values = [value for value in (self.highest[name], other.highest[name]) if value is not None]
            self.highest[name] = max(values, default=None)
        for number, count in other.bins.items():
            self.bins[number] = self.bins.get(number, 0) + count

    def metrics(self, seconds: float) -> dict[str, Any]:
        """Return the figures, in the answer's order; rates are means over `seconds`."""
        sums, highest = self.sums, self.highest
        timed = sums["latency_ops"]
        return {
            "windows": sums["windows"],
            "operations": self.operations,
            **{name: sums[name] for name in ("read_ops", "write_ops", "error_count", "bytes_read", "bytes_written")},
            "iops": _per_second(self.operations, seconds),
            "read_iops": _per_second(sums["read_ops"], seconds),
            "write_iops": _per_second(sums["write_ops"], seconds),
            "bytes_per_second": _per_second(self.bytes, seconds),
            "read_bytes_per_second": _per_second(sums["bytes_read"], seconds),
            "write_bytes_per_second": _per_second(sums["bytes_written"], seconds),
            "peak_iops": _rounded(highest["peak_iops"]),
            "peak_bytes_per_second": _rounded(highest["peak_bytes_per_second"]),
            "latency_avg_ms": _ms(sums["latency_sum_us"] / timed) if timed else None,
            **{name: _ms(quantile(self.bins, q)) for name, q in QUANTILES},
            "highest_p95_latency_ms": _ms(highest["latency_p95_us"]),
            "highest_p99_latency_ms": _ms(highest["latency_p99_us"]),
            "highest_connection_count": highest["connection_count"],
        }


def _per_second(count: int, seconds: float) -> float | None:
    return round(count / seconds, 3) if seconds > 0 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _ms(us: float | None) -> float | None:
    return None if us is None else round(us / 1000, 3)


def timestamp(at: datetime) -> str:
    """Write an instant as RFC 3339 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


_SHOWN = {
    "occurred_at": "timestamp", "key_id": "key", "latency_us": "avg_latency_ms", "latency_p95_us": "p95_latency_ms",
    "latency_p99_us": "p99_latency_ms", "bytes_per_second": "avg_throughput_bytes_per_second",
    "peak_bytes_per_second": "peak_throughput_bytes_per_second", "window_us": "window_seconds",
}  # fmt: skip


def window_shown(row: asyncpg.Record, names: Iterable[str]) -> dict[str, Any]:
    """Return a stored window as the API shows it: the fields of the record as it was sent."""
    shown: dict[str, Any] = {}
    for name in names:
        value = row[name]
        if isinstance(value, datetime):
            value = timestamp(value)
        elif name == "window_us":
            value = None if value is None else value / 1e6
        elif name.endswith("_us"):
            value = _ms(value)
        elif value == "" and name != "id":
            value = None
        shown[_SHOWN.get(name, name)] = value
    return shown
