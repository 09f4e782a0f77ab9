"""Turns summed rows into the answers people read: groups with metrics, a total, the points of a series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg

from nexus.contracts.calls import TOKEN_COLUMNS
from nexus.kit.latency import RELATIVE_ERROR, decode, quantile
from nexus.kit.money import format_nanos, nanos_of
from nexus.metering.types import SUMS, Question

QUANTILES = (("latency_p50_ms", 0.5), ("latency_p95_ms", 0.95), ("latency_p99_ms", 0.99))
_COUNTS = {
    "requests": "requests",
    "errors": "errors",
    "unpriced": "unpriced",
    "tokens_input": "input_tokens",
    "tokens_output": "output_tokens",
    "tokens_cached_input": "cached_input_tokens",
    "tokens_cache_write": "cache_write_tokens",
    "tokens_reasoning": "reasoning_tokens",
    "tokens_audio_input": "audio_input_tokens",
    "tokens_audio_output": "audio_output_tokens",
    "tokens_image_input": "image_input_tokens",
    "tokens_image_output": "image_output_tokens",
    "bytes_request": "request_bytes",
    "bytes_response": "response_bytes",
}
Key = tuple[tuple[Any, ...], int]
"""The values of the group's dimensions, and the number of the point."""


@dataclass
class Tally:
    """The sums of one group at one point, all currencies together but for the cost."""

    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SUMS, 0))
    costs: dict[str, int] = field(default_factory=dict)
    """Nano-units by currency."""
    bins: dict[int, int] = field(default_factory=dict)
    percentiles_us: Sequence[float] | None = None
    """Exact percentiles, where they were taken from the raw rows."""
    distinct: dict[str, int | None] = field(default_factory=dict)

    def add(self, row: asyncpg.Record) -> None:
        """Add one summed row."""
        for name in SUMS:
            if name != "cost":
                self.sums[name] += int(row[name])
        nanos = nanos_of(Decimal(row["cost"]))
        if nanos or row["unpriced"] != row["requests"]:
            self.costs[row["currency"]] = self.costs.get(row["currency"], 0) + nanos
        bins = self.bins
        for number, count in decode(row["latency_bins"]).items():
            bins[number] = bins.get(number, 0) + count

    def include(self, other: Tally) -> None:
        """Add the sums of another group; distinct counts and exact percentiles do not add up and are left alone."""
        for name, value in other.sums.items():
            self.sums[name] += value
        for currency, nanos in other.costs.items():
            self.costs[currency] = self.costs.get(currency, 0) + nanos
        for number, count in other.bins.items():
            self.bins[number] = self.bins.get(number, 0) + count

    def metrics(self, wanted: frozenset[str], currency: str) -> dict[str, Any]:
        """Return the metrics of this group, in the answer's order."""
        sums = self.sums
        found: dict[str, Any] = {name: sums[column] for name, column in _COUNTS.items() if name in wanted}
        requests, timed = sums["requests"], sums["latency_count"]
        if "error_rate" in wanted:
            found["error_rate"] = sums["errors"] / requests if requests else 0.0
        if "cost" in wanted:
            # Of calls whose cost nobody knows the sum is not known either, and is never a zero.
            is_known = not requests or sums["unpriced"] < requests
            found["cost"] = format_nanos(self.costs.get(currency, 0)) if is_known else None
        if "cost_other" in wanted:
            other = {name: format_nanos(nanos) for name, nanos in sorted(self.costs.items()) if name != currency}
            if other:
                found["cost_other"] = other
        if "latency_avg_ms" in wanted:
            found["latency_avg_ms"] = round(sums["latency_sum_us"] / timed / 1000, 3) if timed else None
        for index, (name, q) in enumerate(QUANTILES):
            if name in wanted:
                exact = self.percentiles_us
                value = exact[index] if exact is not None else quantile(self.bins, q)
                found[name] = None if value is None else round(value / 1000, 3)
        found.update({name: self.distinct.get(name) for name in self.distinct if name in wanted})
        return found


def shown(dimension: str, value: Any) -> Any:
    """Return a dimension's value as answers show it: what a caller did not say is null."""
    if value is None or value == "":
        return None
    return str(value) if dimension == "key" else value


def timestamp(at: datetime) -> str:
    """Write an instant as RFC 3339 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def group_names(question: Question, values: Iterable[Any]) -> dict[str, Any]:
    """Return the dimensions of a group by name."""
    return {name: shown(name, value) for name, value in zip(question.group_by, values, strict=True)}


def error_bound(exact: bool) -> float:
    """Return how far a percentile may be from the true one, as a fraction of it."""
    return 0.0 if exact else round(RELATIVE_ERROR + 0.00005, 4)


def call_shown(row: asyncpg.Record, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a stored call as the API shows it: the fields of a record as it was sent, and what was made of it.

    `metadata` are the call's, with the limits it names written out.
    """
    tokens = {name: row[column] for name, column in TOKEN_COLUMNS.items() if row[column]}
    return {
        "id": row["id"],
        "timestamp": timestamp(row["occurred_at"]),
        "received_at": timestamp(row["received_at"]),
        "provider": row["provider"],
        "endpoint": row["endpoint"] or None,
        "method": row["method"] or None,
        "status_code": row["status_code"],
        "response_time_ms": _ms(row["response_time_us"]),
        "time_to_first_byte_ms": _ms(row["ttfb_us"]),
        "request_size_bytes": row["request_bytes"],
        "response_size_bytes": row["response_bytes"],
        "model": row["model"] or None,
        "region": row["region"] or None,
        "tokens": tokens,
        "units": row["units"],
        "service_variant": row["service_variant"],
        "cost": None if row["cost"] is None else format_nanos(nanos_of(row["cost"])),
        "currency": row["currency"],
        "priced": row["cost"] is not None,
        "price_source": row["price_source"],
        "price_id": row["price_id"],
        "unpriced_reason": row["unpriced_reason"],
        "key": row["key_id"],
        "application": row["application"] or None,
        "user": row["user_ref"] or None,
        **{name: row[name] for name in ("end_user", "session_id", "request_id", "trace_id", "tags")},
        "metadata": metadata,
        **{name: row[name] for name in ("error_type", "error_message", "user_agent")},
        "ip_address": None if row["ip_address"] is None else str(row["ip_address"]).removesuffix("/32"),
        "request_headers": row["request_headers"],
        "response_headers": row["response_headers"],
        "refused_by": row["refused_by"],
    }


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1000
