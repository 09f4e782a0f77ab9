"""Admission's SQL."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import asyncpg
import msgspec

from nexus.admission.errors import NameTaken, OverlappingValidity, UnknownApplication, UnknownCluster
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.admission")
T = TypeVar("T")


async def many(connection: Connection, kind: type[T], query: str, *arguments: object) -> list[T]:
    """Run a named query and return its rows as a type."""
    return [
        msgspec.convert(dict(record), kind, from_attributes=False)
        for record in await connection.fetch(QUERIES[query], *arguments)
    ]


async def rows(connection: Connection, query: str, *arguments: object) -> list[Any]:
    """Run a named query and return its rows."""
    return list(await connection.fetch(QUERIES[query], *arguments))


async def value(connection: Connection, query: str, *arguments: object) -> Any:
    """Run a named query and return the first value of its first row."""
    return await connection.fetchval(QUERIES[query], *arguments)


async def run(connection: Connection, query: str, *arguments: object) -> int:
    """Run a named statement; returns how many rows it changed. What the database refuses is said by field."""
    try:
        status: str = await connection.execute(QUERIES[query], *arguments)
    except asyncpg.IntegrityConstraintViolationError as error:
        _refuse(error)
    return int(status.rsplit(" ", 1)[-1])


def _refuse(error: asyncpg.IntegrityConstraintViolationError) -> NoReturn:
    name = error.constraint_name or ""
    if isinstance(error, asyncpg.UniqueViolationError):
        raise NameTaken(faults=[FieldFault("name", "choose another name")]) from error
    if isinstance(error, asyncpg.ExclusionViolationError):
        message = "choose a time in which none holds"
        raise OverlappingValidity(
            f"two would hold at one time: {message}", faults=[FieldFault("valid_from", message)]
        ) from error
    if isinstance(error, asyncpg.ForeignKeyViolationError) and "cluster" in name:
        raise UnknownCluster(faults=[FieldFault("cluster_id", "name a cluster of this organization")]) from error
    if isinstance(error, asyncpg.ForeignKeyViolationError) and "application" in name:
        raise UnknownApplication(
            faults=[FieldFault("application_id", "name an application of this organization")]
        ) from error
    field = name.removeprefix(f"{error.table_name}_")
    raise InvalidRequest(
        f"{field}: not a value that can be kept", faults=[FieldFault(field, "see the documentation")]
    ) from error
