"""Identity's SQL. Functions named after their queries; `nexus_system` is needed where the query says so."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from nexus.identity.errors import AlreadyTaken
from nexus.identity.types import (
    AccessKey,
    GrantedRole,
    Invitation,
    Membership,
    Organization,
    OrganizationChoice,
    Permission,
    Role,
    Session,
    User,
)
from nexus.kit.errors import FieldFault
from nexus.kit.ids import uuid7
from nexus.platform.db import Actor, Connection, load_queries

QUERIES = load_queries("nexus.identity")
T = TypeVar("T")

_UNIQUE_FIELDS = {
    "users_email_idx": "email",
    "users_username_idx": "username",
    "organizations_slug_unique": "slug",
    "memberships_pkey": "email",
    "roles_name_unique": "name",
    "sign_in_providers_slug_unique": "slug",
    "linked_identities_once": "provider",
}


def taken(error: asyncpg.UniqueViolationError) -> AlreadyTaken:
    """Say which field somebody else has already."""
    field = _UNIQUE_FIELDS.get(error.constraint_name or "", "id")
    return AlreadyTaken(f"this {field} is taken already", faults=[FieldFault(field, "take another")])


def _build(record: Any, kind: type[T]) -> T:
    names = [field.name for field in msgspec.structs.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: record[name] for name in names})


async def one(connection: Connection, kind: type[T], query: str, *arguments: object) -> T | None:
    """Run a named query and build a struct from its first row."""
    record = await connection.fetchrow(QUERIES[query], *arguments)
    return None if record is None else _build(record, kind)


async def many(connection: Connection, kind: type[T], query: str, *arguments: object) -> list[T]:
    """Run a named query and build a struct from each row."""
    return [_build(record, kind) for record in await connection.fetch(QUERIES[query], *arguments)]


async def row(connection: Connection, query: str, *arguments: object) -> Any:
    """Run a named query and return its first row as it is."""
    return await connection.fetchrow(QUERIES[query], *arguments)


async def rows(connection: Connection, query: str, *arguments: object) -> list[Any]:
    """Run a named query and return its rows."""
    return list(await connection.fetch(QUERIES[query], *arguments))


async def value(connection: Connection, query: str, *arguments: object) -> Any:
    """Run a named query and return the first value of its first row."""
    return await connection.fetchval(QUERIES[query], *arguments)


async def run(connection: Connection, query: str, *arguments: object) -> int:
    """Run a named statement; returns how many rows it changed. A taken name becomes `AlreadyTaken`."""
    try:
        status: str = await connection.execute(QUERIES[query], *arguments)
    except asyncpg.UniqueViolationError as error:
        raise taken(error) from error
    return int(status.rsplit(" ", 1)[-1]) if status[-1].isdigit() else 0


async def permissions_of(
    connection: Connection, user_id: UUID, organization_id: UUID | None, at: datetime
) -> frozenset[str]:
    """Return what a person may do in an organization."""
    records = await connection.fetch(QUERIES["permissions_of"], user_id, organization_id, at)
    return frozenset(record[0] for record in records)


async def insert_user(
    connection: Connection, user_id: UUID, email: str, username: str | None, name: str, timezone: str, locale: str
) -> User:
    """Add a person; `AlreadyTaken` when the address or the username is."""
    try:
        record = await connection.fetchrow(QUERIES["insert_user"], user_id, email, username, name, timezone, locale)
    except asyncpg.UniqueViolationError as error:
        raise taken(error) from error
    return _build(record, User)


async def update_user(connection: Connection, user_id: UUID, **changes: object) -> User | None:
    """Change what is given of a person; None when there is no such person."""
    order = ("name", "username", "timezone", "locale", "image_url", "preferences", "is_active")
    try:
        record = await connection.fetchrow(QUERIES["update_user"], user_id, *(changes.get(name) for name in order))
    except asyncpg.UniqueViolationError as error:
        raise taken(error) from error
    return None if record is None else _build(record, User)


async def insert_organization(connection: Connection, organization_id: UUID, *columns: object) -> Organization:
    """Add an organization: name, slug, plan, tier, currency, reporting zone, billing e-mail."""
    try:
        record = await connection.fetchrow(QUERIES["insert_organization"], organization_id, *columns)
    except asyncpg.UniqueViolationError as error:
        raise taken(error) from error
    return _build(record, Organization)


async def user_by_id(connection: Connection, user_id: UUID) -> User | None:
    """Return a person."""
    return await one(connection, User, "user_by_id", user_id)


async def organization_by_slug(connection: Connection, slug: str) -> Organization | None:
    """Return an organization by slug, or by its id as text."""
    return await one(connection, Organization, "organization_by_slug", slug)


async def organizations_of_user(connection: Connection, user_id: UUID) -> list[OrganizationChoice]:
    """Return the organizations a person belongs to, the oldest membership first."""
    return await many(connection, OrganizationChoice, "organizations_of_user", user_id)


def _member(record: Any) -> Membership:
    return _build({**record, "roles": msgspec.convert(record["roles"], list[GrantedRole])}, Membership)


async def list_members(connection: Connection, organization_id: UUID, at: datetime) -> list[Membership]:
    """Return the members of an organization, with the granted roles in force."""
    return [_member(record) for record in await connection.fetch(QUERIES["list_members"], organization_id, at)]


async def member(connection: Connection, organization_id: UUID, user_id: UUID, at: datetime) -> Membership | None:
    """Return one member of an organization."""
    record = await connection.fetchrow(QUERIES["member"], organization_id, user_id, at)
    return None if record is None else _member(record)


async def list_sessions(
    connection: Connection, user_id: UUID, at: datetime, current: UUID | None = None
) -> list[Session]:
    """Return the live sessions of a person, and which is the current one."""
    return await many(connection, Session, "list_sessions", user_id, at, current)


async def log_security(
    connection: Connection,
    event: str,
    severity: str,
    user_id: UUID | None,
    actor: Actor,
    detail: dict[str, Any],
    organization_id: UUID | None = None,
) -> None:
    """Write a line of the security log, as nexus_system. The detail must hold no secret."""
    agent = (actor.user_agent or "")[:500] or None
    await run(connection, "log_security", uuid7(), organization_id, event, severity, user_id, actor.ip, agent, detail)


async def list_roles(connection: Connection) -> list[Role]:
    """Return built-in roles and the organization's own."""
    return await many(connection, Role, "list_roles")


async def list_permissions(connection: Connection) -> list[Permission]:
    """Return every permission there is."""
    return await many(connection, Permission, "list_permissions")


async def list_keys(
    connection: Connection, organization_id: UUID, before: UUID | None, with_revoked: bool, limit: int
) -> list[AccessKey]:
    """Return access keys, newest first."""
    return await many(connection, AccessKey, "list_keys", organization_id, before, with_revoked, limit)


async def list_invitations(connection: Connection, organization_id: UUID) -> list[Invitation]:
    """Return invitations, newest first."""
    return await many(connection, Invitation, "list_invitations", organization_id)
