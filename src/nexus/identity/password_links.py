"""One-time links by which a person sets a new password. An administrator makes and delivers them.

A link is as good as the account, so nobody makes one for an account that can do more than they can: an organization's
administrator only for people who belong to no other organization and hold nothing they lack; a system administrator
for anybody.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from nexus.contracts.keys import key_hash
from nexus.identity import principals, service, sessions, store
from nexus.identity.errors import CannotReset, UnknownUser
from nexus.identity.types import ALL, PasswordLink, Principal
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Actor, Connection

LINK_HOURS = 24


async def check_may_reset(
    connection: Connection, granter: Principal, organization_id: UUID, user_id: UUID, at: datetime
) -> None:
    """Raise `CannotReset` where taking the account over would give the granter more than they hold, as nexus_system."""
    await service.get_member(connection, organization_id, user_id, at)
    if ALL in granter.permissions:
        return
    theirs = await principals.permissions_of(connection, user_id, organization_id, at)
    if not granter.holds_all(theirs) or await store.value(connection, "permissions_beyond", user_id, organization_id):
        raise CannotReset


async def make(
    connection: Connection, user_id: UUID, *, base_url: str, made_by: UUID | None, actor: Actor, at: datetime
) -> PasswordLink:
    """Make a link, as nexus_system; those made before stop working. The token stands behind the `#`: no log sees it."""
    token = secrets.token_urlsafe(32)
    expires_at = at + timedelta(hours=LINK_HOURS)
    await store.run(connection, "delete_password_links", user_id)
    await store.run(connection, "insert_password_link", uuid7(), key_hash(token), user_id, made_by, at, expires_at)
    await store.log_security(connection, "password_link_made", "HIGH", user_id, actor, {})
    return PasswordLink(f"{base_url}/reset-password#token={token}", token, expires_at)


async def use(
    connection: Connection, *, token: str, password: str, actor: Actor, at: datetime, device: str | None = None
) -> str:
    """Set the password a link is for, as nexus_system; returns the token of the device cookie.

    Every session ends, every lock is lifted, and the browser at hand becomes a known device: the way back in for whom
    strangers keep locked. A second factor stays and is asked for at sign-in.
    """
    user_id = await store.value(connection, "use_password_link", key_hash(token), at)
    if user_id is None:
        message = "the link is unknown, used or expired"
        raise InvalidRequest(message, faults=[FieldFault("token", "ask for another")])
    user = await store.user_by_id(connection, user_id)
    if user is None:
        raise UnknownUser
    await service.set_password(connection, user, password)
    await sessions.end_sessions(connection, user_id, at)
    await store.run(connection, "forget_devices", user_id, None)
    await store.run(connection, "delete_password_links", user_id)
    await store.log_security(connection, "password_reset", "HIGH", user_id, actor, {})
    return await sessions.know_device(connection, user_id, device, at)
