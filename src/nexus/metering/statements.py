"""Writes the one statement that answers a question: rollups, journal and raw edges, added up in one snapshot.

Only names from closed lists are written into the text; whatever a caller sent travels as a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from nexus.metering.cube import CALLS, Cube
from nexus.metering.plan import covering_set, journal_ranges
from nexus.metering.types import TAG_PREFIX, Filter, Piece, Question

_BINS = "latency_bins"
"""Column of the sketches."""
_CASTS = {"status_code": "smallint[]", "key": "uuid[]"}


@dataclass
class Statement:
    """Text and parameters of one statement, written piece by piece."""

    arguments: list[Any] = field(default_factory=list)
    _numbers: dict[tuple[str, Any], str] = field(default_factory=dict)

    def bind(self, value: Any, cast: str) -> str:
        """Add a parameter; returns its place in the text. Equal ones are sent once."""
        key = (cast, tuple(value) if isinstance(value, list) else value)
        if key not in self._numbers:
            self.arguments.append(value)
            self._numbers[key] = f"${len(self.arguments)}::{cast}"
        return self._numbers[key]


@dataclass
class Builder:
    """Writes the statements of one question."""

    organization_id: UUID
    question: Question
    pieces: Sequence[Piece]
    points: Sequence[datetime] = ()
    cube: Cube = CALLS
    among: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Only these groups: dimensions that are texts, each with as many values as there are groups."""
    statement: Statement = field(default_factory=Statement)

    def sums(self, at_most: int) -> str:
        """Write the statement that answers counts, sums and sketches: a row for each group and point, and what is kept apart.

        It gives no more rows than asked, whatever was grouped by.
        """
        groups = self._group_names()
        cube = self.cube
        kept = ",\n    ".join(f"{measure.merge}({name}) AS {name}" for name, measure in cube.measures.items())
        names = ", ".join([*groups, "point", *cube.apart])
        # Sketches are most of what is read and joined; where no percentile is asked for they are left alone.
        is_needed = self.question.metrics & cube.percentiles and not self.question.exact
        bins = "string_agg(latency_bins, ''::bytea)" if is_needed else "''::bytea"
        return (
            f"SELECT {names},\n    {kept},\n    {bins} AS latency_bins\n"
            f"FROM (\n{self._sums_of_all([*cube.measures, _BINS])}\n) AS piece\nGROUP BY {names}\n"
            f"HAVING sum({cube.counted}) <> 0\nLIMIT {int(at_most)}"
        )

    def ranking(self, groups: int, value: str, *, limit: int, skip: int = 0) -> str:
        """Write the statement that answers which groups have most of a value, and how many there are (`groups`).

        A group is what the first `groups` dimensions are; `value` is an aggregate over the measures and `g0`, `g1` and so
        on, with what else is grouped by behind them. Equal ones are in the order of their names.
        """
        names = self._group_names()[:groups]
        # An index may have these; a column that nobody needs would be read from the table.
        read = [name for name in [*self.cube.measures, _BINS] if name == self.cube.counted or name in value]
        # By the bytes, as whoever sorts them outside the database does.
        order = ", ".join(f'{name}::text COLLATE "C"' for name in names)
        return (
            f"SELECT {', '.join(names)}, {value} AS value, count(*) OVER () AS groups\n"
            f"FROM (\n{self._sums_of_all(read)}\n) AS piece\nGROUP BY {', '.join(names)}\nHAVING sum({self.cube.counted}) <> 0\n"
            f"ORDER BY value DESC NULLS LAST, {order}\nLIMIT {int(limit)} OFFSET {int(skip)}"
        )

    def _sums_of_all(self, read: Sequence[str]) -> str:
        number = covering_set(self.question.dimensions, self.cube.sets)
        group_by = self.question.group_by
        parts = [self._sums_of(piece.source, piece.start, piece.end, group_by, number, read) for piece in self.pieces]
        parts += [
            self._sums_of("journal", start, end, group_by, number, read) for start, end in journal_ranges(self.pieces)
        ]
        return " UNION ALL ".join(parts)

    def distinct(self, what: str, *, with_whole: bool = True) -> str | None:
        """Write the statement that counts different users, endpoints and the like; None when nothing keeps them together.

        The row whose `whole` is true counts over all groups.
        """
        added = self.cube.distinct[what]
        raw = all(piece.source == "raw" for piece in self.pieces)
        number = covering_set(self.question.dimensions | set(added), self.cube.sets)
        if number is None and not raw:
            return None
        counted = {name: f"d{index}" for index, name in enumerate(added)}
        parts = [self._distinct_of(piece.source, piece.start, piece.end, counted, number) for piece in self.pieces]
        parts += [
            self._distinct_of("journal", start, end, counted, number) for start, end in journal_ranges(self.pieces)
        ]
        names = [*self._group_names(), "point"]
        each = ", ".join([*names, *counted.values()])
        # What was only called by calls that were taken back adds up to none.
        piece = (
            f"SELECT {each} FROM (\n{' UNION ALL '.join(parts)}\n) AS part\n"
            f"WHERE {counted[added[-1]]} <> '' GROUP BY {each} HAVING sum({self.cube.counted}) <> 0"
        )
        grouped = ", ".join(names)
        # Each is once in its group: there is nothing to sort.
        of_groups = f"SELECT {grouped}, false AS whole, count(*) AS found FROM piece GROUP BY {grouped}"
        of_all = f"SELECT {', '.join(['NULL'] * len(names))}, true, count(DISTINCT ({', '.join(counted.values())})) FROM piece"
        return f"WITH piece AS ({piece})\n" + (f"{of_groups} UNION ALL {of_all}" if with_whole else of_groups)

    def percentiles(self) -> str:
        """Write the statement that takes percentiles from the raw rows; the row whose `whole` is true is over all."""
        names = ", ".join([*self._group_names(), "point"])
        start, end = self.pieces[0].start, self.pieces[-1].end
        columns = self._columns("raw", self.question.group_by, self._group_names())
        return (
            f"SELECT {names}, grouping(point) = 1 AS whole,\n"
            "    percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration) AS found\n"
            f"FROM (SELECT {columns}, {self._point('occurred_at')} AS point, {self.cube.duration} AS duration\n"
            f"    FROM {self.cube.raw} WHERE {self._where('raw', start, end, None)}) AS piece\n"
            f"WHERE duration IS NOT NULL\nGROUP BY GROUPING SETS (({names}), ())"
        )

    def _group_names(self) -> list[str]:
        return [f"g{index}" for index in range(len(self.question.group_by))]

    def _point(self, column: str) -> str:
        if not self.points:
            return "1"
        return f"width_bucket({column}, {self.statement.bind(list(self.points), 'timestamptz[]')})"

    def _value(self, source: str, dimension: str) -> str:
        if dimension.startswith(TAG_PREFIX):
            if source in {"raw", "journal"}:
                return f"tags ->> {self.statement.bind(dimension.removeprefix(TAG_PREFIX), 'text')}"
            return "tag_value"
        return self.cube.column(source, dimension)

    def _columns(self, source: str, dimensions: Sequence[str], names: Sequence[str]) -> str:
        parts = [f"{self._value(source, item)} AS {name}" for item, name in zip(dimensions, names, strict=True)]
        return ", ".join(parts) if parts else "1 AS g"

    def _where(self, source: str, start: datetime, end: datetime, number: int | None) -> str:
        column = {"raw": "occurred_at", "journal": "minute"}.get(source, "bucket")
        bind = self.statement.bind
        parts = [f"organization_id = {bind(self.organization_id, 'uuid')}"]
        if source not in {"raw", "journal"}:
            parts.append(f"dimension_set = {int(number or 0)}")
        only = self.cube.raw_only if source == "raw" else self.cube.only
        if only:
            parts.append(only)
        parts += [f"{column} >= {bind(start, 'timestamptz')}", f"{column} < {bind(end, 'timestamptz')}"]
        for name in sorted(name for name in self.question.dimensions if name.startswith(TAG_PREFIX)):
            # Calls without the tag have no group; the rollups hold a row for each tag a call has.
            tag = bind(name.removeprefix(TAG_PREFIX), "text")
            parts.append(f"tags ? {tag}" if source in {"raw", "journal"} else f"tag_name = {tag}")
        parts += [self._filter(source, item) for item in self.question.filters]
        if self.among:
            columns = ", ".join(self._value(source, name) for name in self.among)
            texts = ", ".join(bind(list(values), "text[]") for values in self.among.values())
            parts.append(f"({columns}) IN (SELECT * FROM unnest({texts}))")
        return " AND ".join(parts)

    def _filter(self, source: str, item: Filter) -> str:
        return filter_text(self.statement, self._value(source, item.dimension), item)

    def _sums_of(
        self,
        source: str,
        start: datetime,
        end: datetime,
        group_by: Sequence[str],
        number: int | None,
        read: Sequence[str],
    ) -> str:
        cube = self.cube
        names = self._group_names()
        columns = self._columns(source, group_by, names)
        where = self._where(source, start, end, number)
        apart = "".join(f", {name}" for name in cube.apart)
        if source not in {"raw", "journal"}:
            return (
                f"SELECT {columns}, {self._point('bucket')} AS point{apart}, {', '.join(read)}\n"
                f"FROM {cube.rollups}{source} WHERE {where}\n"
            )
        raw = source == "raw"
        time = "occurred_at" if raw else "minute"
        table = cube.raw if raw else cube.journal
        bin_ = f"metering.latency_bin_v1({cube.duration})" if raw else "bin"
        size = "count(*)" if raw else f"sum({cube.counted})::bigint"
        bins = f"CASE WHEN {bin_} IS NOT NULL THEN int2send({bin_}) || int8send({size}) ELSE ''::bytea END"
        kept = {_BINS: bins} | {
            name: measure.raw if raw else measure.journal for name, measure in cube.measures.items()
        }
        return (
            f"SELECT {columns}, {self._point(time)} AS point{apart}, {', '.join(f'{kept[name]} AS {name}' for name in read)}\n"
            f"FROM {table} WHERE {where}\n"
            f"GROUP BY {self._ordinals(len(names))}{apart}, {bin_}\n"
        )

    @staticmethod
    def _ordinals(groups: int) -> str:
        # The group columns come first in the select list (a constant when there are none), then the point.
        return ", ".join(str(index + 1) for index in range(max(groups, 1) + 1))

    def _distinct_of(
        self, source: str, start: datetime, end: datetime, counted: dict[str, str], number: int | None
    ) -> str:
        columns = self._columns(source, self.question.group_by, self._group_names())
        extra = ", ".join(f"{self.cube.column(source, item)} AS {name}" for item, name in counted.items())
        table = {"raw": self.cube.raw, "journal": self.cube.journal}.get(source, f"{self.cube.rollups}{source}")
        time = {"raw": "occurred_at", "journal": "minute"}.get(source, "bucket")
        size = "1" if source == "raw" else self.cube.counted
        return (
            f"SELECT {columns}, {self._point(time)} AS point, {extra}, {size} AS {self.cube.counted}\n"
            f"FROM {table} WHERE {self._where(source, start, end, number)}\n"
        )


def filter_text(statement: Statement, value: str, item: Filter) -> str:
    """Write the condition that a dimension has one of some values; None among them stands for no value."""
    cast = _CASTS.get(item.dimension, "text[]")
    some = [one for one in item.values if one is not None]
    parts = [f"{value} = ANY ({statement.bind(some, cast)})"] if some else []
    if None in item.values:
        parts.append(f"{value} IS NULL")
    return parts[0] if len(parts) == 1 else "(" + " OR ".join(parts) + ")"
