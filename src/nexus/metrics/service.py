"""Use cases of metrics: which there are, their labels, and what they come to over time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from nexus.contracts.metric_records import Kind
from nexus.kit.errors import FieldFault
from nexus.metrics import store
from nexus.metrics.errors import AmbiguousMetric, FiguresBehind, MetricNotFound, TooMuchAsked
from nexus.metrics.figures import Answer, Bounds
from nexus.metrics.types import (
    AGGREGATIONS,
    LABEL_PREFIX,
    ROLLUPS,
    SOURCES,
    LabelValues,
    Metric,
    MetricQuestion,
    MetricsQuestion,
    SeriesQuestion,
    SeriesUsage,
)
from nexus.platform.db import Connection
from nexus.platform.db.configuration import get_configuration

MAX_SERIES = 5_000
"""Series one question may read."""
MAX_SUMS = 50_000
"""Rows of sums one question may read."""
MAX_WAITING = 50_000
"""Points that wait to be counted which one question adds up by itself."""
MAX_LABEL_VALUES = 200


async def find_metrics(
    connection: Connection, organization_id: UUID, question: MetricsQuestion
) -> tuple[list[Metric], tuple[str, str, str] | None]:
    """Return a page of metrics, and the last one's place when there are more."""
    found = await store.find_metrics(connection, organization_id, question)
    page = found[: question.limit]
    last = (page[-1].name, page[-1].kind, page[-1].unit) if len(found) > question.limit else None
    return page, last


async def series_usage(connection: Connection, organization_id: UUID) -> SeriesUsage:
    """Return how many series are active, of how many that may be."""
    limit = (await get_configuration(connection)).integer("limits.metric_series")
    for row in await store.rows(connection, "series_usage", organization_id):
        return SeriesUsage(limit=limit, **dict(row))
    return SeriesUsage(0, limit, 0, None, "")


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


async def waiting(connection: Connection, organization_id: UUID, series_ids: Sequence[UUID]) -> list[store.Row]:
    """Return the points that no sum holds yet, with those around each that they are counted by."""
    rows = await store.rows(connection, "waiting_of_series", organization_id, list(series_ids), MAX_WAITING + 1)
    if len(rows) > MAX_WAITING:
        raise FiguresBehind(f"more than {MAX_WAITING} points wait to be counted", retry_after_seconds=5)
    return await store.points_around(connection, rows)


async def bounds_of(connection: Connection, organization_id: UUID, layouts: set[UUID]) -> Bounds:
    """Return the bounds of some layouts."""
    return {row["id"]: row["bounds"] for row in await store.rows(connection, "layouts", organization_id, list(layouts))}


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
    ids = [row["id"] for row in found]
    sums = await store.read_rollups(connection, source, organization_id, ids, question.start, question.end)
    points = await waiting(connection, organization_id, ids)
    # Beside the event loop, which answers others meanwhile.
    answer = Answer(metric, question, found)
    layouts = await asyncio.to_thread(answer.add, sums, points)
    return await asyncio.to_thread(answer.told, await bounds_of(connection, organization_id, layouts), now)
