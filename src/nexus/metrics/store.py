"""Runs the SQL about metrics: named statements from `sql/`, those about one of several tables of sums written here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from nexus.contracts.metric_records import Kind
from nexus.kit import histograms
from nexus.metering.statements import Statement
from nexus.metrics.aggregate import Aggregate, Point
from nexus.metrics.types import LABEL_PREFIX, Metric, MetricQuestion, MetricsQuestion, Rollup
from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.metrics")
Row = asyncpg.Record
TOTALS = Rollup("totals")
_KEYS_AT_ONCE = 5_000
_NO_TIME = datetime.min.replace(tzinfo=UTC)
_SUMS = tuple(item.name for item in fields(Aggregate))
_CASTS = {
    "points": "bigint[]", "sum": "float8[]", "count": "bigint[]", "min": "float8[]", "max": "float8[]",
    "last": "float8[]", "last_at": "timestamptz[]", "bins": "bytea[]",
}  # fmt: skip


class SeriesKey(NamedTuple):
    """Names a series of all organizations."""

    organization_id: UUID
    series_id: UUID


class SumKey(NamedTuple):
    """Names a row of a table of sums."""

    organization_id: UUID
    series_id: UUID
    layout: UUID
    bucket: datetime | None
    """None in totals."""


async def rows(connection: Connection, query: str, *arguments: object) -> list[Row]:
    """Run a named query and return its rows."""
    return list(await connection.fetch(QUERIES[query], *arguments))


async def value(connection: Connection, query: str, *arguments: object) -> Any:
    """Run a named query and return the first value of its first row."""
    return await connection.fetchval(QUERIES[query], *arguments)


async def points_around(connection: Connection, wanted: Sequence[Row]) -> list[Row]:
    """Return rows of points, and of the cumulative ones before and after each; as keyed in `wanted`."""
    found: list[Row] = []
    # In slices: to write so many keys for the database takes time in which nobody else has a turn.
    for start in range(0, len(wanted), _KEYS_AT_ONCE):
        some = wanted[start : start + _KEYS_AT_ONCE]
        columns = [[row[name] for row in some] for name in ("organization_id", "series_id", "at")]
        found += await rows(connection, "points_around", *columns)
    return found


def points_of(found: Iterable[Row]) -> dict[SeriesKey, tuple[Kind, list[Point]]]:
    """Read rows of `points_around`; by series, with its kind."""
    series: dict[SeriesKey, tuple[Kind, dict[datetime, Point]]] = {}
    for row in found:
        _, points = series.setdefault(SeriesKey(row["organization_id"], row["series_id"]), (row["kind"], {}))
        known = points.get(row["key_at"])
        if known is not None and known.is_new:
            continue
        points[row["key_at"]] = Point(
            row["key_at"],
            row["is_new"],
            row["is_cumulative"],
            row["start_at"],
            row["layout"],
            row["value"],
            row["count"],
            row["min"],
            row["max"],
            None if row["bins"] is None else histograms.decode(row["bins"]),
        )
    return {key: (kind, list(points.values())) for key, (kind, points) in series.items()}


def aggregate_of(row: Row) -> Aggregate:
    """Read a row of sums."""
    bins = row["bins"]
    return Aggregate(
        row["points"],
        row["sum"],
        row["count"],
        row["min"],
        row["max"],
        row["last"],
        row["last_at"],
        None if bins is None else histograms.decode(bins),
    )


async def read_sums(connection: Connection, table: Rollup, keys: Sequence[SumKey]) -> dict[SumKey, Aggregate]:
    """Return the rows of a table of sums that there are of some keys."""
    columns = _key_columns(table)
    arguments = [[getattr(key, name) for key in keys] for name, _ in columns]
    names = ", ".join(name for name, _ in columns)
    found = await connection.fetch(
        f"SELECT {names}, {', '.join(_SUMS)} FROM metrics.{table}\n"
        f"JOIN unnest({_unnested(columns)}) AS k ({names}) USING ({names})",
        *arguments,
    )
    is_whole = table == TOTALS
    return {
        SumKey(row["organization_id"], row["series_id"], row["layout"], None if is_whole else row["bucket"]): (
            aggregate_of(row)
        )
        for row in found
    }


async def write_sums(connection: Connection, table: Rollup, sums: Mapping[SumKey, Aggregate]) -> None:
    """Write rows of a table of sums in place of those there are."""
    # By key, as all that writes does; in totals nothing has a bucket.
    keys = sorted(sums, key=lambda key: (*key[:3], key.bucket or _NO_TIME))
    columns = [*_key_columns(table), *((name, _CASTS[name]) for name in _SUMS)]
    arguments: list[list[Any]] = [[getattr(key, name) for key in keys] for name, _ in _key_columns(table)]
    arguments += [[getattr(sums[key], name) for key in keys] for name in _SUMS if name != "bins"]
    bins = (sums[key].bins for key in keys)
    arguments.append([None if one is None else histograms.encode(one) for one in bins])
    names = ", ".join(name for name, _ in columns)
    key_names = ", ".join(name for name, _ in _key_columns(table))
    changed = ", ".join(f"{name} = excluded.{name}" for name in _SUMS)
    await connection.execute(
        f"INSERT INTO metrics.{table} ({names}) SELECT {names} FROM unnest({_unnested(columns)}) AS n ({names})\n"
        f"ON CONFLICT ({key_names}) DO UPDATE SET {changed}",
        *arguments,
    )


def _key_columns(table: Rollup) -> list[tuple[str, str]]:
    columns = [("organization_id", "uuid[]"), ("series_id", "uuid[]"), ("layout", "uuid[]")]
    return columns if table == TOTALS else [*columns, ("bucket", "timestamptz[]")]


def _unnested(columns: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"${place}::{cast}" for place, (_, cast) in enumerate(columns, 1))


async def read_rollups(
    connection: Connection,
    table: Rollup,
    organization_id: UUID,
    series_ids: Sequence[UUID],
    start: datetime,
    end: datetime,
) -> list[Row]:
    """Return the sums of some series in a range."""
    found: list[Row] = await connection.fetch(
        f"SELECT series_id, layout, bucket, {', '.join(_SUMS)} FROM metrics.{table}\n"
        "WHERE organization_id = $1 AND series_id = ANY ($2::uuid[]) AND bucket >= $3 AND bucket < $4",
        organization_id,
        list(series_ids),
        start,
        end,
    )
    return found


async def read_totals(connection: Connection, organization_id: UUID, series_ids: Sequence[UUID]) -> list[Row]:
    """Return what all points of some series come to."""
    found: list[Row] = await connection.fetch(
        f"SELECT series_id, layout, {', '.join(_SUMS)} FROM metrics.totals\n"
        "WHERE organization_id = $1 AND series_id = ANY ($2::uuid[])",
        organization_id,
        list(series_ids),
    )
    return found


async def find_metrics(connection: Connection, organization_id: UUID, question: MetricsQuestion) -> list[Metric]:
    """Return one metric more than the limit, by name."""
    statement = Statement()
    bind = statement.bind
    parts = [f"s.organization_id = {bind(organization_id, 'uuid')}"]
    if question.words is not None:
        escaped = question.words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        parts.append(f"s.name ILIKE {bind(f'%{escaped}%', 'text')}")
    if question.kind is not None:
        parts.append(f"s.kind = {bind(question.kind, 'text')}")
    if question.after is not None:
        place = ", ".join(bind(part, "text") for part in question.after)
        parts.append(f"(s.name, s.kind, s.unit) > ({place})")
    found = await connection.fetch(
        "SELECT m.*, (SELECT max(t.last_at) FROM metrics.series AS s\n"
        "    JOIN metrics.totals AS t ON t.organization_id = s.organization_id AND t.series_id = s.id\n"
        "    WHERE s.organization_id = $1 AND s.name = m.name AND s.kind = m.kind AND s.unit = m.unit) AS folded,\n"
        "    (SELECT max(j.at) FROM metrics.journal AS j JOIN metrics.series AS s\n"
        "    ON s.organization_id = j.organization_id AND s.id = j.series_id\n"
        "    WHERE j.organization_id = $1 AND s.name = m.name AND s.kind = m.kind AND s.unit = m.unit) AS waiting\n"
        "FROM (SELECT s.name, s.kind, s.unit, max(s.description) AS description, count(*) AS series\n"
        f"    FROM metrics.series AS s WHERE {' AND '.join(parts)}\n"
        f"    GROUP BY s.name, s.kind, s.unit ORDER BY s.name, s.kind, s.unit LIMIT {bind(question.limit + 1, 'integer')}) AS m\n"
        "ORDER BY m.name, m.kind, m.unit",
        *statement.arguments,
    )
    return [
        Metric(
            row["name"],
            row["kind"],
            row["unit"],
            row["description"],
            row["series"],
            max((at for at in (row["folded"], row["waiting"]) if at is not None), default=None),
        )
        for row in found
    ]


def _column(statement: Statement, name: str) -> str:
    if name.startswith(LABEL_PREFIX):
        return f"coalesce(s.labels ->> {statement.bind(name.removeprefix(LABEL_PREFIX), 'text')}, '')"
    return f"s.{name}"


async def find_series(
    connection: Connection,
    organization_id: UUID,
    metric: MetricQuestion,
    filters: Sequence[tuple[str, tuple[str, ...]]],
    at_most: int,
) -> list[Row]:
    """Return the series of a metric that fit, one more than `at_most`."""
    statement = Statement()
    bind = statement.bind
    parts = [f"s.organization_id = {bind(organization_id, 'uuid')}", f"s.name = {bind(metric.name, 'text')}"]
    if metric.kind is not None:
        parts.append(f"s.kind = {bind(metric.kind, 'text')}")
    if metric.unit is not None:
        parts.append(f"s.unit = {bind(metric.unit, 'text')}")
    parts += [f"{_column(statement, name)} = ANY ({bind(list(values), 'text[]')})" for name, values in filters]
    found: list[Row] = await connection.fetch(
        "SELECT s.id, s.kind, s.unit, s.application, s.service, s.environment, s.instance, s.labels, s.description\n"
        f"FROM metrics.series AS s WHERE {' AND '.join(parts)} ORDER BY s.id LIMIT {bind(at_most + 1, 'integer')}",
        *statement.arguments,
    )
    return found


async def drop_old_months(connection: Connection, table: str, before: datetime) -> int:
    """Drop a table's months that ended before an instant; returns how many."""
    await connection.execute("SET LOCAL lock_timeout = '2s'")
    dropped: int = await value(connection, "drop_old_months", table, before)
    return dropped
