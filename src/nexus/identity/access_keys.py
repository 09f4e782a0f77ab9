"""Access keys: made from 256 random bits, shown once, recognised by their SHA-256."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta
from uuid import UUID

from nexus.contracts.keys import key_hash
from nexus.identity import store
from nexus.identity.errors import CannotGrant, UnknownAccessKey
from nexus.identity.types import ALL, AccessKey, NewAccessKey, Principal
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Connection

PREFIX_LENGTH = 11
DEFAULT_OVERLAP = timedelta(hours=24)
_FORM = re.compile(r"nx_[A-Za-z0-9_\-]{37,253}")


def generate() -> str:
    """Make a new key's text."""
    return "nx_" + secrets.token_urlsafe(32)


def is_well_formed(text: str) -> bool:
    """Tell whether a text may be an access key at all."""
    return _FORM.fullmatch(text) is not None


async def _check_scopes(connection: Connection, scopes: list[str], creator: Principal | None) -> None:
    known = {item.name for item in await store.list_permissions(connection)} | {ALL}
    unknown = sorted(set(scopes) - known)
    if not scopes or unknown:
        message = f"unknown: {', '.join(unknown)[:200]}" if unknown else "give at least one scope"
        raise InvalidRequest(
            f"scopes: {message}; see /api/identity/permissions", faults=[FieldFault("scopes", message)]
        )
    if creator is not None and not creator.holds_all(frozenset(scopes)):
        lacking = sorted(set(scopes) - creator.permissions)
        message = f"you do not hold {', '.join(lacking)}"
        raise CannotGrant(message, faults=[FieldFault("scopes", message)])


async def create(
    connection: Connection,
    organization_id: UUID,
    *,
    name: str,
    scopes: list[str],
    at: datetime,
    application: str = "",
    user_id: UUID | None = None,
    rate_limit_per_minute: int | None = None,
    expires_at: datetime | None = None,
    creator: Principal | None = None,
    text: str | None = None,
    rotated_from: UUID | None = None,
) -> NewAccessKey:
    """Make a key. It is in the answer and nowhere else. A creator gives no scope it does not hold itself."""
    await _check_scopes(connection, scopes, creator)
    if expires_at is not None and expires_at <= at:
        raise InvalidRequest("expires_at lies in the past", faults=[FieldFault("expires_at", "give a later instant")])
    key = text or generate()
    key_id = uuid7()
    await store.run(
        connection, "insert_key", key_id, organization_id, name, key[:PREFIX_LENGTH], key_hash(key),
        sorted(set(scopes)), application, user_id, rate_limit_per_minute, expires_at, rotated_from,
        creator.user_id if creator else None,
    )  # fmt: skip
    made = await get(connection, organization_id, key_id)
    return NewAccessKey(key, made)


async def get(connection: Connection, organization_id: UUID, key_id: UUID) -> AccessKey:
    """Return a key of the organization."""
    found = await store.one(connection, AccessKey, "key_by_id", organization_id, key_id)
    if found is None:
        raise UnknownAccessKey
    return found


async def rotate(
    connection: Connection,
    organization_id: UUID,
    key_id: UUID,
    *,
    at: datetime,
    overlap: timedelta = DEFAULT_OVERLAP,
    creator: Principal | None = None,
) -> NewAccessKey:
    """Make a successor with the same scopes; the old key works on for the overlap, then never again."""
    old = await get(connection, organization_id, key_id)
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= at):
        raise InvalidRequest(
            "a key that has ended cannot be rotated; make a new one", faults=[FieldFault("id", "ended")]
        )
    made = await create(
        connection, organization_id, name=old.name, scopes=old.scopes, at=at, application=old.application,
        user_id=old.user_id, rate_limit_per_minute=old.rate_limit_per_minute,
        creator=creator, rotated_from=old.id,
    )  # fmt: skip
    await store.run(connection, "expire_key", organization_id, key_id, at + overlap)
    return made


async def revoke(connection: Connection, organization_id: UUID, key_id: UUID, *, at: datetime) -> AccessKey:
    """End a key now; in force in every process within a second. Revoking again changes nothing."""
    await store.run(connection, "revoke_key", organization_id, key_id, at)
    return await get(connection, organization_id, key_id)
