"""One group commit in PostgreSQL: what is stored together, and what its failures mean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

import asyncpg

from nexus.dataplane import store
from nexus.dataplane.ingest import rows
from nexus.dataplane.ingest.identity import PG_EPOCH
from nexus.dataplane.ingest.record_type import RowType
from nexus.dataplane.store import Stored
from nexus.platform.db import DATABASE_TROUBLE, Connection, Database

_RETRIES = 3
T = TypeVar("T")


class DatabaseTroubleError(Exception):
    """The commit failed, or its outcome is unknown, for a reason that has nothing to do with the rows."""


class PoisonedRowsError(Exception):
    """PostgreSQL refused a row: at least one of those given can never be stored."""


class RecordStore(Protocol):
    """Where group commits go."""

    async def commit(
        self, record_type: RowType, organizations: Collection[UUID], days: Collection[int], batch: Sequence[bytes]
    ) -> Stored:
        """Store rows of one type in one transaction; return the indices of those known already, and of those refused."""
        ...

    async def probe(self) -> None:
        """Raise `DatabaseTroubleError` unless commits can be expected to work."""
        ...


class PostgresStore:
    """Group commits as nexus_writer: rows and rollups in one transaction."""

    def __init__(self, database: Database, *, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds
        self._known_months: set[tuple[str, int, int]] = set()
        """Table, year and month of each partition that is there."""
        self._strays: set[asyncio.Task[Any]] = set()

    async def commit(
        self, record_type: RowType, organizations: Collection[UUID], days: Collection[int], batch: Sequence[bytes]
    ) -> Stored:
        """Store rows of one type in one transaction; return the indices of those known already, and of those refused.

        `PoisonedRowsError` when PostgreSQL refuses their content, `DatabaseTroubleError` for all else. After trouble
        the rows may be stored all the same (the connection was lost at COMMIT): their ids decide when they come again.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                held: list[Connection] = []
                work = self._commit(record_type, sorted(organizations), days, batch, held)
                return await self._within_time(work, held)
            except asyncpg.CheckViolationError as error:
                # A partition was dropped since we saw it. Anything else of this class is the row's fault.
                if attempt > 1 or "no partition" not in str(error):
                    raise PoisonedRowsError(_reason(error)) from error
                self._known_months.clear()
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
                if attempt > _RETRIES:
                    raise DatabaseTroubleError(repr(error)) from error
            except asyncpg.PostgresError as error:
                if isinstance(error, (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)) or (
                    (error.sqlstate or "").startswith("54")
                ):
                    raise PoisonedRowsError(_reason(error)) from error
                raise DatabaseTroubleError(repr(error)) from error
            except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError, TimeoutError) as error:
                raise DatabaseTroubleError(repr(error)) from error

    async def probe(self) -> None:
        """Raise `DatabaseTroubleError` unless PostgreSQL answers the writer's login and takes writes."""
        try:
            held: list[Connection] = []
            await self._within_time(self._probe(held), held)
        except DATABASE_TROUBLE as error:
            raise DatabaseTroubleError(repr(error)) from error

    async def _probe(self, held: list[Connection]) -> None:
        async with self._database.as_writer(()) as connection:
            held[:] = [connection]
            # A standby, or a primary that was demoted, answers but stores nothing.
            if await connection.fetchval("SELECT pg_is_in_recovery()"):
                raise TimeoutError("PostgreSQL is in recovery")

    async def _commit(
        self,
        record_type: RowType,
        organizations: Sequence[UUID],
        days: Collection[int],
        batch: Sequence[bytes],
        held: list[Connection],
    ) -> Stored:
        await self._ensure_partitions(record_type.table, days, held)
        async with self._database.as_writer(organizations) as connection:
            held[:] = [connection]
            columns = record_type.columns
            return await store.store_records(
                connection,
                rows.copy_stream(batch, len(columns)),
                columns,
                staging=record_type.staging,
                stage=record_type.stage,
                store=record_type.store,
                refuse=record_type.refuse,
            )

    async def _ensure_partitions(self, table: str, days: Collection[int], held: list[Connection]) -> None:
        months: dict[tuple[str, int, int], datetime] = {}
        for day in days:
            at = PG_EPOCH + timedelta(days=day)
            months.setdefault((table, at.year, at.month), at)
        missing = {month: at for month, at in months.items() if month not in self._known_months}
        for month in sorted(missing):
            # A transaction of its own: what it locks is not held while rows are stored.
            async with self._database.as_writer(()) as connection:
                held[:] = [connection]
                await store.ensure_partition(connection, table, missing[month])
            self._known_months.add(month)

    async def _within_time(self, work: Coroutine[Any, Any, T], held: list[Connection]) -> T:
        """Wait for work no longer than the timeout, even if ending it hangs on a connection that answers nothing.

        `held` is where the work puts the connection it uses, which is cut when time is up.
        """
        task = asyncio.ensure_future(work)
        done, _ = await asyncio.wait({task}, timeout=self._timeout_seconds)
        if done:
            return task.result()
        # A cancelled query asks the server to end it and waits for that; a cut connection waits for nothing.
        for connection in held:
            with contextlib.suppress(asyncpg.InterfaceError):
                connection.terminate()
        task.cancel()
        self._strays.add(task)
        task.add_done_callback(self._forget)
        raise TimeoutError(f"no answer within {self._timeout_seconds} s")

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._strays.discard(task)
        if not task.cancelled():
            task.exception()


def _reason(error: asyncpg.PostgresError) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
