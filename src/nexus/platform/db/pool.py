"""Connections by role. The edge opens the transaction and says for whom; inner code only uses the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec

from nexus.platform.db.pool_types import SqlConnection
from nexus.platform.db.secrets import embedded_urls
from nexus.platform.settings import InvalidSettings, Settings

Connection = SqlConnection

_ENTER_TENANT = """
SELECT set_config('app.organization_id', $1, true), set_config('app.actor_user_id', $2, true),
       set_config('app.actor_key_id', $3, true), set_config('app.actor_label', $4, true),
       set_config('app.actor_ip', $5, true), set_config('app.actor_user_agent', $6, true),
       set_config('app.request_id', $7, true)
"""
_ENTER_WRITER = "SELECT set_config('app.organization_ids', $1, true)"


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who causes a change: a person, a key or the system itself. Written into the audit log with each change."""

    user_id: UUID | None = None
    key_id: UUID | None = None
    label: str = "system"
    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None

    def settings(self) -> tuple[str, str, str, str, str, str]:
        """Return the values of the transaction's settings; none is ever missing, so that none is inherited."""
        return (
            str(self.user_id) if self.user_id else "",
            str(self.key_id) if self.key_id else "",
            _clean(self.label, 200),
            self.ip or "",
            _clean(self.user_agent or "", 500),
            _clean(self.request_id or "", 200),
        )


def _clean(text: str, limit: int) -> str:
    return text.replace("\x00", "")[:limit]


SYSTEM_ACTOR = Actor()


@dataclass(frozen=True, kw_only=True)
class DatabaseUrls:
    """The logins of one installation."""

    service: str
    system: str
    writer: str
    owner: str | None = None
    admin: str | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> DatabaseUrls:
        """Take what the environment sets; the rest comes from the secrets that `nexus db init` wrote."""
        known = embedded_urls(settings)
        service = settings.database_url or known.get("nexus_service")
        system = settings.system_url or known.get("nexus_system")
        writer = settings.writer_url or known.get("nexus_writer")
        missing = [
            name
            for name, value in (
                ("NEXUS_DATABASE_URL", service),
                ("NEXUS_SYSTEM_URL", system),
                ("NEXUS_WRITER_URL", writer),
            )
            if not value
        ]
        if missing:
            raise InvalidSettings(
                f"{', '.join(missing)} not set and no database was made here yet: run `nexus up`, or `nexus db init`"
            )
        assert service
        assert system
        assert writer
        return cls(
            service=service,
            system=system,
            writer=writer,
            owner=settings.owner_url or known.get("nexus_owner"),
            admin=settings.admin_url or known.get("postgres"),
        )


def _encode_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


async def prepare_connection(connection: Connection) -> None:
    """Teach a new connection our types: jsonb is decoded, numeric is Decimal already."""
    # In one transaction: a pooler could give the two halves of each statement different server connections.
    async with connection.transaction():
        for name in ("json", "jsonb"):
            await connection.set_type_codec(
                name, schema="pg_catalog", encoder=_encode_json, decoder=msgspec.json.decode
            )


class Database:
    """Three pools, one per role. They open on first use, so that a process can start while PostgreSQL is away."""

    def __init__(self, urls: DatabaseUrls, *, application_name: str, max_size: int = 4) -> None:
        self.urls = urls
        self._application_name = application_name
        self._max_size = max_size
        self._pools: dict[str, asyncpg.Pool[Any]] = {}
        self._opening = asyncio.Lock()

    @classmethod
    async def connect(cls, urls: DatabaseUrls, *, application_name: str, max_size: int = 4) -> Database:
        """Make the pools. Nothing is connected until it is used."""
        return cls(urls, application_name=application_name, max_size=max_size)

    async def pool(self, role: str) -> asyncpg.Pool[Any]:
        """Return the pool of `service`, `system` or `writer`, opened on first use."""
        pool = self._pools.get(role)
        if pool is None:
            async with self._opening:
                pool = self._pools.get(role)
                if pool is None:
                    pool = await asyncpg.create_pool(
                        getattr(self.urls, role),
                        min_size=0,
                        max_size=self._max_size,
                        # A transaction-mode pooler may give each statement another server connection.
                        statement_cache_size=0,
                        init=prepare_connection,
                        # Through a pooler there is no session whose state would have to be reset.
                        reset=_no_reset,
                        timeout=5,
                        command_timeout=60,
                        max_inactive_connection_lifetime=60,
                        server_settings={"application_name": f"{self._application_name}:{role}"},
                    )
                    self._pools[role] = pool
        return pool

    @asynccontextmanager
    async def _transaction(
        self, role: str, *, readonly: bool = False, snapshot: bool = False
    ) -> AsyncIterator[Connection]:
        pool = await self.pool(role)
        isolation: Literal["repeatable_read"] | None = "repeatable_read" if snapshot else None
        async with (
            pool.acquire(timeout=10) as connection,
            connection.transaction(isolation=isolation, readonly=readonly),
        ):
            yield connection

    def tenant(
        self,
        organization_id: UUID,
        actor: Actor = SYSTEM_ACTOR,
        *,
        readonly: bool = False,
        snapshot: bool = False,
    ) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction of the service's role that sees one organization, committed when the block ends.

        With `snapshot` all its statements see the database as it was at the first one (repeatable read).
        """
        return self._scoped("service", organization_id, actor, readonly, snapshot)

    def as_system(
        self,
        actor: Actor = SYSTEM_ACTOR,
        organization_id: UUID | None = None,
        *,
        readonly: bool = False,
        snapshot: bool = False,
    ) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction of nexus_system, which sees all tenants. Every caller is listed in a test.

        `snapshot` is that of `tenant`; where it writes what somebody else wrote since, it fails (40001).
        """
        return self._scoped("system", organization_id, actor, readonly, snapshot)

    @asynccontextmanager
    async def _scoped(
        self, role: str, organization_id: UUID | None, actor: Actor, readonly: bool, snapshot: bool = False
    ) -> AsyncIterator[Connection]:
        async with self._transaction(role, readonly=readonly, snapshot=snapshot) as connection:
            await connection.execute(_ENTER_TENANT, str(organization_id) if organization_id else "", *actor.settings())
            yield connection

    @asynccontextmanager
    async def as_writer(self, organization_ids: Sequence[UUID]) -> AsyncIterator[Connection]:
        """Open a transaction of nexus_writer that may store records of these organizations only."""
        async with self._transaction("writer") as connection:
            await connection.execute(_ENTER_WRITER, ",".join(str(item) for item in organization_ids))
            yield connection

    async def close(self) -> None:
        """Close all connections; those that are busy for more than five seconds are cut."""
        for pool in self._pools.values():
            try:
                await asyncio.wait_for(pool.close(), 5)
            except TimeoutError:
                pool.terminate()
        self._pools.clear()


async def _no_reset(connection: Connection) -> None:
    """Leave the server connection as it is: all state we set ends with the transaction."""


@asynccontextmanager
async def open_database(settings: Settings, *, application_name: str = "nexus-cli") -> AsyncIterator[Database]:
    """Open the database the settings name, for the length of a command."""
    database = await Database.connect(
        DatabaseUrls.from_settings(settings), application_name=application_name, max_size=settings.database_pool_size
    )
    try:
        yield database
    finally:
        await database.close()
