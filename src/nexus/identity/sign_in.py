"""Signing in with a password. Whether an account exists, is locked or inactive is told to nobody who cannot enter it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from nexus.contracts.keys import key_hash
from nexus.identity import lockout, second_factor, sessions, store
from nexus.identity.errors import WrongCredentials
from nexus.identity.passwords import hash_password, needs_rehash, verify_password
from nexus.identity.second_factor import Challenge
from nexus.identity.types import SignedIn
from nexus.platform.db import Actor, Connection, Database
from nexus.platform.db.configuration import get_configuration


async def sign_in(
    database: Database,
    *,
    login: str,
    password: str,
    actor: Actor,
    at: datetime,
    device: str | None = None,
    replaces: str | None = None,
) -> SignedIn | Challenge:
    """Open a session for an e-mail address (or username) and password, or ask for the second factor.

    `WrongCredentials` says the same, after the same work, whoever is unknown. `AccountLocked` comes after as many
    failures as system configuration allows, for accounts that do not exist too. `device` is the browser's device
    cookie, `replaces` the session it sent before.
    """
    login = login.replace("\x00", "").strip()[:320]
    async with database.as_system(actor) as connection:
        rules = lockout.Rules.of(await get_configuration(connection))
        found = await store.row(connection, "user_by_login", login)
        user_id: UUID | None = found["id"] if found is not None else None
        attempt = await _begin(connection, user_id, login, device, actor, rules, at)
    attempt.refuse_if_locked(at)
    stored: str | None = found["password_hash"] if found is not None else None
    fits = await verify_password(stored, password)
    better = await hash_password(password) if fits and stored is not None and needs_rehash(stored) else None
    async with database.as_system(actor) as connection:
        if fits and user_id is not None and await store.value(connection, "may_enter", user_id, stored):
            if better is not None:
                await store.run(connection, "rehash_password", user_id, stored, better)
            return await _enter(connection, user_id, attempt, actor, at, device=device, replaces=replaces)
        until = await attempt.fail(connection, at)
        event, severity = ("sign_in_failed", "MEDIUM") if until is None else ("account_locked", "HIGH")
        await store.log_security(connection, event, severity, user_id, actor, {"known": user_id is not None})
    if until is not None:
        raise lockout.locked(until, at)
    raise WrongCredentials


async def _begin(
    connection: Connection,
    user_id: UUID | None,
    login: str,
    device: str | None,
    actor: Actor,
    rules: lockout.Rules,
    at: datetime,
) -> lockout.Attempt:
    """Count the attempt in the lane of the known device it comes from, else of its address."""
    subject = lockout.subject_of_user(user_id) if user_id is not None else lockout.subject_of_login(login)
    known = await store.value(connection, "known_device", key_hash(device or ""), user_id)
    if known is not None:
        return await lockout.begin(connection, subject, f"device:{known}", rules, at)
    return await lockout.begin(connection, subject, lockout.source_of_address(actor.ip), rules, at, wide=True)


async def _enter(
    connection: Connection, user_id: UUID, attempt: lockout.Attempt, actor: Actor, at: datetime, **browser: Any
) -> SignedIn | Challenge:
    if await store.value(connection, "has_second_factor", user_id):
        await attempt.withdraw(connection)
        return await second_factor.challenge(connection, user_id, at)
    await attempt.succeed(connection)
    return await sessions.open_session(connection, user_id, actor, at, await get_configuration(connection), **browser)
