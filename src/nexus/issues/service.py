"""Use cases of issues: finding them, looking at one, and deciding what is to become of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from nexus.issues import store
from nexus.issues.errors import CannotSplit, IssueMerged, IssueNotFound, UnknownAssignee
from nexus.issues.types import (
    FACETS,
    TREND_HOURS,
    Cause,
    Event,
    FacetValue,
    Issue,
    IssuePage,
    IssuesQuestion,
    Person,
    SeriesQuestion,
    Status,
)
from nexus.kit.errors import FieldFault
from nexus.kit.ids import uuid7
from nexus.platform.db import Actor, Connection

MAX_CAUSES = 200
MAX_EVENTS = 200
MAX_FACET_VALUES = 20
MAX_MET = 10_000
"""People an issue met that are counted; of more it is said that there are more."""
MAX_VALUES = 200
HOUR = timedelta(hours=1)
_EVENT_OF: dict[Status, str] = {"resolved": "resolved", "ignored": "ignored", "open": "reopened"}
Key = tuple[datetime | int, UUID]


def hour_of(at: datetime) -> datetime:
    """Return the hour of UTC that an instant is in."""
    return at.replace(minute=0, second=0, microsecond=0)


def _issue(row: store.Row, waiting: store.Row | None, trend: list[int]) -> Issue:
    assignee = None
    if row["assignee_id"] is not None and row["assignee_email"] is not None:
        assignee = Person(row["assignee_id"], row["assignee_name"], row["assignee_email"])
    more, first_seen, last_seen = 0, row["first_seen"], row["last_seen"]
    if waiting is not None:
        more = waiting["occurrences"]
        first_seen, last_seen = min(first_seen, waiting["first_seen"]), max(last_seen, waiting["last_seen"])
    plain = {
        name: row[name]
        for name in Issue.__struct_fields__
        if name not in {"assignee", "occurrences", "first_seen", "last_seen", "trend"}
    }
    return Issue(
        **plain,
        occurrences=row["occurrences"] + more,
        first_seen=first_seen,
        last_seen=last_seen,
        assignee=assignee,
        trend=trend,
    )


async def _shown(
    connection: Connection, organization_id: UUID, rows: Sequence[store.Row], now: datetime
) -> list[Issue]:
    """Add to issues what waits in the journal, and their trend."""
    ids = [row["id"] for row in rows]
    if not ids:
        return []
    end = hour_of(now) + HOUR
    start = end - TREND_HOURS * HOUR
    waiting = {row["issue_id"]: row for row in await store.rows(connection, "waiting", organization_id, ids)}
    trends = {issue_id: [0] * TREND_HOURS for issue_id in ids}
    for row in await store.rows(connection, "trends", organization_id, ids, start, end):
        trends[row["issue_id"]][(row["hour"] - start) // HOUR] = row["occurrences"]
    return [_issue(row, waiting.get(row["id"]), trends[row["id"]]) for row in rows]


async def find_issues(
    connection: Connection, organization_id: UUID, question: IssuesQuestion, now: datetime
) -> tuple[list[Issue], Key | None]:
    """Return a page of issues, and the last one's place in their order when there are more."""
    rows = await store.read_issues(connection, organization_id, question)
    page = rows[: question.limit]
    last = None
    if len(rows) > question.limit:
        last = (page[-1][question.sort.removeprefix("-")], page[-1]["id"])
    return await _shown(connection, organization_id, page, now), last


async def get_issue(connection: Connection, organization_id: UUID, issue_id: UUID, now: datetime) -> Issue:
    """Return one issue, a merged one too."""
    row = await store.read_issue(connection, organization_id, issue_id)
    if row is None:
        raise IssueNotFound
    return (await _shown(connection, organization_id, [row], now))[0]


async def get_page(connection: Connection, organization_id: UUID, issue_id: UUID, now: datetime) -> IssuePage:
    """Return all about one issue but its samples."""
    issue = await get_issue(connection, organization_id, issue_id, now)
    causes = await store.many(connection, Cause, "causes", organization_id, issue_id, MAX_CAUSES)
    facets: dict[str, list[FacetValue]] = {name: [] for name in FACETS}
    for row in await store.rows(connection, "facets", organization_id, issue_id, MAX_FACET_VALUES, list(FACETS)):
        facets[row["facet"]].append(FacetValue(row["value"], row["occurrences"], row["first_seen"], row["last_seen"]))
    met = (await store.rows(connection, "count_met", organization_id, issue_id, MAX_MET))[0]
    events = await store.many(connection, Event, "events", organization_id, issue_id, MAX_EVENTS)
    return IssuePage(issue, causes, facets, met["met"], met["has_more"], events)


async def samples(
    connection: Connection,
    organization_id: UUID,
    issue_id: UUID,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> tuple[list[dict[str, Any]], tuple[datetime, UUID] | None]:
    """Return a page of an issue's samples, newest first, and the last one's place when there are more."""
    if await store.read_issue(connection, organization_id, issue_id) is None:
        raise IssueNotFound
    rows = await store.read_samples(connection, organization_id, issue_id, after, limit)
    page = rows[:limit]
    last = (page[-1]["occurred_at"], page[-1]["id"]) if len(rows) > limit else None
    return [_sample(row) for row in page], last


def _sample(row: store.Row) -> dict[str, Any]:
    shown = {name: row[name] for name in store.SAMPLE_FIELDS}
    shown["timestamp"] = shown.pop("occurred_at")
    shown["user"] = shown.pop("user_ref")
    shown["ip_address"] = None if row["ip_address"] is None else str(row["ip_address"])
    return {name: None if value == "" else value for name, value in shown.items()}


async def values(connection: Connection, organization_id: UUID) -> dict[str, list[str]]:
    """Return what issues can be filtered by: the values there are, the first of each in alphabetical order."""
    found = {
        facet: [
            row["value"] for row in await store.rows(connection, "facet_values", organization_id, facet, MAX_VALUES)
        ]
        for facet in FACETS
    }
    found["category"] = [
        row["value"] for row in await store.rows(connection, "categories", organization_id, MAX_VALUES)
    ]
    return found


async def series(connection: Connection, organization_id: UUID, question: SeriesQuestion) -> list[dict[str, Any]]:
    """Return how many errors there were in each hour or day of UTC, those without any left out."""
    between = (hour_of(question.start), question.end)
    if question.issue_id is not None:
        if await store.read_issue(connection, organization_id, question.issue_id) is None:
            raise IssueNotFound
        rows = await store.rows(
            connection, "series_of_issue", organization_id, question.issue_id, *between, question.unit
        )
    else:
        rows = await store.rows(
            connection, "series_of_all", organization_id, *between, question.unit, question.group_by
        )
    apart = question.group_by if question.issue_id is not None else "apart"
    counts: dict[tuple[datetime, str], int] = {}
    for row in rows:
        key = (row["at"], row[apart] if apart else "")
        counts[key] = counts.get(key, 0) + row["occurrences"]
    return [
        {"at": at, **({question.group_by: group} if question.group_by else {}), "errors": count}
        for (at, group), count in sorted(counts.items())
    ]


async def _lock(connection: Connection, organization_id: UUID, ids: Sequence[UUID]) -> list[store.Row]:
    """Lock issues that are to be changed. All must be there, and none merged."""
    rows = await store.rows(connection, "lock_issues", organization_id, list(ids))
    missing = set(ids) - {row["id"] for row in rows}
    if missing:
        named = ", ".join(sorted(map(str, missing))[:5])
        raise IssueNotFound(f"there is no issue {named} in this organization", faults=[FieldFault("ids", named)])
    merged = next((row for row in rows if row["merged_into"] is not None), None)
    if merged is not None:
        raise IssueMerged(
            f"the issue {merged['id']} was merged into {merged['merged_into']}", merged_into=merged["merged_into"]
        )
    return rows


async def _note_down(
    connection: Connection,
    organization_id: UUID,
    ids: Sequence[UUID],
    kind: str,
    actor: Actor,
    now: datetime,
    detail: dict[str, Any],
) -> None:
    """Write what somebody did into the issues' history and into the audit log."""
    if ids:
        await store.add_events(connection, organization_id, [uuid7() for _ in ids], ids, now, kind, actor.label, detail)
    for issue_id in ids:
        await store.run(connection, "record_issue_action", f"issue_{kind}", str(issue_id), detail)


async def set_status(
    connection: Connection,
    organization_id: UUID,
    ids: Sequence[UUID],
    status: Status,
    *,
    notes: str,
    actor: Actor,
    now: datetime,
) -> None:
    """Resolve, ignore or open issues; those that are so already stay as they are."""
    changed = [row["id"] for row in await _lock(connection, organization_id, ids) if row["status"] != status]
    await store.run(connection, "set_status", organization_id, changed, status, now, actor.label, notes)
    detail = {"notes": notes} if notes else {}
    await _note_down(connection, organization_id, changed, _EVENT_OF[status], actor, now, detail)


async def assign(
    connection: Connection,
    organization_id: UUID,
    ids: Sequence[UUID],
    assignee_id: UUID | None,
    *,
    actor: Actor,
    now: datetime,
) -> None:
    """Give issues to a member, or to nobody."""
    person = None
    if assignee_id is not None:
        found = await store.many(connection, Person, "find_person", organization_id, assignee_id)
        if not found:
            raise UnknownAssignee(faults=[FieldFault("assignee_id", "name a member of this organization")])
        person = found[0]
    changed = [row["id"] for row in await _lock(connection, organization_id, ids) if row["assignee_id"] != assignee_id]
    await store.run(connection, "assign", organization_id, changed, assignee_id)
    detail = {"to": None if person is None else str(person.id), "name": None if person is None else person.name}
    await _note_down(connection, organization_id, changed, "assigned", actor, now, detail)


async def note(
    connection: Connection, organization_id: UUID, issue_id: UUID, text: str, *, actor: Actor, now: datetime
) -> None:
    """Add a note to an issue."""
    await _lock(connection, organization_id, [issue_id])
    await _note_down(connection, organization_id, [issue_id], "note", actor, now, {"text": text})


async def merge(
    connection: Connection, organization_id: UUID, into: UUID, ids: Sequence[UUID], *, actor: Actor, now: datetime
) -> None:
    """Merge issues into another: its causes are theirs too from then on, and its history holds theirs."""
    others = [issue_id for issue_id in dict.fromkeys(ids) if issue_id != into]
    await store.run(connection, "lock_causes")
    await _lock(connection, organization_id, [into, *others])
    if not others:
        return
    found = [await store.read_issue(connection, organization_id, one) for one in others]
    titles = [row["title"] for row in found if row is not None]
    await store.run(connection, "move_causes", organization_id, others, into)
    await store.run(connection, "move_events", organization_id, others, into)
    await store.run(connection, "mark_merged", organization_id, others, into)
    await store.run(connection, "count_again", organization_id, into)
    detail = {"issues": [str(issue_id) for issue_id in others], "titles": titles}
    await _note_down(connection, organization_id, [into], "merged", actor, now, detail)


async def split(
    connection: Connection,
    organization_id: UUID,
    issue_id: UUID,
    fingerprints: Sequence[UUID],
    *,
    actor: Actor,
    now: datetime,
) -> UUID:
    """Make an issue of its own of some of an issue's causes; returns its id."""
    await store.run(connection, "lock_causes")
    await _lock(connection, organization_id, [issue_id])
    causes = await store.rows(connection, "causes", organization_id, issue_id, None)
    have, wanted = {row["fingerprint"] for row in causes}, set(fingerprints)
    if not wanted or not wanted < have:
        message = "name causes of this issue, but not all of them"
        raise CannotSplit(message, faults=[FieldFault("fingerprints", message)])
    made = uuid7()
    moved = sorted(wanted, key=str)
    await store.run(connection, "insert_split", organization_id, issue_id, moved, made)
    await store.run(connection, "move_some_causes", organization_id, issue_id, moved, made)
    for one in (issue_id, made):
        await store.run(connection, "count_again", organization_id, one)
    said = [str(fingerprint) for fingerprint in moved]
    await _note_down(connection, organization_id, [issue_id], "split", actor, now, {"into": str(made), "causes": said})
    await _note_down(connection, organization_id, [made], "split", actor, now, {"from": str(issue_id), "causes": said})
    return made
