"""Who asks, and what they may do: the one place where a cookie or a key becomes a principal with permissions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from nexus.contracts.keys import key_hash
from nexus.identity import store
from nexus.identity.errors import SessionEnded, UnknownOrganization
from nexus.identity.types import ALL, OrganizationChoice, Principal
from nexus.platform.db import Connection


async def principal_of_session(
    connection: Connection, token: str, wanted: str | None, at: datetime
) -> tuple[Principal, list[OrganizationChoice]]:
    """Tell whose a cookie is and what they may do, as nexus_system.

    The organization is the wanted one, else the one the person prefers, else their first. A session that has expired,
    was ended or lay idle for too long raises `SessionEnded`.
    """
    session = await store.row(connection, "session_by_token", key_hash(token), at)
    if session is None:
        raise SessionEnded
    if at - session["last_accessed_at"] > timedelta(minutes=1):
        await store.run(connection, "touch_session", session["id"], at)
    user_id: UUID = session["user_id"]
    choices = await store.organizations_of_user(connection, user_id)
    everywhere = await permissions_of(connection, user_id, None, at)
    chosen = _choose(choices, wanted, session["default_organization"])
    if chosen is None and wanted is not None:
        if ALL not in everywhere:
            raise UnknownOrganization
        found = await store.organization_by_slug(connection, wanted)
        if found is None or not found.is_active:
            raise UnknownOrganization
        organization_id: UUID | None = found.id
    else:
        organization_id = chosen.id if chosen else None
    allowed = everywhere if organization_id is None else await permissions_of(connection, user_id, organization_id, at)
    principal = Principal(
        "user", session["email"], allowed, organization_id=organization_id, user_id=user_id, session_id=session["id"]
    )
    return principal, choices


def _choose(
    choices: list[OrganizationChoice], wanted: str | None, preferred: str | None = None
) -> OrganizationChoice | None:
    if wanted is None:
        found = _choose(choices, preferred) if preferred else None
        return found or (choices[0] if choices else None)
    return next((item for item in choices if wanted in {item.slug, str(item.id)}), None)


def first_organization(choices: list[OrganizationChoice], preferred: object) -> UUID | None:
    """Return where a person is right after signing in."""
    chosen = _choose(choices, None, str(preferred) if preferred else None)
    return chosen.id if chosen else None


async def permissions_of(
    connection: Connection, user_id: UUID, organization_id: UUID | None, at: datetime
) -> frozenset[str]:
    """Decide what a person may do: by membership, by granted roles still in force, by grants that hold everywhere."""
    return await store.permissions_of(connection, user_id, organization_id, at)


async def sessions_that_may(
    connection: Connection, tokens: Collection[bytes], organization_id: UUID, permission: str, at: datetime
) -> frozenset[bytes]:
    """Return which of many sessions, by the hashes of their tokens, are a member's who may do something, as nexus_system.

    One that is missing here may still do it, by a grant that holds everywhere: `principal_of_session` decides.
    """
    rows = await store.rows(connection, "sessions_that_may", list(tokens), organization_id, at, permission)
    return frozenset(row["token_hash"] for row in rows)


async def principal_of_key(connection: Connection, text: str, at: datetime) -> Principal | None:
    """Tell who an access key stands for, as nexus_system; None when it is unknown, expired or revoked."""
    found = await store.row(connection, "key_by_hash", key_hash(text), at)
    if found is None or not found["scopes"]:
        return None
    last = found["last_used_at"]
    if last is None or at - last > timedelta(minutes=1):
        await store.run(connection, "touch_key", found["organization_id"], found["id"], at)
    return Principal(
        "key",
        f"{found['name']} ({found['prefix']}…)",
        frozenset(found["scopes"]),
        organization_id=found["organization_id"],
        user_id=found["user_id"],
        key_id=found["id"],
    )
