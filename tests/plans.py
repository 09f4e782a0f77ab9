"""What the database visits to answer: rows of each table, as its own plans tell, whatever time that took."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nexus.platform.db import Connection, Database


class Visits:
    """What was visited, until it is taken."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        """Rows read from each table, partitions under the name of the whole; those that were read in vain too."""
        self.scanned: set[str] = set()
        """Tables read from the first row to the last, as no index would do."""

    def take(self) -> tuple[Counter[str], set[str]]:
        """Return what was visited since it was taken last."""
        taken = self.rows, self.scanned
        self.rows, self.scanned = Counter(), set()
        return taken


def note_visits(database: Database, monkeypatch: pytest.MonkeyPatch) -> Visits:
    """Note what is visited in the transactions of tenants from now on. Small tables are read by their indexes, as large ones."""
    visits, tenant = Visits(), database.tenant

    @asynccontextmanager
    async def explained(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
        async with tenant(*arguments, **named) as connection:
            await connection.execute("SET LOCAL enable_seqscan = off")
            yield Explained(connection, visits)

    monkeypatch.setattr(database, "tenant", explained)
    return visits


class Explained:
    """A connection that asks the database for the plan of each question before the question itself."""

    def __init__(self, connection: Connection, visits: Visits) -> None:
        self._connection = connection
        self._visits = visits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetch(self, query: str, *arguments: Any, **named: Any) -> Any:
        await self._explain(query, arguments)
        return await self._connection.fetch(query, *arguments, **named)

    async def fetchrow(self, query: str, *arguments: Any, **named: Any) -> Any:
        await self._explain(query, arguments)
        return await self._connection.fetchrow(query, *arguments, **named)

    async def fetchval(self, query: str, *arguments: Any, **named: Any) -> Any:
        await self._explain(query, arguments)
        return await self._connection.fetchval(query, *arguments, **named)

    async def _explain(self, query: str, arguments: tuple[Any, ...]) -> None:
        told = await self._connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON)\n{query}", *arguments)
        (found,) = json.loads(told) if isinstance(told, str) else told
        for node in _nodes(found["Plan"]):
            table = node.get("Relation Name")
            if table is None:
                continue
            whole = table.rstrip("0123456789").rstrip("_")
            vain = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            self._visits.rows[whole] += round((node["Actual Rows"] + vain) * node["Actual Loops"])
            if node["Node Type"] == "Seq Scan" and node["Actual Rows"] + vain:
                self._visits.scanned.add(whole)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
