"""Sign-in sessions: opened, listed, ended, confirmed again. The cookie's token is stored as its SHA-256 only."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from nexus.contracts.keys import key_hash
from nexus.identity import lockout, store
from nexus.identity.errors import ReauthenticationRequired, SessionEnded
from nexus.identity.passwords import verify_password
from nexus.identity.types import Principal, SignedIn
from nexus.kit.errors import FieldFault, Forbidden, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Actor, Connection, Database
from nexus.platform.db.configuration import Configuration, get_configuration


async def open_session(
    connection: Connection,
    user_id: UUID,
    actor: Actor,
    at: datetime,
    settings: Configuration,
    *,
    method: str = "password",
    is_mfa_verified: bool = False,
    replaces: str | None = None,
    device: str | None = None,
) -> SignedIn:
    """Open a session under a new token, as nexus_system.

    The session whose token the browser sent before (`replaces`) ends: nobody who planted or kept that token comes in by
    this sign-in. The browser becomes a known device of the person.
    """
    if replaces:
        await store.run(connection, "revoke_session_by_token", key_hash(replaces), at)
    token, session_id = secrets.token_urlsafe(32), uuid7()
    expires_at = at + timedelta(hours=settings.integer("auth.session_timeout_hours"))
    await store.run(
        connection, "insert_session", session_id, user_id, key_hash(token), at, expires_at,
        settings.integer("auth.session_idle_minutes") * 60, actor.ip, (actor.user_agent or "")[:500] or None,
        method, is_mfa_verified,
    )  # fmt: skip
    await store.run(connection, "count_login", user_id, at)
    await store.log_security(connection, "sign_in", "LOW", user_id, actor, {"method": method})
    user = await store.user_by_id(connection, user_id)
    assert user is not None
    return SignedIn(token, session_id, expires_at, user, await know_device(connection, user_id, device, at))


async def know_device(connection: Connection, user_id: UUID, device: str | None, at: datetime) -> str:
    """Make the browser a known device of a person, as nexus_system; returns the token its cookie is to carry."""
    token = device if device is not None and 40 <= len(device) <= 64 else secrets.token_urlsafe(32)
    await store.run(connection, "know_device", uuid7(), key_hash(token), user_id, at)
    return token


async def end_session(connection: Connection, user_id: UUID, session_id: UUID, at: datetime) -> bool:
    """End one session, as nexus_system; tells whether it was live."""
    return await store.run(connection, "revoke_session", user_id, session_id, at) > 0


async def end_sessions(connection: Connection, user_id: UUID, at: datetime, keep: UUID | None = None) -> int:
    """End all sessions of a person (but one, if given), as nexus_system; returns how many."""
    return await store.run(connection, "revoke_sessions", user_id, keep, at)


async def require_recent(connection: Connection, principal: Principal, at: datetime) -> None:
    """Raise `ReauthenticationRequired` unless the person proved lately who they are, as nexus_system."""
    if principal.session_id is None:
        raise Forbidden("a key has no account: sign in")
    window = timedelta(minutes=(await get_configuration(connection)).integer("auth.reauthentication_minutes"))
    proven_at = await store.value(connection, "session_authenticated_at", principal.session_id)
    if proven_at is None or at - proven_at > window:
        raise ReauthenticationRequired(faults=[FieldFault("password", "give it to POST /api/identity/me/confirm")])


async def prove_password(
    database: Database, principal: Principal, password: str, *, field: str, actor: Actor, at: datetime
) -> None:
    """Raise unless this is the person's password. Guesses by a session that somebody left open are counted."""
    assert principal.user_id is not None
    async with database.as_system(actor) as connection:
        rules = lockout.Rules.of(await get_configuration(connection))
        stored = await store.value(connection, "password_hash", principal.user_id)
        attempt = await lockout.begin(
            connection, lockout.subject_of_user(principal.user_id), f"session:{principal.session_id}", rules, at
        )
    attempt.refuse_if_locked(at)
    if stored is None:
        message = "the account has none: sign in again through your provider"
        raise InvalidRequest(f"{field}: {message}", faults=[FieldFault(field, message)])
    fits = await verify_password(stored, password)
    async with database.as_system(actor) as connection:
        if fits:
            await attempt.succeed(connection)
            return
        until = await attempt.fail(connection, at)
        await store.log_security(connection, "wrong_password", "MEDIUM", principal.user_id, actor, {})
    if until is not None:
        raise lockout.locked(until, at)
    raise InvalidRequest(f"{field}: it is wrong", faults=[FieldFault(field, "it is wrong")])


async def confirm(connection: Connection, principal: Principal, actor: Actor, at: datetime) -> tuple[str, datetime]:
    """Write down that the person has just proven who they are, as nexus_system.

    The session goes on under a new token, returned with when the session ends; the old token is worth nothing any more.
    """
    token = secrets.token_urlsafe(32)
    expires_at = await store.value(connection, "confirm_session", principal.session_id, key_hash(token), at)
    if expires_at is None:
        raise SessionEnded
    await store.log_security(connection, "reauthenticated", "LOW", principal.user_id, actor, {})
    return token, expires_at
