"""Newest values of metrics as Prometheus reads them: text format 0.0.4, or OpenMetrics 1.0.0 for who asks for it.

Names follow OpenTelemetry's "Prometheus and OpenMetrics compatibility": characters that are not allowed become `_`, the
unit's word is put at the end, a counter ends in `_total`. Counters and histograms are what all their points come to,
delta ones too, so they only grow. Exponential buckets are given at a scale that leaves a few dozen.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Any
from uuid import UUID

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from nexus.kit.errors import FieldFault
from nexus.kit.histograms import NO_LAYOUT, Explicit, Exponential, Quantiles, limited, upper_bound
from nexus.metrics import store
from nexus.metrics.aggregate import Aggregate, add
from nexus.metrics.errors import TooMuchAsked
from nexus.metrics.figures import Bounds, changes_of
from nexus.metrics.parameters import ExpositionQuestion
from nexus.metrics.service import bounds_of, waiting
from nexus.metrics.types import OWN_LABELS
from nexus.platform.db import Connection

TEXT = "text/plain; version=0.0.4"
"""The web framework says the character set of texts itself."""
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
MAX_SERIES = 10_000
_MAX_EXPONENTIAL_BUCKETS = 40
_OWN_PREFIX = "exported_"
"""Before a label of the caller's that has the name of one of ours, as Prometheus does it."""
_UNITS: Mapping[str, str] = MappingProxyType(
    {
        "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "min": "minutes", "h": "hours",
        "d": "days", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes", "KBy": "kilobytes",
        "MBy": "megabytes", "GBy": "gigabytes", "m": "meters", "V": "volts", "A": "amperes", "J": "joules",
        "W": "watts", "g": "grams", "Cel": "celsius", "Hz": "hertz", "%": "percent", "1": "ratio",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exposed:
    """A series with what all its points come to."""

    name: str
    kind: str
    unit: str
    description: str
    labels: Mapping[str, str]
    layout: UUID
    total: Aggregate


def metric_name(name: str) -> str:
    """Return a name with allowed characters only."""
    return _sanitised(name, "a-zA-Z0-9_:")


def label_name(name: str) -> str:
    """Return a label's name with allowed characters only."""
    return _sanitised(name, "a-zA-Z0-9_")


def _sanitised(name: str, allowed: str) -> str:
    made = re.sub("__+", "_", re.sub(f"[^{allowed}]", "_", name)) if re.search(f"[^{allowed}]", name) else name
    return f"_{made}" if not made or made[0].isdigit() else made


def unit_word(unit: str, kind: str) -> str:
    """Return the word of a unit that goes into a name; empty for a unit that says nothing, such as `{request}`."""
    if unit == "1":
        # A share is one of a gauge alone: how often something happened is no ratio.
        return "ratio" if kind == "gauge" else ""
    said = re.sub(r"\{[^}]*\}", "", unit)
    parts = [part for part in said.split("/") if part]
    words = [_UNITS.get(part, part) for part in parts]
    made = label_name("_per_".join(words)).strip("_") if words else ""
    return f"per_{made}" if said.startswith("/") and made else made


def family_name(name: str, unit: str, kind: str) -> tuple[str, str]:
    """Return the name of the family, without `_total`, and the unit's word that it ends in."""
    made = metric_name(name)
    if kind == "counter":
        made = made.removesuffix("_total") or made
    word = unit_word(unit, kind)
    if word and not made.endswith(f"_{word}") and made != word:
        made = f"{made}_{word}"
    return made, word if word and made.endswith(f"_{word}") else ""


def labels_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a series' labels under allowed names; values of labels that come to the same name are joined."""
    own = {name: row[name] for name in OWN_LABELS if row[name]}
    found: dict[str, str] = {}
    for name, value in sorted(row["labels"].items()):
        made = label_name(name)
        if made in OWN_LABELS or made in {"le", "quantile"} or made.startswith("__"):
            made = f"{_OWN_PREFIX}{made.lstrip('_')}"
        found[made] = f"{found[made]};{value}" if made in found else value
    return own | found


def families(series: Iterable[Exposed], bounds: Bounds) -> Iterator[Metric]:
    """Make the families of some series, sorted by name; each name is one family of one kind."""
    grouped: dict[tuple[str, str, str], list[Exposed]] = {}
    for one in series:
        name, unit = family_name(one.name, one.unit, one.kind)
        grouped.setdefault((name, one.kind, unit), []).append(one)
    taken: set[str] = set()
    for (name, kind, unit), members in sorted(grouped.items()):
        if name in taken:
            # Two kinds of metrics may have one name here; there they may not.
            name, unit = f"{name}_{kind}", ""
        if name in taken:
            continue
        taken.add(name)
        help_ = next((one.description for one in members if one.description), "") or members[0].name
        yield _family(name, kind, unit, help_, _distinct(members), bounds)


def _distinct(members: Sequence[Exposed]) -> list[Exposed]:
    """Return one series for each set of labels: the one that was seen last, where names came to the same."""
    newest: dict[tuple[tuple[str, str], ...], Exposed] = {}
    for one in members:
        key = tuple(sorted(one.labels.items()))
        if key not in newest or newest[key].total.last_at < one.total.last_at:
            newest[key] = one
    return [newest[key] for key in sorted(newest)]


def _family(name: str, kind: str, unit: str, help_: str, members: Sequence[Exposed], bounds: Bounds) -> Metric:
    if kind == "counter":
        counter = CounterMetricFamily(name, help_, unit=unit)
        for one in members:
            counter.add_sample(f"{name}_total", dict(one.labels), one.total.sum or 0.0)
        return counter
    if kind == "gauge":
        gauge = GaugeMetricFamily(name, help_, unit=unit)
        for one in members:
            gauge.add_sample(name, dict(one.labels), one.total.last if one.total.last is not None else math.nan)
        return gauge
    if kind == "summary":
        summary = SummaryMetricFamily(name, help_, unit=unit)
        for one in members:
            bins = one.total.bins
            for fraction, value in bins.values if isinstance(bins, Quantiles) else ():
                summary.add_sample(name, {**one.labels, "quantile": f"{fraction:g}"}, value)
            _count_and_sum(summary, name, one)
        return summary
    histogram = HistogramMetricFamily(name, help_, unit=unit)
    for one in members:
        ends = list(_cumulated(one, bounds))
        for end, count in ends:
            histogram.add_sample(f"{name}_bucket", {**one.labels, "le": end}, count)
        # OpenMetrics: where values may be below zero the sum is none that only grows, and no count goes without a sum.
        if one.total.sum is not None and not ends[0][0].startswith("-"):
            _count_and_sum(histogram, name, one)
    return histogram


def _count_and_sum(family: Metric, name: str, one: Exposed) -> None:
    family.add_sample(f"{name}_count", dict(one.labels), one.total.count)
    if one.total.sum is not None:
        family.add_sample(f"{name}_sum", dict(one.labels), one.total.sum)


def _cumulated(one: Exposed, bounds: Bounds) -> Iterator[tuple[str, int]]:
    """Return how many values are not larger than each bound."""
    bins = one.total.bins
    ends: list[float] = []
    counts: list[int] = []
    if isinstance(bins, Explicit):
        ends, counts = list(bounds.get(one.layout, ())), list(bins.counts)
    elif isinstance(bins, Exponential):
        coarse = limited(bins, _MAX_EXPONENTIAL_BUCKETS)
        sides = [
            *((-upper_bound(index - 1, coarse.scale), count) for index, count in coarse.negative.items()),
            *([(coarse.zero_threshold, coarse.zero_count)] if coarse.zero_count else []),
            *((upper_bound(index, coarse.scale), count) for index, count in coarse.positive.items()),
        ]
        for end, count in sorted(sides):
            ends.append(end)
            counts.append(count)
    for end, below in zip(ends, accumulate(counts), strict=False):
        if math.isfinite(end):
            yield repr(float(end)), below
    yield "+Inf", one.total.count


class _Collected:
    """Stands for a registry in `generate_latest`."""

    def __init__(self, found: Sequence[Metric]) -> None:
        self._found = found

    def collect(self) -> Sequence[Metric]:
        return self._found


def write(found: Sequence[Metric], *, is_openmetrics: bool) -> bytes:
    """Write families in one of the two formats."""
    generate = generate_openmetrics if is_openmetrics else generate_latest
    written: bytes = generate(_Collected(found))
    return written


async def exposed(connection: Connection, organization_id: UUID, question: ExpositionQuestion) -> list[Metric]:
    """Return the families of an organization's newest values."""
    rows = await store.rows(
        connection, "exposed_series", organization_id, list(question.names), question.since, MAX_SERIES + 1
    )
    if len(rows) > MAX_SERIES:
        message = f"more than {MAX_SERIES} series have new points: name the metrics, with `name` once for each"
        raise TooMuchAsked(message, faults=[FieldFault("name", message)])
    ids = [row["id"] for row in rows]
    totals = await store.read_totals(connection, organization_id, ids)
    points = await waiting(connection, organization_id, ids)
    # Beside the event loop, which answers others meanwhile.
    newest = await asyncio.to_thread(_newest, totals, points)
    bounds = await bounds_of(connection, organization_id, {layout for layout, _ in newest.values()} - {NO_LAYOUT})
    return await asyncio.to_thread(_families_of, rows, newest, bounds)


def _newest(totals: Iterable[store.Row], points: Iterable[store.Row]) -> dict[UUID, tuple[UUID, Aggregate]]:
    """Return the newest layout of each series and what all its points come to, those that wait too."""
    found: dict[UUID, dict[UUID, Aggregate]] = {}
    for row in totals:
        found.setdefault(row["series_id"], {})[row["layout"]] = store.aggregate_of(row)
    for series_id, change in changes_of(points):
        layouts = found.setdefault(series_id, {})
        known = layouts.get(change.layout)
        layouts[change.layout] = change.added if known is None else add(known, change.added)
    # Where the bounds changed, the buckets of the newest are told, and what they count.
    return {
        series_id: max(layouts.items(), key=lambda item: (item[1].last_at, item[0]))
        for series_id, layouts in found.items()
    }


def _families_of(
    rows: Iterable[store.Row], newest: Mapping[UUID, tuple[UUID, Aggregate]], bounds: Bounds
) -> list[Metric]:
    return list(
        families(
            [
                Exposed(
                    row["name"], row["kind"], row["unit"], row["description"], labels_of(dict(row)), *newest[row["id"]]
                )
                for row in rows
                if row["id"] in newest
            ],
            bounds,
        )
    )
