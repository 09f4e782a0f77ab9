"""Use cases of metrics: which there are, their labels, and what they come to over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from nexus.contracts.metric_records import Kind
from nexus.kit.errors import FieldFault
from nexus.kit.histograms import Bucket, Estimate, Quantiles, buckets_of, percentiles
from nexus.metrics import store
from nexus.metrics.aggregate import Aggregate, Change, add_all, changes
from nexus.metrics.errors import AmbiguousMetric, FiguresBehind, MetricNotFound, TooMuchAsked
from nexus.metrics.types import (
    AGGREGATIONS,
    FRACTIONS,
    LABEL_PREFIX,
    ROLLUPS,
    SOURCES,
    LabelValues,
    Metric,
    MetricQuestion,
    MetricsQuestion,
    SeriesQuestion,
    begin,
)
from nexus.platform.db import Connection

MAX_SERIES = 5_000
"""Series one question may read."""
MAX_SUMS = 50_000
"""Rows of sums one question may read."""
MAX_WAITING = 50_000
"""Points that wait to be counted which one question adds up by itself."""
MAX_GROUPS = 50
MAX_LABEL_VALUES = 200
Bounds = Mapping[UUID, Sequence[float]]


async def find_metrics(
    connection: Connection, organization_id: UUID, question: MetricsQuestion
) -> tuple[list[Metric], tuple[str, str, str] | None]:
    """Return a page of metrics, and the last one's place when there are more."""
    found = await store.find_metrics(connection, organization_id, question)
    page = found[: question.limit]
    last = (page[-1].name, page[-1].kind, page[-1].unit) if len(found) > question.limit else None
    return page, last


async def _series_of(
    connection: Connection,
    organization_id: UUID,
    metric: MetricQuestion,
    filters: Sequence[tuple[str, tuple[str, ...]]],
) -> tuple[MetricQuestion, list[store.Row]]:
    """Return which metric is meant, for certain, and its series that fit."""
    rows = await store.rows(connection, "kinds_of", organization_id, metric.name, metric.kind, metric.unit)
    kinds = [(row["kind"], row["unit"]) for row in rows]
    if not kinds:
        raise MetricNotFound(f"there is no metric {metric.name[:80]!r} of this kind and unit: see /api/metrics")
    if len(kinds) > 1:
        said = ", ".join(f"{kind} in {unit!r}" for kind, unit in kinds)
        message = f"there are several of this name: {said}. Send `kind` and `unit` too"
        raise AmbiguousMetric(message, faults=[FieldFault("kind", message)])
    ((kind, unit),) = kinds
    metric = MetricQuestion(name=metric.name, kind=kind, unit=unit)
    series = await store.find_series(connection, organization_id, metric, filters, MAX_SERIES)
    if len(series) > MAX_SERIES:
        message = f"more than {MAX_SERIES} series fit: filter by labels"
        raise TooMuchAsked(message, faults=[FieldFault("name", message)])
    return metric, series


async def labels(
    connection: Connection,
    organization_id: UUID,
    metric: MetricQuestion,
    filters: Sequence[tuple[str, tuple[str, ...]]],
) -> list[LabelValues]:
    """Return the labels of a metric's series, and the values of each."""
    _, series = await _series_of(connection, organization_id, metric, filters)
    found: dict[str, LabelValues] = {}
    ids = [row["id"] for row in series]
    for row in await store.rows(connection, "label_values", organization_id, ids, MAX_LABEL_VALUES):
        found.setdefault(row["label"], LabelValues(row["label"], [], row["count"])).values.append(row["value"])
    return sorted(found.values(), key=lambda one: (not one.name.startswith(LABEL_PREFIX), one.name))


async def waiting(
    connection: Connection, organization_id: UUID, series_ids: Sequence[UUID]
) -> list[tuple[UUID, Change]]:
    """Return what points that no sum holds yet will change, with the series of each."""
    rows = await store.rows(connection, "waiting_of_series", organization_id, list(series_ids), MAX_WAITING + 1)
    if len(rows) > MAX_WAITING:
        raise FiguresBehind(f"more than {MAX_WAITING} points wait to be counted", retry_after_seconds=5)
    wanted = [(row["organization_id"], row["series_id"], row["at"]) for row in rows]
    return [
        (key.series_id, change)
        for key, (kind, points) in (await store.points_around(connection, wanted)).items()
        for change in changes(kind, points)
    ]


async def bounds_of(connection: Connection, organization_id: UUID, layouts: set[UUID]) -> Bounds:
    """Return the bounds of some layouts."""
    return {row["id"]: row["bounds"] for row in await store.rows(connection, "layouts", organization_id, list(layouts))}


@dataclass(slots=True)
class Cell:
    """What a group's series come to in one period: its rows, added up when they are asked for."""

    parts: dict[UUID, list[Aggregate]] = field(default_factory=dict)
    """By layout."""
    newest: dict[UUID, tuple[datetime, float]] = field(default_factory=dict)
    """A gauge's newest value, by series."""

    def add(self, series_id: UUID, layout: UUID, more: Aggregate) -> None:
        """Add sums of one series."""
        self.parts.setdefault(layout, []).append(more)
        if more.last is not None:
            newest = (more.last_at, more.last)
            self.newest[series_id] = max(self.newest.get(series_id, newest), newest)

    def join(self, other: Cell) -> None:
        """Add what another period comes to."""
        for layout, whole in other.by_layout().items():
            self.parts.setdefault(layout, []).append(whole)
        for series_id, newest in other.newest.items():
            self.newest[series_id] = max(self.newest.get(series_id, newest), newest)

    def by_layout(self) -> dict[UUID, Aggregate]:
        """Add up the rows of each layout, once."""
        for layout, parts in self.parts.items():
            if len(parts) > 1:
                self.parts[layout] = [add_all(parts)]
        return {layout: parts[0] for layout, parts in self.parts.items()}

    @property
    def whole(self) -> Aggregate:
        """The sums of all layouts, without distributions."""
        return add_all([replace(part, bins=None) for part in self.by_layout().values()])

    def buckets(self, bounds: Bounds) -> list[Bucket]:
        """The buckets of all layouts."""
        return [
            bucket
            for layout, part in self.by_layout().items()
            if part.bins is not None
            for bucket in buckets_of(part.bins, bounds.get(layout, ()), least=part.min, most=part.max)
        ]


def figures(
    kind: Kind, cell: Cell, bounds: Bounds, seconds: float, wanted: frozenset[str], *, is_single: bool
) -> dict[str, Any]:
    """Return what is answered of a period: each of the wanted aggregations. `seconds` is how long the period has lasted."""
    whole = cell.whole
    told: dict[str, Any] = {"min": whole.min, "max": whole.max, "sum": whole.sum}
    average = None if whole.sum is None or not whole.count else whole.sum / whole.count
    if kind == "counter":
        told = {"increase": whole.sum, "rate": None if whole.sum is None else whole.sum / seconds}
    elif kind == "gauge":
        told |= {"avg": average, "last": whole.last, "sum": math.fsum(value for _, value in cell.newest.values())}
    else:
        told |= {"count": whole.count, "rate": whole.count / seconds, "avg": average}
    if kind == "histogram":
        names = [name for name in FRACTIONS if name in wanted]
        estimates = percentiles(cell.buckets(bounds), [FRACTIONS[name] for name in names]) if names else []
        told |= dict.fromkeys(names)
        if estimates:
            told |= {name: one.value for name, one in zip(names, estimates, strict=True)}
            told["within"] = {name: _ends(one) for name, one in zip(names, estimates, strict=True)}
    elif kind == "summary":
        bins = next((part.bins for part in cell.by_layout().values() if part.bins is not None), None)
        # Quantiles of several series cannot be put together.
        told["quantiles"] = None
        if is_single and isinstance(bins, Quantiles):
            told["quantiles"] = {f"{q:g}": value for q, value in bins.values}
    return {name: value for name, value in told.items() if name in wanted or name == "within"}


def _ends(one: Estimate) -> list[float | None]:
    return [None if math.isinf(end) else end for end in (one.low, one.high)]


async def series(
    connection: Connection, organization_id: UUID, question: SeriesQuestion, now: datetime
) -> dict[str, Any]:
    """Return a metric over time: for each group of series the periods in which there was a point."""
    metric, found = await _series_of(connection, organization_id, question.metric, question.filters)
    kind = cast("Kind", metric.kind)
    unknown = question.aggregations - set(AGGREGATIONS[kind])
    if unknown:
        message = f"of a {kind} there is {', '.join(AGGREGATIONS[kind])}, but no {', '.join(sorted(unknown))}"
        raise TooMuchAsked(message, faults=[FieldFault("aggregations", message)])
    source = SOURCES[question.period]
    rows_at_most = len(found) * ((question.end - question.start) / ROLLUPS[source])
    if rows_at_most > MAX_SUMS:
        message = (
            f"{len(found)} series with a row every {ROLLUPS[source]} are too much for this range:"
            " filter by labels, or take a longer period or a shorter range"
        )
        raise TooMuchAsked(message, faults=[FieldFault("period", message)])
    group_of = {row["id"]: tuple(_label(row, name) for name in question.group_by) for row in found}
    groups: dict[tuple[str, ...], dict[datetime, Cell]] = {}

    def put(series_id: UUID, layout: UUID, at: datetime, more: Aggregate) -> None:
        cells = groups.setdefault(group_of[series_id], {})
        cells.setdefault(begin(at, question.length), Cell()).add(series_id, layout, more)

    ids = list(group_of)
    for row in await store.read_rollups(connection, source, organization_id, ids, question.start, question.end):
        put(row["series_id"], row["layout"], row["bucket"], store.aggregate_of(row))
    for series_id, change in await waiting(connection, organization_id, ids):
        if question.start <= change.at < question.end:
            put(series_id, change.layout, change.at, change.added)
    layouts = {layout for cells in groups.values() for cell in cells.values() for layout in cell.parts}
    bounds = await bounds_of(connection, organization_id, layouts)
    sizes: dict[tuple[str, ...], int] = {}
    for group in group_of.values():
        sizes[group] = sizes.get(group, 0) + 1
    elapsed = _lasted(question.start, question.end, now)
    wanted = question.aggregations or frozenset(AGGREGATIONS[kind])
    told: list[tuple[float, dict[str, Any]]] = []
    for group, cells in groups.items():
        whole = Cell()
        for cell in cells.values():
            whole.join(cell)
        single = sizes[group] == 1
        points = [
            {"at": at} | figures(kind, cell, bounds, _lasted(at, at + question.length, now), wanted, is_single=single)
            for at, cell in sorted(cells.items())
        ]
        answer = {
            "labels": dict(zip(question.group_by, group, strict=True)),
            "series": sizes[group],
            "whole": figures(kind, whole, bounds, elapsed, wanted, is_single=single),
            "points": points,
        }
        told.append((_size(kind, whole.whole), answer))
    told.sort(key=lambda one: (-one[0], tuple(one[1]["labels"].values())))
    return {
        "name": metric.name,
        "kind": kind,
        "unit": metric.unit,
        "description": next((row["description"] for row in found if row["description"]), ""),
        "period": question.period,
        "from": question.start,
        "to": question.end,
        "series": len(found),
        "groups": [answer for _, answer in told[:MAX_GROUPS]],
        "groups_left_off": max(0, len(told) - MAX_GROUPS),
    }


def _lasted(start: datetime, end: datetime, now: datetime) -> float:
    # A period that still runs has lasted until now, and a second at least.
    return max((min(end, max(now, start + timedelta(seconds=1))) - start).total_seconds(), 1.0)


def _size(kind: Kind, whole: Aggregate) -> float:
    """Return what groups are ranked by: how much was counted, or how large a gauge was."""
    if kind == "counter":
        return whole.sum or 0.0
    if kind == "gauge":
        return abs(whole.last or 0.0)
    return float(whole.count)


def _label(row: store.Row, name: str) -> str:
    if name.startswith(LABEL_PREFIX):
        return str(row["labels"].get(name.removeprefix(LABEL_PREFIX), ""))
    return str(row[name])
