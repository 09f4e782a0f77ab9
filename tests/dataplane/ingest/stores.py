"""A store in memory that keeps exactly what a group commit would, and fails as told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from uuid import UUID

from nexus.contracts.calls import CALL_COLUMNS
from nexus.dataplane.ingest.commit import DatabaseTroubleError, PoisonedRowsError
from nexus.dataplane.ingest.record_type import RecordType
from nexus.dataplane.ingest.rows import split_fields
from nexus.dataplane.store import Stored

_PLACES = {name: place for place, name in enumerate(CALL_COLUMNS[1:])}


def field_of(row: bytes, name: str) -> bytes | None:
    """One field of a row, as COPY writes it."""
    return split_fields(row)[_PLACES[name]]


class MemoryStore:
    """Ids decide, as in PostgreSQL."""

    def __init__(self) -> None:
        self.rows: dict[tuple[bytes, bytes], bytes] = {}
        self.types: dict[tuple[bytes, bytes], RecordType] = {}
        self.commits: list[int] = []
        self.is_away = False
        self.loses_answer = False
        """The commit succeeds, and the connection is lost before its answer."""
        self.is_poisoned: Callable[[bytes], bool] = lambda row: False
        self.gate: asyncio.Event | None = None
        """Commits wait for it."""
        self.waiting = asyncio.Event()

    async def commit(
        self, record_type: RecordType, organizations: Collection[UUID], days: Collection[int], batch: Sequence[bytes]
    ) -> Stored:
        """Keep rows of new ids."""
        self.waiting.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.is_away:
            raise DatabaseTroubleError("away")
        if any(self.is_poisoned(row) for row in batch):
            raise PoisonedRowsError("bad row")
        self.commits.append(len(batch))
        duplicates = []
        for ordinal, row in enumerate(batch):
            organization_id, record_id = row[4:20], row[24:40]
            assert UUID(bytes=organization_id) in organizations
            if (organization_id, record_id) in self.rows:
                duplicates.append(ordinal)
            else:
                self.rows[organization_id, record_id] = row
                self.types[organization_id, record_id] = record_type
        if self.loses_answer:
            raise DatabaseTroubleError("the connection was lost at COMMIT")
        return Stored(duplicates)

    async def probe(self) -> None:
        """Answer unless away."""
        if self.is_away:
            raise DatabaseTroubleError("away")
