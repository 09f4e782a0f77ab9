"""Aliases of models: where the gateway's `/gw/v1` sends a call, by priority, then by weight."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from nexus.catalog import store
from nexus.kit.errors import Conflict, FieldFault, NotFound
from nexus.kit.ids import uuid7
from nexus.platform.db import Connection


class UnknownModelRoute(NotFound):
    """There is no such route of a model in this organization."""

    code = "unknown_model_route"


class RouteTaken(Conflict):
    """The alias leads to this provider and model already."""

    code = "model_route_taken"


class ModelRoute(msgspec.Struct):
    """One way an alias leads: the lowest priority first, among equals in proportion to the weights."""

    id: UUID
    alias: str
    provider: str
    model: str
    priority: int
    weight: int
    created_at: datetime


async def create(
    connection: Connection,
    organization_id: UUID,
    *,
    alias: str,
    provider: str,
    model: str,
    priority: int = 0,
    weight: int = 1,
) -> ModelRoute:
    """Add a way; in force in every gateway within a second."""
    route_id = uuid7()
    try:
        await store.run(
            connection, "insert_model_route", route_id, organization_id, alias, provider, model, priority, weight
        )
    except asyncpg.UniqueViolationError:
        raise _taken(alias, provider, model) from None
    return await get(connection, route_id)


def _taken(alias: str, provider: str, model: str) -> RouteTaken:
    message = f"{alias} leads to {provider}/{model} already: change that one"
    return RouteTaken(message, faults=[FieldFault("model", message)])


async def get(connection: Connection, route_id: UUID) -> ModelRoute:
    """Return one way."""
    found = await list_routes(connection, after=None, alias=None, route_id=route_id, limit=1)
    if not found:
        raise UnknownModelRoute
    return found[0]


async def change(
    connection: Connection,
    organization_id: UUID,
    route_id: UUID,
    *,
    alias: str | None = None,
    provider: str | None = None,
    model: str | None = None,
    priority: int | None = None,
    weight: int | None = None,
) -> ModelRoute:
    """Change a way, what is None stays; in force in every gateway within a second."""
    known = await get(connection, route_id)
    try:
        await store.run(
            connection, "update_model_route", organization_id, route_id, alias, provider, model, priority, weight
        )
    except asyncpg.UniqueViolationError:
        raise _taken(alias or known.alias, provider or known.provider, model or known.model) from None
    return await get(connection, route_id)


async def list_routes(
    connection: Connection, *, after: UUID | None, alias: str | None, limit: int, route_id: UUID | None = None
) -> list[ModelRoute]:
    """Return ways, oldest first."""
    records = await store.fetch(connection, "list_model_routes", after, alias, route_id, limit)
    return [msgspec.convert(dict(record), ModelRoute) for record in records]


async def delete(connection: Connection, organization_id: UUID, route_id: UUID) -> None:
    """Remove a way."""
    if not await store.run(connection, "delete_model_route", organization_id, route_id):
        raise UnknownModelRoute
