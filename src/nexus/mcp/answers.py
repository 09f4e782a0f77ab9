"""Writes figures and rows as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg

from nexus.kit.latency import BOUNDS, RELATIVE_ERROR, decode, quantile
from nexus.mcp.types import OUTCOMES

QUANTILES = (("duration_p50_ms", 0.5), ("duration_p95_ms", 0.95), ("duration_p99_ms", 0.99))
ERROR_BOUND = round(RELATIVE_ERROR + 0.00005, 4)
"""How far a percentile may be from the true one, as a fraction of it."""


@dataclass
class Tally:
    """The figures of one group at one point."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    timed: int = 0
    sum_us: int = 0
    min_us: int | None = None
    max_us: int | None = None
    response_bytes: int = 0
    encoded_bins: list[bytes] = field(default_factory=list)
    distinct: dict[str, int | None] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """All that were made."""
        return sum(self.outcomes.values())

    @property
    def failures(self) -> int:
        """Those that failed, of either kind."""
        return self.calls - self.outcomes["ok"]

    @property
    def failure_rate(self) -> float:
        """The part that failed, 0 to 1."""
        return self.failures / self.calls if self.calls else 0.0

    @property
    def average_us(self) -> float | None:
        """The mean duration."""
        return self.sum_us / self.timed if self.timed else None

    def add(self, row: asyncpg.Record, outcome: str) -> None:
        """Add one summed row, of one outcome."""
        self.outcomes[outcome] += int(row["calls"])
        self.timed += int(row["duration_count"])
        self.sum_us += int(row["duration_sum_us"])
        for name, choose in (("min", min), ("max", max)):
            value = row[f"duration_{name}_us"]
            mine = getattr(self, f"{name}_us")
            if value is not None:
                setattr(self, f"{name}_us", value if mine is None else choose(mine, value))
        self.response_bytes += int(row["response_bytes"])
        if row["latency_bins"]:
            self.encoded_bins.append(row["latency_bins"])

    def include(self, other: Tally) -> None:
        """Add the figures of another group; distinct counts do not add up and are left alone."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] += count
        self.timed += other.timed
        self.sum_us += other.sum_us
        for value in (other.min_us, other.max_us):
            if value is not None:
                self.min_us = value if self.min_us is None else min(self.min_us, value)
                self.max_us = value if self.max_us is None else max(self.max_us, value)
        self.response_bytes += other.response_bytes
        self.encoded_bins += other.encoded_bins

    def percentile_us(self, q: float) -> float | None:
        """Return a percentile within the sketch's bound."""
        return quantile(self._bins(), q)

    def _bins(self) -> dict[int, int]:
        bins: dict[int, int] = {}
        for encoded in self.encoded_bins:
            for number, count in decode(encoded).items():
                bins[number] = bins.get(number, 0) + count
        return bins

    def metrics(self) -> dict[str, Any]:
        """Return the figures, in the answer's order."""
        bins = self._bins()
        calls = self.calls
        return {
            "calls": calls,
            "ok": self.outcomes["ok"],
            "tool_errors": self.outcomes["tool_error"],
            "protocol_errors": self.outcomes["protocol_error"],
            "failure_rate": self.failure_rate,
            "duration_avg_ms": _ms(self.average_us),
            **{name: _ms(quantile(bins, q)) for name, q in QUANTILES},
            "duration_min_ms": _ms(self.min_us),
            "duration_max_ms": _ms(self.max_us),
            "response_bytes": self.response_bytes,
            "response_avg_bytes": round(self.response_bytes / calls, 1) if calls else None,
            **{f"distinct_{name}": count for name, count in self.distinct.items()},
        }

    def histogram(self) -> list[dict[str, Any]]:
        """Return the distribution of the durations: bins from the fastest, with their bounds in ms."""
        return [
            {"from_ms": _ms(low), "to_ms": _ms(high), "calls": count}
            for number, count in sorted(self._bins().items())
            for low, high in (bounds_of(number),)
        ]


def bounds_of(number: int) -> tuple[int, int]:
    """Return the bounds of a bin of the sketch, in µs: it holds what is from the first to below the second."""
    low = BOUNDS[number]
    return low, BOUNDS[number + 1] if number + 1 < len(BOUNDS) else low


def _ms(us: float | None) -> float | None:
    return None if us is None else round(us / 1000, 3)


def timestamp(at: datetime) -> str:
    """Write an instant as RFC 3339 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


_RENAMED: Mapping[str, str] = {
    "occurred_at": "timestamp",
    "key_id": "key",
    "user_ref": "user",
    "duration_us": "duration_ms",
    "queue_us": "queue_ms",
    "processing_us": "processing_ms",
    "response_bytes": "response_size_bytes",
    "request_bytes": "request_size_bytes",
}


def row_shown(row: asyncpg.Record, names: Iterable[str]) -> dict[str, Any]:
    """Return a stored row as the API shows it: the fields of the record as it was sent, and what was made of it."""
    shown: dict[str, Any] = {}
    for name in names:
        value = row[name]
        if isinstance(value, datetime):
            value = timestamp(value)
        elif name.endswith("_us"):
            value = _ms(value)
        elif name == "ip_address" and value is not None:
            value = str(value).removesuffix("/32")
        elif value == "" and name != "id":
            value = None
        shown[_RENAMED.get(name, name)] = value
    return shown
