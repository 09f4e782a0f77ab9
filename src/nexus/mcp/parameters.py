"""Reads the parameters of questions about MCP servers; all faults are reported at once, each with its field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec

from nexus.contracts.tool_calls import MAX_CONTENT_DEPTH
from nexus.mcp.types import OUTCOMES, SORTS, TOOLS, RowsQuestion
from nexus.metering.cube import Cube
from nexus.metering.parameters import Parameters, Reader, is_zone
from nexus.metering.types import INTERVALS, Filter, Question
from nexus.platform.web.pages import MAX_LIMIT, decode_cursor

MAX_PARAMETERS_CHARS = 8_192
_ROW_FILTERS = ("trace_id", "session_id", "error_type")
_OWN_NAMES: Mapping[str, str] = MappingProxyType({"tool": "name", "method": "name"})
"""What callers call a dimension whose name is another inside."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Which part of the groups is asked for, and in which order."""

    sort: str = "calls"
    limit: int = 50
    skip: int = 0


def _reader(parameters: Parameters, now: datetime, cube: Cube, *more: str) -> Reader:
    own = "tool" if cube is TOOLS else "method"
    columns = {own if name == "name" else name: column for name, column in cube.columns.items()}
    return Reader(parameters, now, columns=columns | {name: name for name in more})


def _filters(reader: Reader) -> tuple[Filter, ...]:
    found = []
    for item in reader.filters():
        if item.dimension == "outcome" and not set(item.values) <= set(OUTCOMES):
            reader.fault("outcome", f"give one of {', '.join(OUTCOMES)}")
        found.append(Filter(_OWN_NAMES.get(item.dimension, item.dimension), item.values))
    return tuple(found)


def _limit(reader: Reader) -> int:
    text = reader.one("limit")
    if text is None:
        return 50
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MAX_LIMIT:
        return int(text[:6])
    reader.fault("limit", f"give a whole number from 1 to {MAX_LIMIT}")
    return 50


def read_groups(
    parameters: Parameters, now: datetime, cube: Cube, group_by: tuple[str, ...]
) -> tuple[Question, Ranking]:
    """Read the parameters of figures by group."""
    reader = _reader(parameters, now, cube)
    start, end = reader.range()
    sort = reader.choice("sort", SORTS) or "calls"
    limit = _limit(reader)
    cursor = reader.one("cursor")
    filters = _filters(reader)
    reader.finish()
    skip = max(0, min(decode_cursor(cursor, tuple[int])[0], 10**6)) if cursor else 0
    question = Question(start=start, end=end, group_by=group_by, filters=filters, metrics=cube.percentiles)
    return question, Ranking(sort=sort, limit=limit, skip=skip)


def read_series(parameters: Parameters, now: datetime, cube: Cube) -> Question:
    """Read the parameters of figures over time."""
    reader = _reader(parameters, now, cube)
    start, end = reader.range()
    interval = reader.choice("interval", tuple(INTERVALS))
    if interval is None and not reader.parameters.get("interval"):
        reader.fault("interval", f"give one of {', '.join(INTERVALS)}")
    tz = reader.one("tz") or "UTC"
    if not is_zone(tz):
        reader.fault("tz", "give the name of a time zone, such as Europe/Berlin")
    filters = _filters(reader)
    reader.finish()
    return Question(start=start, end=end, filters=filters, metrics=cube.percentiles, interval=interval, tz=tz)


def read_uncalled(parameters: Parameters, now: datetime) -> tuple[datetime, datetime, str | None]:
    """Read the range, and the server where one is asked for."""
    reader = Reader(parameters, now)
    start, end = reader.range()
    server = reader.one("server")
    reader.finish()
    return start, end, server


def read_rows(parameters: Parameters, now: datetime, cube: Cube) -> RowsQuestion:
    """Read the parameters of a list of tool calls or requests."""
    reader = _reader(parameters, now, cube, *_ROW_FILTERS)
    start, end = reader.range()
    limit = _limit(reader)
    cursor = reader.one("cursor")
    only_failed = reader.truth("failed")
    slowest = (reader.choice("sort", ("-timestamp", "-duration_ms")) or "-timestamp") == "-duration_ms"
    wanted = _content(reader) if cube is TOOLS else None
    filters = _filters(reader)
    if wanted is not None:
        searchable = {"server", "name", "outcome"}
        for item in filters:
            if item.dimension not in searchable:
                reader.fault(item.dimension, "cannot be combined with `parameters`: filter by server, tool or outcome")
        if slowest:
            reader.fault("sort", "cannot be combined with `parameters`, whose calls come newest first")
    reader.finish()
    return RowsQuestion(
        start=start,
        end=end,
        filters=filters,
        only_failed=only_failed,
        parameters=wanted,
        slowest_first=slowest,
        after=decode_cursor(cursor, tuple[datetime, UUID]) if cursor and not slowest else None,
        limit=limit,
    )


def _content(reader: Reader) -> Mapping[str, Any] | None:
    text = reader.one("parameters")
    if text is None:
        return None
    message = 'give a JSON object that the parameters must hold, such as {"path": "/etc"}'
    if len(text) > MAX_PARAMETERS_CHARS or "\\u0000" in text:
        reader.fault("parameters", f"give at most {MAX_PARAMETERS_CHARS} characters, without NUL")
        return None
    try:
        wanted = msgspec.json.decode(text)
        msgspec.json.encode(wanted)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        reader.fault("parameters", message)
        return None
    if not isinstance(wanted, dict) or not wanted:
        reader.fault("parameters", message)
        return None
    if text.count("{") + text.count("[") > 4 * MAX_CONTENT_DEPTH:
        reader.fault("parameters", "is too large to search for: give the keys that matter")
        return None
    return wanted
