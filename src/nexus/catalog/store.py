"""The catalog's SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from nexus.catalog.errors import OverlappingPrice
from nexus.catalog.types import Endpoint, Import, Model, Price, PriceConflict, Provider
from nexus.kit.errors import FieldFault
from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.catalog")
T = TypeVar("T")


def _build(record: Any, kind: type[T]) -> T:
    return msgspec.convert(dict(record), kind, from_attributes=False)


async def _many(connection: Connection, kind: type[T], query: str, *arguments: object) -> list[T]:
    return [_build(record, kind) for record in await connection.fetch(QUERIES[query], *arguments)]


async def list_providers(
    connection: Connection, after: tuple[str, UUID] | None, category: str | None, slug: str | None, limit: int
) -> list[Provider]:
    """Return providers in the order of their slugs."""
    return await _many(connection, Provider, "list_providers", *(after or (None, None)), category, slug, limit)


async def list_endpoints(
    connection: Connection, after: UUID | None, provider: str | None, limit: int
) -> list[Endpoint]:
    """Return endpoints."""
    return await _many(connection, Endpoint, "list_endpoints", after, provider, limit)


async def list_models(
    connection: Connection, after: tuple[str, str, UUID] | None, provider: str | None, words: str | None, limit: int
) -> list[Model]:
    """Return models in the order of provider and slug."""
    return await _many(connection, Model, "list_models", *(after or (None, None, None)), provider, words, limit)


async def list_prices(
    connection: Connection,
    *,
    after: UUID | None = None,
    provider: str | None = None,
    model: str | None = None,
    at: datetime | None = None,
    with_superseded: bool = False,
    price_id: UUID | None = None,
    limit: int = 50,
) -> list[Price]:
    """Return prices with their components."""
    return await _many(connection, Price, "list_prices", after, provider, model, at, with_superseded, price_id, limit)


async def list_conflicts(
    connection: Connection,
    after: UUID | None,
    with_resolved: bool,
    provider: str | None,
    limit: int,
    conflict_id: UUID | None = None,
) -> list[PriceConflict]:
    """Return conflicts between sources."""
    return await _many(connection, PriceConflict, "list_conflicts", after, with_resolved, provider, conflict_id, limit)


async def list_imports(connection: Connection, before: UUID | None, limit: int) -> list[Import]:
    """Return imports, newest first."""
    return await _many(connection, Import, "list_imports", before, limit)


async def fetch(connection: Connection, query: str, *arguments: object) -> list[Any]:
    """Run a named query and return its rows."""
    return list(await connection.fetch(QUERIES[query], *arguments))


async def value(connection: Connection, query: str, *arguments: object) -> Any:
    """Run a named query and return the first value of its first row."""
    return await connection.fetchval(QUERIES[query], *arguments)


async def run_many(connection: Connection, query: str, rows: Sequence[Sequence[object]]) -> None:
    """Run a named statement once for each row; `OverlappingPrice` where two prices would hold at one time."""
    if not rows:
        return
    try:
        await connection.executemany(QUERIES[query], rows)
    except asyncpg.ExclusionViolationError as error:
        message = "close the price in force first, or choose a time in which none holds"
        raise OverlappingPrice(message, faults=[FieldFault("valid_from", message)]) from error


async def run(connection: Connection, query: str, *arguments: object) -> int:
    """Run a named statement; returns how many rows it changed."""
    status: str = await connection.execute(QUERIES[query], *arguments)
    return int(status.rsplit(" ", 1)[-1])
