"""The data plane's SQL: snapshots read through versioned functions, rows handed to the metering's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from nexus.contracts.bodies import StoredBody
from nexus.kit.errors import FieldFault
from nexus.platform.db import Connection, load_queries

QUERIES = load_queries("nexus.dataplane")
Row = asyncpg.Record


class KeyRow(msgspec.Struct, frozen=True, array_like=True):
    """One access key that is not revoked."""

    id: UUID
    organization_id: UUID
    key_hash: bytes
    scopes: list[str]
    application: str | None
    user_id: UUID | None
    not_before: datetime | None
    expires_at: datetime | None


class OrganizationRow(msgspec.Struct, frozen=True, array_like=True):
    """One organization."""

    id: UUID
    slug: str
    currency: str
    tier: str
    reporting_zone: str
    is_active: bool


class MemberRow(msgspec.Struct, frozen=True, array_like=True):
    """One user's membership of one organization."""

    organization_id: UUID
    user_id: UUID
    email: str


class EndpointEntry(msgspec.Struct, frozen=True, array_like=True):
    """One endpoint of the catalog."""

    provider: str
    method: str
    path_template: str


class ProviderRow(msgspec.Struct, frozen=True, array_like=True):
    """One provider: where it is and how it wants to be spoken to."""

    organization_id: UUID | None
    slug: str
    aliases: list[str]
    base_url: str | None
    auth_types: list[str]
    is_active: bool
    options: dict[str, Any] | None


class CredentialRow(msgspec.Struct, frozen=True, array_like=True):
    """One provider credential that may be used, its secret sealed."""

    id: UUID
    organization_id: UUID
    provider: str
    sealed: bytes
    auth_form: str
    base_url: str | None
    weight: int
    expires_at: datetime | None


class RouteRow(msgspec.Struct, frozen=True, array_like=True):
    """One way an alias of a model leads."""

    organization_id: UUID
    alias: str
    provider: str
    model: str
    priority: int
    weight: int


class ReachRow(msgspec.Struct, frozen=True, array_like=True):
    """What one access key may use through the gateway."""

    key_id: UUID
    providers: list[str] | None
    models: list[str] | None
    endpoints: list[str] | None
    mcp_servers: list[str] | None = None
    mcp_tools: list[str] | None = None


class McpServerRow(msgspec.Struct, frozen=True, array_like=True):
    """One MCP server that may be called, its secret sealed."""

    id: UUID
    organization_id: UUID
    name: str
    transport: str
    url: str | None
    command: list[str] | None
    auth_form: str
    sealed: bytes | None
    timeout_seconds: int
    price: str | None
    tool_prices: dict[str, str]


class BodyRow(msgspec.Struct, frozen=True, array_like=True):
    """What one organization wants kept of the bodies of its calls."""

    organization_id: UUID
    share: float
    max_body_bytes: int
    only_failed: bool
    providers: list[str] | None
    masks: list[str]
    fields: list[str]
    words: list[str]


async def snapshot_versions(connection: Connection) -> Mapping[str, int]:
    """Return the version number of each snapshot."""
    return {record["name"]: record["version"] for record in await connection.fetch(QUERIES["snapshot_versions"])}


async def snapshot_keys(connection: Connection) -> list[KeyRow]:
    """Return every access key that may be used."""
    return [KeyRow(*record) for record in await connection.fetch(QUERIES["snapshot_keys"])]


async def tell_keys_used(
    connection: Connection, used: Sequence[tuple[tuple[UUID, UUID], datetime]], apart: timedelta
) -> int:
    """Note when keys (organization, key) were last used; returns for how many that was news."""
    organizations, keys, times = ([*column] for column in zip(*((*key, at) for key, at in used), strict=True))
    changed: int = await connection.fetchval(QUERIES["keys_used"], organizations, keys, times, apart)
    return changed


async def snapshot_organizations(connection: Connection) -> list[OrganizationRow]:
    """Return every organization."""
    return [OrganizationRow(*record) for record in await connection.fetch(QUERIES["snapshot_organizations"])]


async def snapshot_members(connection: Connection) -> list[MemberRow]:
    """Return every membership."""
    return [MemberRow(*record) for record in await connection.fetch(QUERIES["snapshot_members"])]


async def snapshot_prices(connection: Connection) -> list[object]:
    """Return the documents the price book is built from."""
    return [record["document"] for record in await connection.fetch(QUERIES["snapshot_prices"])]


async def snapshot_endpoints(connection: Connection) -> list[EndpointEntry]:
    """Return the catalog's endpoints."""
    records = await connection.fetch(QUERIES["snapshot_endpoints"])
    return [EndpointEntry(record[0], record[1] or "", record[2]) for record in records]


async def snapshot_providers(connection: Connection) -> list[ProviderRow]:
    """Return how every provider is reached."""
    return [ProviderRow(*record) for record in await connection.fetch(QUERIES["snapshot_providers"])]


async def snapshot_provider_credentials(connection: Connection) -> list[CredentialRow]:
    """Return every provider credential that may be used, sealed."""
    return [CredentialRow(*record) for record in await connection.fetch(QUERIES["snapshot_provider_credentials"])]


async def snapshot_model_routes(connection: Connection) -> list[RouteRow]:
    """Return every organization's aliases of models."""
    return [RouteRow(*record) for record in await connection.fetch(QUERIES["snapshot_model_routes"])]


async def snapshot_key_reaches(connection: Connection) -> list[ReachRow]:
    """Return what each access key may use, of those that may not use everything."""
    return [ReachRow(*record) for record in await connection.fetch(QUERIES["snapshot_key_reaches"])]


async def snapshot_mcp_servers(connection: Connection) -> list[McpServerRow]:
    """Return every MCP server that may be called, its secret sealed."""
    return [McpServerRow(*record) for record in await connection.fetch(QUERIES["snapshot_mcp_servers"])]


async def snapshot_body_settings(connection: Connection) -> list[BodyRow]:
    """Return what each organization wants kept of bodies, of those that want any."""
    return [BodyRow(*record) for record in await connection.fetch(QUERIES["snapshot_body_settings"])]


async def store_call_bodies(connection: Connection, rows: Sequence[StoredBody]) -> None:
    """Store bodies in the writer's transaction; makes the partitions they need."""
    for day in sorted({row.key_at.date() for row in rows}):
        await connection.fetchval(QUERIES["ensure_body_partition"], datetime(day.year, day.month, day.day, tzinfo=UTC))
    columns = [[getattr(row, name) for row in rows] for name in StoredBody.__struct_fields__]
    await connection.execute(QUERIES["store_call_bodies"], *columns)


async def ensure_partition(connection: Connection, table: str, at: datetime) -> bool:
    """Make the partition of a table that holds an instant if it is missing; tells whether it was."""
    return bool(await connection.fetchval(QUERIES["ensure_partition"], table, at))


Refuse = Callable[[Connection], Awaitable[dict[int, FieldFault]]]
"""Takes rows out of a staging table that may not be stored; returns their ordinals, each with why."""


class Stored(NamedTuple):
    """What became of rows; all others are stored now."""

    duplicates: list[int]
    """Ordinals of rows that were stored before, or that stand earlier under the same id."""
    refused: Mapping[int, FieldFault] = MappingProxyType({})
    """Ordinals of well-formed rows that may not be stored, each with why."""


async def store_records(
    connection: Connection,
    stream: bytes,
    columns: Sequence[str],
    *,
    staging: str,
    stage: str,
    store: str,
    refuse: Refuse | None = None,
) -> Stored:
    """Store rows given as one binary COPY stream, in the writer's transaction.

    `stage` names the query that makes the temporary table `staging`, `store` the one that stores what is in it.
    """
    await connection.execute(QUERIES[stage])
    await connection.copy_to_table(
        staging,
        schema_name="pg_temp",
        source=BytesIO(stream),
        columns=columns,
        format="binary",
    )
    refused = {} if refuse is None else await refuse(connection)
    return Stored(list(await connection.fetchval(QUERIES[store]) or ()), refused)


async def claim_series(connection: Connection, *, at_most: int) -> list[Row]:
    """Make the series of staged points; returns points that were taken out, as their series would be one too many.

    `at_most` are active in an organization where the system configuration says nothing else.
    """
    return list(await connection.fetch(QUERIES["claim_series"], at_most))
