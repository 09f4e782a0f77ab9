"""Reads the parameters of questions about issues; all faults are reported at once, each with its field."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from nexus.contracts.error_records import LEVELS
from nexus.issues.types import (
    FACETS,
    GROUPS,
    ME,
    NOBODY,
    SORTS,
    STATUSES,
    UNRESOLVED,
    IssuesQuestion,
    SeriesQuestion,
    Sort,
)
from nexus.metering.parameters import Parameters, Reader
from nexus.platform.web.pages import MAX_LIMIT, decode_cursor

MAX_WORDS_CHARS = 500
_FILTERS = ("status", "level", "category", "severity", "assignee", *FACETS)
_UNITS = {"1h": "hour", "1d": "day"}
_LONGEST = {"1h": timedelta(days=32), "1d": timedelta(days=732)}


def _reader(parameters: Parameters, now: datetime, *filters: str) -> Reader:
    return Reader(parameters, now, columns={name: name for name in filters})


def _limit(reader: Reader) -> int:
    text = reader.one("limit")
    if text is None:
        return 50
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MAX_LIMIT:
        return int(text[:6])
    reader.fault("limit", f"give a whole number from 1 to {MAX_LIMIT}")
    return 50


def read_issues(parameters: Parameters, now: datetime, user_id: UUID | None) -> IssuesQuestion:
    """Read the parameters of the list of issues; `user_id` is who `me` stands for."""
    reader = _reader(parameters, now, *_FILTERS)
    chosen = {item.dimension: tuple(value for value in item.values if value) for item in reader.filters()}
    seen_from, seen_to = reader.instant("from"), reader.instant("to")
    chosen_sort = reader.choice("sort", SORTS)
    sort: Sort = next((one for one in SORTS if one == chosen_sort), "-last_seen")
    limit, cursor, words = _limit(reader), reader.one("cursor"), reader.one("q")
    if words is not None and (len(words) > MAX_WORDS_CHARS or "\x00" in words):
        reader.fault("q", f"give at most {MAX_WORDS_CHARS} characters, without NUL")
    statuses = _choices(reader, "status", chosen, (*STATUSES, UNRESOLVED))
    if UNRESOLVED in statuses:
        statuses = tuple(dict.fromkeys([*(one for one in statuses if one != UNRESOLVED), "open", "regressed"]))
    levels = _choices(reader, "level", chosen, LEVELS)
    severities = _choices(reader, "severity", chosen, ("1", "2", "3", "4", "5"))
    assignees, nobodys = [], False
    for text in chosen.get("assignee", ()):
        if text == NOBODY:
            nobodys = True
        elif text == ME:
            # A key is nobody's assignee: nothing is found.
            assignees.append(user_id or UUID(int=0))
        else:
            try:
                assignees.append(UUID(text))
            except ValueError:
                reader.fault("assignee", f"give the id of a member, `{ME}` or `{NOBODY}`")
    reader.finish()
    after: tuple[datetime | int, UUID] | None = None
    if cursor:
        is_count = sort == "-occurrences"
        after = decode_cursor(cursor, tuple[int, UUID]) if is_count else decode_cursor(cursor, tuple[datetime, UUID])
    return IssuesQuestion(
        statuses=statuses,
        levels=levels,
        categories=chosen.get("category", ()),
        severities=tuple(map(int, severities)),
        facets=tuple((name, chosen[name]) for name in FACETS if chosen.get(name)),
        assignees=tuple(assignees),
        includes_nobodys=nobodys,
        words=words,
        seen_from=seen_from,
        seen_to=seen_to,
        sort=sort,
        after=after,
        limit=limit,
    )


def _choices(
    reader: Reader, name: str, chosen: dict[str, tuple[str, ...]], allowed: tuple[str, ...]
) -> tuple[str, ...]:
    values = chosen.get(name, ())
    if not set(values) <= set(allowed):
        reader.fault(name, f"give some of {', '.join(allowed)}")
    return values


def read_series(parameters: Parameters, now: datetime, issue_id: UUID | None = None) -> SeriesQuestion:
    """Read the parameters of errors over time."""
    reader = _reader(parameters, now)
    start, end = reader.range()
    interval = reader.choice("interval", tuple(_UNITS)) or "1h"
    group_by = reader.choice("group_by", GROUPS if issue_id is None else ("level", "environment"))
    if end - start > _LONGEST[interval]:
        reader.fault("from", f"give at most {_LONGEST[interval].days} days with interval {interval}")
    reader.finish()
    return SeriesQuestion(
        start=start, end=end, unit="hour" if interval == "1h" else "day", group_by=group_by, issue_id=issue_id
    )


def read_samples(parameters: Parameters, now: datetime) -> tuple[int, tuple[datetime, UUID] | None]:
    """Read the parameters of an issue's samples: how many, and after which."""
    reader = _reader(parameters, now)
    limit, cursor = _limit(reader), reader.one("cursor")
    reader.finish()
    return limit, decode_cursor(cursor, tuple[datetime, UUID]) if cursor else None
