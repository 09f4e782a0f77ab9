"""Background work of identity: forgetting what is past its time."""

from __future__ import annotations

from datetime import timedelta

from nexus.identity import store
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import Database
from nexus.platform.db.configuration import get_configuration

DEVICE_DAYS = 400
"""How long a browser that is not used is known: as long as browsers keep a cookie at most."""

LINK_DAYS = 30
"""How long a one-time link that has expired is still listed or told apart from an unknown one."""


async def end_expired_roles(database: Database) -> None:
    """Take back granted roles whose time is over, so that every snapshot and open stream hears of it within a second.

    Decisions do not wait for it: a grant counts up to its instant whether or not it has been taken back.
    """
    async with database.as_system() as connection:
        await store.run(connection, "end_expired_roles", SYSTEM_CLOCK.now())


async def forget_old_sessions(database: Database) -> None:
    """Delete sign-in sessions and lines of the security log that are past their retention. Safe on several nodes."""
    at = SYSTEM_CLOCK.now()
    async with database.as_system() as connection:
        settings = await get_configuration(connection)
        sessions = at - timedelta(days=settings.integer("retention.sessions_days"))
        log = at - timedelta(days=settings.integer("retention.security_log_days"))
        await store.run(connection, "delete_old_sessions", sessions)
        await store.run(connection, "delete_old_security_log", log)
        await store.run(connection, "delete_old_challenges", at)
        await store.run(connection, "delete_old_flows", at)
        await store.run(connection, "delete_old_password_links", at - timedelta(days=LINK_DAYS))
        await store.run(connection, "delete_old_invitations", at - timedelta(days=LINK_DAYS))
        await store.run(connection, "delete_old_attempts", at - timedelta(days=1))
        await store.run(connection, "delete_old_devices", at - timedelta(days=DEVICE_DAYS))


PERIODIC = [
    ("identity.end_expired_roles", 0.3, end_expired_roles),
    ("identity.forget_old_sessions", 300, forget_old_sessions),
]
