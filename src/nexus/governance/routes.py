"""`/api/governance`: the audit log."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Router, get
from litestar.params import FromQuery, QueryParameter
from litestar.response import Stream

from nexus.governance import store
from nexus.governance.store import AuditFilter
from nexus.governance.types import AuditEntry
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.platform.web import Page, check_limit, decode_cursor, page_of, web_state

AnyRequest = Request[Any, Any, Any]
_EXPORT_PAGE = 500


def _aware(value: datetime | None, field: str) -> datetime | None:
    if value is not None and value.tzinfo is None:
        message = "give an offset, such as 2026-01-31T12:00:00Z"
        raise InvalidRequest(f"{field}: {message}", faults=[FieldFault(field, message)])
    return value


def _clean(value: str | None, field: str) -> str | None:
    if value is not None and "\x00" in value:
        raise InvalidRequest(f"{field}: no NUL", faults=[FieldFault(field, "leave the NUL out")])
    return value


def _filter(
    since: datetime | None,
    until: datetime | None,
    table_name: str | None,
    action: str | None,
    row_id: str | None,
    actor_user_id: UUID | None,
    request_id: str | None,
    actor: str | None,
) -> AuditFilter:
    return AuditFilter(
        _aware(since, "from"), _aware(until, "to"), _clean(table_name, "table_name"), _clean(action, "action"),
        _clean(row_id, "row_id"), actor_user_id, _clean(request_id, "request_id"),
        _clean(actor, "actor"),
    )  # fmt: skip


@get("/audit-log", guards=[requires("audit:read")])
async def search(
    request: AnyRequest,
    since: Annotated[datetime | None, QueryParameter(name="from")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to")] = None,
    table_name: FromQuery[str | None] = None,
    action: FromQuery[str | None] = None,
    row_id: FromQuery[str | None] = None,
    actor_user_id: FromQuery[UUID | None] = None,
    request_id: FromQuery[str | None] = None,
    actor: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[AuditEntry]:
    """Search the audit log of the organization, newest first; `actor` is a part of how somebody is called."""
    check_limit(limit)
    wanted = _filter(since, until, table_name, action, row_id, actor_user_id, request_id, actor)
    before = decode_cursor(cursor, tuple[datetime, UUID]) if cursor is not None else None
    database = web_state(request).database
    async with database.tenant(organization_of(request), actor_of(request), readonly=True) as connection:
        found = await store.search(connection, wanted, before, limit + 1)
    return page_of(found, limit, lambda item: (item.occurred_at, item.id))


@get("/audit-log/export", guards=[requires("audit:export")], media_type="text/csv")
async def export(
    request: AnyRequest,
    since: Annotated[datetime | None, QueryParameter(name="from")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to")] = None,
    table_name: FromQuery[str | None] = None,
    action: FromQuery[str | None] = None,
    row_id: FromQuery[str | None] = None,
    actor_user_id: FromQuery[UUID | None] = None,
    request_id: FromQuery[str | None] = None,
    actor: FromQuery[str | None] = None,
) -> Stream:
    """Export the audit log as CSV, newest first; the export itself is written into the log."""
    wanted = _filter(since, until, table_name, action, row_id, actor_user_id, request_id, actor)
    organization_id, who, database = organization_of(request), actor_of(request), web_state(request).database
    async with database.tenant(organization_id, who) as connection:
        await store.record_action(connection, "audit_log_export", "", {"from": since, "to": until})

    async def lines() -> AsyncIterator[bytes]:
        names = [field.name for field in msgspec.structs.fields(AuditEntry)]
        yield _csv([names])
        before: tuple[datetime, UUID] | None = None
        while True:
            # Page by page in short transactions: a slow reader holds no connection.
            async with database.tenant(organization_id, who, readonly=True) as connection:
                found = await store.search(connection, wanted, before, _EXPORT_PAGE)
            if not found:
                return
            yield _csv([[_cell(getattr(item, name)) for name in names] for item in found])
            before = (found[-1].occurred_at, found[-1].id)

    headers = {"content-disposition": 'attachment; filename="audit-log.csv"'}
    return Stream(lines(), media_type="text/csv", headers=headers)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = msgspec.json.encode(value).decode() if isinstance(value, dict) else str(value)
    # A spreadsheet would run these as formulas.
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def _csv(rows: list[list[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


router = Router("/api/governance", route_handlers=[search, export], tags=["governance"])
