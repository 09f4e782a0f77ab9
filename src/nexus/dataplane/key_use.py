"""Tells the control plane when access keys were last used: noted in memory for each call, told for all of them now and then."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from nexus.contracts.keys import KeyEntry
from nexus.dataplane import store
from nexus.kit.clock import SYSTEM_CLOCK, Clock
from nexus.platform.db import DATABASE_TROUBLE, Database
from nexus.platform.tasks import Repeated

EVERY_SECONDS = 20.0
APART = timedelta(seconds=30)
"""What another process told so shortly before is not told again."""
_TIMEOUT_SECONDS = 10.0
_MOST = 5_000
"""Keys told of in one transaction."""

log = structlog.get_logger(__name__)


class KeyUse:
    """The uses of one process. While PostgreSQL is away they wait; a process that dies forgets the last seconds."""

    def __init__(
        self, database: Database, *, clock: Clock = SYSTEM_CLOCK, every_seconds: float = EVERY_SECONDS
    ) -> None:
        self._database = database
        self._clock = clock
        self._telling = Repeated(self.tell, every_seconds=every_seconds, name="key-use")
        self._used: dict[tuple[UUID, UUID], datetime] = {}

    def note(self, key: KeyEntry) -> None:
        """Note that a key was used now."""
        self._used[key.organization_id, key.id] = self._clock.now()

    def start(self) -> None:
        """Begin to tell."""
        self._telling.start()

    async def stop(self) -> None:
        """Tell what is left, if PostgreSQL answers, and stop."""
        await self._telling.stop()

    async def tell(self) -> None:
        """Tell which keys were used since the last time, and when."""
        used, self._used = self._used, {}
        items = sorted(used.items())
        try:
            for first in range(0, len(items), _MOST):
                async with asyncio.timeout(_TIMEOUT_SECONDS), self._database.as_system() as connection:
                    await store.tell_keys_used(connection, items[first : first + _MOST], APART)
        except DATABASE_TROUBLE as error:
            # Told twice is no harm.
            self._used = {**used, **self._used}
            log.debug("uses of keys wait for PostgreSQL", error=repr(error))
