"""Governance's SQL."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from nexus.governance.types import AuditEntry
from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.governance")
_NAMES = tuple(field.name for field in msgspec.structs.fields(AuditEntry))


class AuditFilter(msgspec.Struct, frozen=True):
    """Which lines to find; what is None does not narrow."""

    since: datetime | None = None
    until: datetime | None = None
    table_name: str | None = None
    action: str | None = None
    row_id: str | None = None
    actor_user_id: UUID | None = None
    request_id: str | None = None
    actor: str | None = None
    """A part of how the actor is called, such as an address or a key's name; case does not matter."""


async def search(
    connection: Connection, wanted: AuditFilter, before: tuple[datetime, UUID] | None, limit: int
) -> list[AuditEntry]:
    """Return lines of the transaction's organization, newest first, that come after the cursor."""
    at, row_id = before if before is not None else (None, None)
    records = await connection.fetch(QUERIES["search_audit_log"], *msgspec.structs.astuple(wanted), at, row_id, limit)
    return [AuditEntry(*(record[name] for name in _NAMES)) for record in records]


async def record_action(connection: Connection, action: str, row_id: str, detail: dict[str, object]) -> None:
    """Write an action that changes no row into the audit log of the transaction's organization."""
    await connection.execute(QUERIES["record_action"], action, row_id, detail)
