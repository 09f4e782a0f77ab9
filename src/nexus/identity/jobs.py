"""Background work of identity: forgetting what is past its time."""

from __future__ import annotations

from datetime import timedelta

from nexus.identity import store
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import Database
from nexus.platform.db.configuration import get_configuration


async def forget_old_sessions(database: Database) -> None:
    """Delete sign-in sessions and lines of the security log that are past their retention. Safe on several nodes."""
    at = SYSTEM_CLOCK.now()
    async with database.as_system() as connection:
        settings = await get_configuration(connection)
        sessions = at - timedelta(days=settings.integer("retention.sessions_days"))
        log = at - timedelta(days=settings.integer("retention.security_log_days"))
        await store.run(connection, "delete_old_sessions", sessions)
        await store.run(connection, "delete_old_security_log", log)


PERIODIC = [("identity.forget_old_sessions", 300, forget_old_sessions)]
