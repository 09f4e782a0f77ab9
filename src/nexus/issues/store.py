"""Runs the SQL about issues: named statements from `sql/`, the list, which depends on the question, written here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from nexus.contracts.error_records import ERROR_COLUMN_TYPES
from nexus.issues.types import IssuesQuestion
from nexus.metering.statements import Statement
from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.issues")
Row = asyncpg.Record
T = TypeVar("T")
_NOT_SHOWN = {"ordinal", "organization_id", "is_opaque", "key_at", "rule", "normalised"}
MOST_LISTED = 1_000
"""Issues that a filter may name one by one; where more fit, each issue of the list is looked at in the list's order."""
SAMPLE_FIELDS = tuple(name for name in ERROR_COLUMN_TYPES if name not in _NOT_SHOWN)
_OWN_FIELDS = (
    "id, title, error_type, culprit, status, level, category, severity, impact_level, service, environment, service_version,"
    " occurrences, first_seen, last_seen, assignee_id, status_changed_at, resolved_at, resolved_by, resolution_notes,"
    " regressions, merged_into"
)
_FIELDS = ", ".join(f"i.{name.strip()}" for name in _OWN_FIELDS.split(","))
_WITH_PERSON = (
    f"SELECT {_FIELDS}, u.name AS assignee_name, u.email AS assignee_email\n"
    "FROM issues.issues AS i LEFT JOIN identity.users AS u ON u.id = i.assignee_id\n"
)
# Not EXISTS: that becomes a join of everything that fits, where the first few in the list's order are wanted.
_OF_SOME_CAUSE = "(SELECT true FROM issues.causes AS c"
_IS_OF_ISSUE = "c.organization_id = i.organization_id AND c.issue_id = i.id"


async def rows(connection: Connection, query: str, *arguments: object) -> list[Row]:
    """Run a named query and return its rows."""
    return list(await connection.fetch(QUERIES[query], *arguments))


async def many(connection: Connection, kind: type[T], query: str, *arguments: object) -> list[T]:
    """Run a named query and return its rows as a type."""
    return [msgspec.convert(dict(row), kind) for row in await connection.fetch(QUERIES[query], *arguments)]


async def value(connection: Connection, query: str, *arguments: object) -> Any:
    """Run a named query and return the first value of its first row."""
    return await connection.fetchval(QUERIES[query], *arguments)


async def run(connection: Connection, query: str, *arguments: object) -> None:
    """Run a named statement."""
    await connection.execute(QUERIES[query], *arguments)


async def read_issues(connection: Connection, organization_id: UUID, question: IssuesQuestion) -> list[Row]:
    """Return one issue more than the limit, in the question's order: the one more tells that there is a next page."""
    statement = Statement()
    bind = statement.bind
    owner = bind(organization_id, "uuid")
    parts = [f"i.organization_id = {owner}", "i.merged_into IS NULL"]
    for column, wanted, cast in (
        ("status", question.statuses, "text[]"),
        ("level", question.levels, "text[]"),
        ("category", question.categories, "text[]"),
        ("severity", question.severities, "smallint[]"),
    ):
        if wanted:
            parts.append(f"i.{column} = ANY ({bind(list(wanted), cast)})")
    for facet, values in question.facets:
        # The issue's own column is its newest error's, and is right before folding has been there.
        own = f"i.{facet} = ANY ({bind(list(values), 'text[]')}) OR " if facet != "application" else ""
        found = await _listed(connection, "seen_there", organization_id, facet, list(values))
        if found is not None:
            parts.append(f"({own}i.id = ANY ({bind(found, 'uuid[]')}))")
            continue
        named = bind(list(values), "text[]")
        parts.append(
            f"({own}{_OF_SOME_CAUSE} JOIN issues.facets AS f USING (organization_id, fingerprint)\n"
            f"    WHERE {_IS_OF_ISSUE} AND f.facet = {bind(facet, 'text')} AND f.value = ANY ({named}) LIMIT 1))"
        )
    if question.assignees or question.includes_nobodys:
        whose = [f"i.assignee_id = ANY ({bind(list(question.assignees), 'uuid[]')})"] if question.assignees else []
        whose += ["i.assignee_id IS NULL"] if question.includes_nobodys else []
        parts.append(f"({' OR '.join(whose)})")
    if question.words is not None:
        found = await _listed(connection, "with_words", question.words)
        parts.append(
            f"i.id = ANY ({bind(found, 'uuid[]')})"
            if found is not None
            else f"{_OF_SOME_CAUSE} WHERE {_IS_OF_ISSUE}\n"
            f"    AND c.search @@ websearch_to_tsquery('simple', {bind(question.words, 'text')}) LIMIT 1)"
        )
    if question.seen_from is not None:
        parts.append(f"i.last_seen >= {bind(question.seen_from, 'timestamptz')}")
    if question.seen_to is not None:
        parts.append(f"i.last_seen < {bind(question.seen_to, 'timestamptz')}")
    column = question.sort.removeprefix("-")
    if question.after is not None:
        cast = "bigint" if column == "occurrences" else "timestamptz"
        parts.append(f"(i.{column}, i.id) < ({bind(question.after[0], cast)}, {bind(question.after[1], 'uuid')})")
    page: list[Row] = await connection.fetch(
        f"{_WITH_PERSON}WHERE {' AND '.join(parts)}\n"
        f"ORDER BY i.{column} DESC, i.id DESC LIMIT {bind(question.limit + 1, 'integer')}",
        *statement.arguments,
    )
    return page


async def _listed(connection: Connection, query: str, *arguments: object) -> list[UUID] | None:
    """Return the issues that a named query finds; None where they are too many to be named."""
    found = await rows(connection, query, *arguments, MOST_LISTED + 1)
    return None if len(found) > MOST_LISTED else list(dict.fromkeys(row["issue_id"] for row in found))


async def read_issue(connection: Connection, organization_id: UUID, issue_id: UUID) -> Row | None:
    """Return one issue, a merged one too."""
    row: Row | None = await connection.fetchrow(
        f"{_WITH_PERSON}WHERE i.organization_id = $1 AND i.id = $2", organization_id, issue_id
    )
    return row


async def read_samples(
    connection: Connection,
    organization_id: UUID,
    issue_id: UUID,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Row]:
    """Return one sample more than the limit, the newest first."""
    at, sample_id = after or (None, None)
    fields = ", ".join(f"s.{name}" for name in SAMPLE_FIELDS)
    found: list[Row] = await connection.fetch(
        f"SELECT {fields} FROM issues.causes AS c JOIN issues.samples AS s USING (organization_id, fingerprint)\n"
        "WHERE c.organization_id = $1 AND c.issue_id = $2\n"
        "  AND ($3::timestamptz IS NULL OR (s.occurred_at, s.id) < ($3, $4::uuid))\n"
        "ORDER BY s.occurred_at DESC, s.id DESC LIMIT $5",
        organization_id,
        issue_id,
        at,
        sample_id,
        limit + 1,
    )
    return found


async def add_events(
    connection: Connection,
    organization_id: UUID,
    ids: Sequence[UUID],
    issue_ids: Sequence[UUID],
    at: datetime,
    kind: str,
    actor: str,
    detail: dict[str, Any],
) -> None:
    """Write what happened to some issues."""
    await run(connection, "add_event", organization_id, list(ids), list(issue_ids), at, kind, actor, detail)


async def drop_old_months(connection: Connection, table: str, before: datetime) -> int:
    """Drop a table's months that ended before an instant; returns how many."""
    await connection.execute("SET LOCAL lock_timeout = '2s'")
    dropped: int = await value(connection, "drop_old_months", table, before)
    return dropped
