"""What is answered of a metric over time, worked out of sums and of what waits to be added to them.

Tens of thousands of rows may go into one answer, so none of this belongs into an event loop: `nexus.metrics.service` calls it
in a thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from nexus.contracts.metric_records import Kind
from nexus.kit.histograms import Bucket, Estimate, Quantiles, buckets_of, percentiles
from nexus.metrics import store
from nexus.metrics.aggregate import Aggregate, Change, add_all, changes
from nexus.metrics.types import AGGREGATIONS, FRACTIONS, LABEL_PREFIX, MetricQuestion, SeriesQuestion, begin

MAX_GROUPS = 50
Bounds = Mapping[UUID, Sequence[float]]


def changes_of(rows: Iterable[store.Row]) -> list[tuple[UUID, Change]]:
    """Return what points that no sum holds yet will change, with the series of each."""
    return [
        (key.series_id, change)
        for key, (kind, points) in store.points_of(rows).items()
        for change in changes(kind, points)
    ]


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


@dataclass(slots=True)
class Answer:
    """A question's groups while they are worked out."""

    metric: MetricQuestion
    question: SeriesQuestion
    series: Sequence[store.Row]
    """The series that fit."""
    group_of: dict[UUID, tuple[str, ...]] = field(init=False)
    groups: dict[tuple[str, ...], dict[datetime, Cell]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.question.group_by
        self.group_of = {row["id"]: tuple(_label(row, name) for name in names) for row in self.series}

    def add(self, sums: Iterable[store.Row], waiting: Iterable[store.Row]) -> set[UUID]:
        """Add rows of sums, and points that no sum holds yet; returns the layouts there are."""
        for row in sums:
            self._put(row["series_id"], row["layout"], row["bucket"], store.aggregate_of(row))
        for series_id, change in changes_of(waiting):
            if self.question.start <= change.at < self.question.end:
                self._put(series_id, change.layout, change.at, change.added)
        return {layout for cells in self.groups.values() for cell in cells.values() for layout in cell.parts}

    def _put(self, series_id: UUID, layout: UUID, at: datetime, more: Aggregate) -> None:
        cells = self.groups.setdefault(self.group_of[series_id], {})
        cells.setdefault(begin(at, self.question.length), Cell()).add(series_id, layout, more)

    def told(self, bounds: Bounds, now: datetime) -> dict[str, Any]:
        """Return the answer."""
        question, kind = self.question, cast("Kind", self.metric.kind)
        sizes: dict[tuple[str, ...], int] = {}
        for group in self.group_of.values():
            sizes[group] = sizes.get(group, 0) + 1
        elapsed = _lasted(question.start, question.end, now)
        wanted = question.aggregations or frozenset(AGGREGATIONS[kind])
        ranked: list[tuple[float, tuple[str, ...], Cell]] = []
        for group, cells in self.groups.items():
            whole = Cell()
            for cell in cells.values():
                whole.join(cell)
            ranked.append((_size(kind, whole.whole), group, whole))
        ranked.sort(key=lambda one: (-one[0], one[1]))
        groups = []
        for _, group, whole in ranked[:MAX_GROUPS]:
            single = sizes[group] == 1
            points = [
                {"at": at}
                | figures(kind, cell, bounds, _lasted(at, at + question.length, now), wanted, is_single=single)
                for at, cell in sorted(self.groups[group].items())
            ]
            groups.append(
                {
                    "labels": dict(zip(question.group_by, group, strict=True)),
                    "series": sizes[group],
                    "whole": figures(kind, whole, bounds, elapsed, wanted, is_single=single),
                    "points": points,
                }
            )
        return {
            "name": self.metric.name,
            "kind": kind,
            "unit": self.metric.unit,
            "description": next((row["description"] for row in self.series if row["description"]), ""),
            "period": question.period,
            "from": question.start,
            "to": question.end,
            "series": len(self.series),
            "groups": groups,
            "groups_left_off": max(0, len(ranked) - MAX_GROUPS),
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
