"""Costs' SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from nexus.costs.errors import BudgetNameTaken
from nexus.costs.rates import Rate
from nexus.costs.types import Budget
from nexus.kit.errors import FieldFault
from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.costs")
T = TypeVar("T")
Row = asyncpg.Record


async def many(connection: Connection, kind: type[T], query: str, *arguments: object) -> list[T]:
    """Run a named query and return its rows as a type."""
    return [
        msgspec.convert(dict(record), kind, from_attributes=False)
        for record in await connection.fetch(QUERIES[query], *arguments)
    ]


async def rows(connection: Connection, query: str, *arguments: object) -> list[Row]:
    """Run a named query and return its rows."""
    return list(await connection.fetch(QUERIES[query], *arguments))


async def value(connection: Connection, query: str, *arguments: object) -> Any:
    """Run a named query and return the first value of its first row."""
    return await connection.fetchval(QUERIES[query], *arguments)


async def run(connection: Connection, query: str, *arguments: object) -> None:
    """Run a named statement; a name that is taken is said by field."""
    try:
        await connection.execute(QUERIES[query], *arguments)
    except asyncpg.UniqueViolationError as error:
        raise BudgetNameTaken(faults=[FieldFault("name", "choose another name")]) from error


async def all_budgets(connection: Connection) -> list[tuple[UUID, Budget]]:
    """Return the active budgets of all organizations, as nexus_system."""
    found = []
    for record in await connection.fetch(QUERIES["all_budgets"]):
        fields = dict(record)
        found.append((fields.pop("organization_id"), msgspec.convert(fields, Budget)))
    return found


async def spend(connection: Connection, asked: Sequence[tuple[UUID, Budget, datetime, datetime, str]]) -> list[Row]:
    """Return what budgets (with their organization, period and step) have spent, by budget, subject and currency."""
    columns = [
        (owner, budget.id, budget.scope, budget.subject, budget.currency, starts, ends, budget.zone, step)
        for owner, budget, starts, ends, step in asked
    ]
    arrays = [list(column) for column in zip(*columns, strict=True)] if columns else [[] for _ in range(9)]
    return await rows(connection, "spend", *arrays)


async def put_rates(
    connection: Connection, organization_id: UUID | None, rates: Sequence[Rate], source: str, author: str
) -> tuple[int, int]:
    """Store exchange rates; returns how many are new and how many say something else than before."""
    added = changed = 0
    for start in range(0, len(rates), 10_000):
        part = rates[start : start + 10_000]
        told = await rows(
            connection, "upsert_rates", organization_id, [rate.base for rate in part], [rate.quote for rate in part],
            [rate.rated_on for rate in part], [rate.rate for rate in part], source, author,
        )  # fmt: skip
        new = sum(row["is_new"] for row in told)
        added, changed = added + new, changed + len(told) - new
    return added, changed
