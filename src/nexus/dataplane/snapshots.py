"""Immutable tables the data plane decides and resolves by, kept current by polling their version numbers.

The control plane raises a number in `platform.snapshot_versions` in the transaction that changes a key, an
organization, a member or a price. Each process asks for the numbers every half second (transaction-mode poolers carry
no notifications) and swaps in, whole, what has a new one; so a revoked key is refused everywhere within a second. The
last good tables are kept in files that only their owner can read, so that a process can start, and the spool accept,
while PostgreSQL is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import structlog

from nexus.contracts.bodies import BodyRule
from nexus.contracts.gateway import CredentialEntry, GatewayTable, ProviderEntry, Reach, RouteEntry, credential_context
from nexus.contracts.keys import KeyEntry, KeyTable, OrganizationEntry
from nexus.contracts.mcp_servers import STDIO, McpServerEntry, server_context
from nexus.contracts.prices import PriceBook
from nexus.dataplane import store
from nexus.dataplane.endpoints import EndpointTable
from nexus.dataplane.freshness import Freshness
from nexus.dataplane.store import (
    BodyRow,
    CredentialRow,
    EndpointEntry,
    KeyRow,
    McpServerRow,
    MemberRow,
    OrganizationRow,
    ProviderRow,
    ReachRow,
    RouteRow,
)
from nexus.kit.money import parse_decimal, round_nanos
from nexus.platform.db import DATABASE_TROUBLE, Database
from nexus.platform.db.secrets import write_private
from nexus.platform.sealing import CannotOpen, Sealer
from nexus.platform.tasks import end_tasks

POLL_SECONDS = 0.5
_POLL_TIMEOUT_SECONDS = 5.0
_PRICES_TIMEOUT_SECONDS = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The price book and the catalog's endpoints at one version. Never changed: a newer one replaces it whole."""

    version: int
    book: PriceBook
    endpoints: EndpointTable = field(default_factory=EndpointTable)


class KeySource(msgspec.Struct, frozen=True):
    """What a table of keys is built from, as read and as cached."""

    version: int
    keys: list[KeyRow]
    organizations: list[OrganizationRow]
    members: list[MemberRow]


class PriceSource(msgspec.Struct, frozen=True):
    """What a table of prices is built from, as read and as cached."""

    version: int
    documents: list[dict[str, Any]]
    endpoints: list[EndpointEntry]


class GatewaySource(msgspec.Struct, frozen=True):
    """What a gateway's table is built from, as read and as cached: secrets stay sealed."""

    version: int
    providers: list[ProviderRow]
    credentials: list[CredentialRow]
    routes: list[RouteRow] = []
    reaches: list[ReachRow] = []
    bodies: list[BodyRow] = []
    mcp_servers: list[McpServerRow] = []


def build_keys(source: KeySource) -> KeyTable:
    """Build the table of keys; keys of organizations that are not active are left out."""
    organizations = {
        row.id: OrganizationEntry(row.id, row.slug, row.currency, row.tier, row.reporting_zone, row.is_active)
        for row in source.organizations
    }
    keys = {
        bytes(row.key_hash): KeyEntry(
            row.id,
            row.organization_id,
            frozenset(row.scopes),
            row.application or "",
            row.user_id,
            row.not_before,
            row.expires_at,
        )
        for row in source.keys
        if row.organization_id in organizations and organizations[row.organization_id].is_active
    }
    members: dict[Any, dict[str, Any]] = {}
    for row in source.members:
        names = members.setdefault(row.organization_id, {})
        names[row.email.lower()] = names[str(row.user_id)] = row.user_id
    return KeyTable(
        source.version,
        MappingProxyType(keys),
        MappingProxyType(organizations),
        MappingProxyType(members),
    )


def build_prices(source: PriceSource) -> PriceTable:
    """Build the price book; takes a while for a large one, so the caller runs it beside the event loop."""
    return PriceTable(
        source.version,
        PriceBook.from_documents(source.documents),
        EndpointTable(source.endpoints),
    )


def build_gateway(source: GatewaySource, sealer: Sealer | None) -> GatewayTable:
    """Build the gateway's table. A credential that does not open is left out and said; the others serve."""
    providers: dict[tuple[Any, str], ProviderEntry] = {}
    for row in source.providers:
        entry = ProviderEntry(
            row.slug,
            (row.base_url or "").rstrip("/"),
            tuple(row.auth_types),
            row.is_active,
            MappingProxyType(row.options or {}),
            row.organization_id,
        )
        providers[row.organization_id, row.slug] = entry
        # Only shipped providers lend their aliases: a tenant's must not catch another name.
        if row.organization_id is None:
            for alias in row.aliases:
                providers.setdefault((None, alias), entry)
    credentials: dict[tuple[Any, str], list[CredentialEntry]] = {}
    for item in sorted(source.credentials, key=lambda row: row.id.bytes):
        if sealer is None:
            break
        try:
            secret = sealer.open(bytes(item.sealed), credential_context(item.organization_id, item.id)).decode()
        except (CannotOpen, UnicodeDecodeError):
            log.error("a provider credential cannot be opened: see NEXUS_SECRET_KEY", credential_id=str(item.id))
            continue
        credentials.setdefault((item.organization_id, item.provider), []).append(
            CredentialEntry(
                item.id,
                item.organization_id,
                item.provider,
                secret,
                item.auth_form,
                (item.base_url or "").rstrip("/"),
                item.weight,
                item.expires_at,
            )
        )
    routes: dict[tuple[Any, str], list[RouteEntry]] = {}
    for way in sorted(source.routes, key=lambda row: (row.priority, row.provider, row.model)):
        entries = routes.setdefault((way.organization_id, way.alias), [])
        entries.append(RouteEntry(way.provider, way.model, way.priority, way.weight))
    return GatewayTable(
        source.version,
        MappingProxyType(providers),
        MappingProxyType({key: tuple(items) for key, items in credentials.items()}),
        MappingProxyType({key: tuple(items) for key, items in routes.items()}),
        MappingProxyType({row.key_id: _reach(row) for row in source.reaches}),
        MappingProxyType({row.organization_id: _body_rule(row) for row in source.bodies}),
        MappingProxyType(_mcp_servers(source.mcp_servers, sealer)),
    )


def _reach(row: ReachRow) -> Reach:
    return Reach(row.providers, row.models, row.endpoints, row.mcp_servers, row.mcp_tools)


def _mcp_servers(rows: Iterable[McpServerRow], sealer: Sealer | None) -> dict[tuple[UUID, str], McpServerEntry]:
    """Build the entries of MCP servers. One whose secret does not open is left out and said; the others serve."""
    found: dict[tuple[UUID, str], McpServerEntry] = {}
    for row in rows:
        secret, environment = "", {}
        if row.sealed is not None:
            try:
                if sealer is None:
                    continue
                plain = sealer.open(bytes(row.sealed), server_context(row.organization_id, row.id))
                if row.transport == STDIO:
                    environment = msgspec.json.decode(plain, type=dict[str, str])
                else:
                    secret = plain.decode()
            except (CannotOpen, UnicodeDecodeError, msgspec.MsgspecError):
                log.error("an MCP server's secret cannot be opened: see NEXUS_SECRET_KEY", server_id=str(row.id))
                continue
        found[row.organization_id, row.name] = McpServerEntry(
            row.id, row.organization_id, row.name, row.transport, row.url or "", tuple(row.command or ()), row.auth_form,
            secret, MappingProxyType(environment), row.timeout_seconds,
            None if row.price is None else round_nanos(parse_decimal(row.price)),
            MappingProxyType({tool: round_nanos(parse_decimal(price)) for tool, price in row.tool_prices.items()}),
        )  # fmt: skip
    return found


def _body_rule(row: BodyRow) -> BodyRule:
    return BodyRule(
        row.share,
        row.max_body_bytes,
        row.only_failed,
        None if row.providers is None else frozenset(row.providers),
        frozenset(row.masks),
        frozenset(name.lower() for name in row.fields),
        tuple(row.words),
    )


class Snapshots:
    """The current tables of this process. Readers take `keys` and `prices` once per request and keep what they took."""

    def __init__(
        self,
        database: Database,
        *,
        data_dir: Path | None = None,
        poll_seconds: float = POLL_SECONDS,
        sealer: Sealer | None = None,
        freshness: Freshness | None = None,
    ) -> None:
        self.freshness = freshness or Freshness(["keys", "prices"])
        """How old the tables are: `keys` (with the gateway's ways) and `prices`."""
        self._database = database
        self._sealer = sealer
        self._data_dir = data_dir
        self._poll_seconds = poll_seconds
        self._task: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._versions: dict[str, int] = {}
        self._new_prices: int | None = None
        self._price_task: asyncio.Task[bool] | None = None
        # Whoever asks beside the poll waits for it: what was read earlier must never be swapped in later.
        self._reading_keys, self._reading_prices = asyncio.Lock(), asyncio.Lock()
        self.keys = KeyTable()
        self.prices = PriceTable(0, PriceBook.from_documents([]))
        self.gateway = GatewayTable()
        self.is_loaded = False
        """Whether there is a table of keys and one of prices, read now or cached."""
        self.is_current = False
        """Whether the last poll reached PostgreSQL."""

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call a function after each swap."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Read the tables, from PostgreSQL or else from the cache, and begin to poll."""
        if not await self.refresh():
            await asyncio.to_thread(self._read_cache)
            self._announce()
        self._task = asyncio.create_task(self._poll(), name="snapshots")

    async def stop(self) -> None:
        """Stop polling."""
        await end_tasks(self._task, self._price_task)
        self._task = self._price_task = None

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            await self._refresh_keys()
            # Beside the poll: a revocation does not wait for a price book.
            if self._new_prices is not None and (self._price_task is None or self._price_task.done()):
                self._price_task = asyncio.create_task(self._refresh_prices(), name="snapshot-prices")

    async def refresh(self) -> bool:
        """Ask for the versions once, and swap in what has a new one. False when PostgreSQL does not answer."""
        return await self._refresh_keys() and await self._refresh_prices()

    async def _refresh_keys(self) -> bool:
        return await self._reaching("keys", self._read_keys(), _POLL_TIMEOUT_SECONDS)

    async def _refresh_prices(self) -> bool:
        return await self._reaching("prices", self._read_prices(), _PRICES_TIMEOUT_SECONDS)

    async def _reaching(self, name: str, work: Awaitable[None], timeout_seconds: float) -> bool:
        try:
            async with asyncio.timeout(timeout_seconds):
                await work
        except DATABASE_TROUBLE as error:
            if self.freshness.fail(name, f"PostgreSQL does not answer: {type(error).__name__}"):
                log.warning("snapshots are not current: PostgreSQL does not answer", table=name, error=repr(error))
            self.is_current = False
            return False
        except Exception as error:
            # The edge of a task that must outlive whatever a row holds: the last good table serves, and health says so.
            if self.freshness.fail(name, f"it cannot be read: {type(error).__name__}"):
                log.exception("a snapshot cannot be read: the last good one goes on serving", table=name)
            self.is_current = False
            return False
        if self.freshness.confirm(name):
            log.info("snapshots are current again", table=name)
        # Prices have a task of their own where a new book is waiting.
        if self._new_prices is None:
            self.freshness.confirm("prices")
        self.is_current = True
        return True

    async def _read_keys(self) -> None:
        async with self._reading_keys:
            await self._swap_keys()

    async def _swap_keys(self) -> None:
        # The versions are read before what they stand for, so a change in between is seen by the next poll.
        async with self._database.as_system() as connection:
            versions = await store.snapshot_versions(connection)
            version, prices_version = versions.get("keys", 0), versions.get("prices", 0)
            self._new_prices = prices_version if self._is_new("prices", prices_version) else None
            source: KeySource | None = None
            if self._is_new("keys", version):
                source = KeySource(
                    version,
                    await store.snapshot_keys(connection),
                    await store.snapshot_organizations(connection),
                    await store.snapshot_members(connection),
                )
            ways: GatewaySource | None = None
            # An organization that was deactivated changes the keys' version, and its credentials go too.
            gateway_version = versions.get("gateway", 0)
            if source is not None or self._is_new("gateway", gateway_version):
                ways = GatewaySource(
                    gateway_version,
                    await store.snapshot_providers(connection),
                    await store.snapshot_provider_credentials(connection),
                    await store.snapshot_model_routes(connection),
                    await store.snapshot_key_reaches(connection),
                    await store.snapshot_body_settings(connection),
                    await store.snapshot_mcp_servers(connection),
                )
        if ways is not None:
            self.gateway = build_gateway(ways, self._sealer)
            self._versions["gateway"] = gateway_version
        if source is not None:
            self.keys = build_keys(source)
            self._versions["keys"] = version
        if ways is None:
            return
        self._announce()
        if source is not None:
            await self._write_cache("keys", source)
        await self._write_cache("gateway", ways)

    async def _read_prices(self) -> None:
        async with self._reading_prices:
            await self._swap_prices()

    async def _swap_prices(self) -> None:
        version = self._new_prices
        if version is not None:
            async with self._database.as_system() as connection:
                documents: list[Any] = await store.snapshot_prices(connection)
                source = PriceSource(version, documents, await store.snapshot_endpoints(connection))
            self.prices = await asyncio.to_thread(build_prices, source)
            self._versions["prices"] = version
            self._new_prices = None
            self._announce()
            await self._write_cache("prices", source)
        self.is_loaded = True

    def _is_new(self, name: str, version: int) -> bool:
        return self._versions.get(name) != version

    def _announce(self) -> None:
        for listener in self._listeners:
            listener()

    async def _write_cache(self, name: str, source: KeySource | PriceSource | GatewaySource) -> None:
        if self._data_dir is None:
            return
        try:
            await asyncio.to_thread(_write, self._data_dir / f"snapshot-{name}", source)
        except OSError as error:
            log.warning("a snapshot could not be cached", name=name, error=repr(error))

    def _read_cache(self) -> None:
        if self._data_dir is None:
            return
        try:
            keys = msgspec.msgpack.decode((self._data_dir / "snapshot-keys").read_bytes(), type=KeySource)
            prices = msgspec.msgpack.decode((self._data_dir / "snapshot-prices").read_bytes(), type=PriceSource)
            ways_file = self._data_dir / "snapshot-gateway"
            ways = msgspec.msgpack.decode(ways_file.read_bytes(), type=GatewaySource) if ways_file.exists() else None
            self.keys, self.prices = build_keys(keys), build_prices(prices)
            if ways is not None:
                self.gateway = build_gateway(ways, self._sealer)
        except FileNotFoundError:
            return
        except (
            OSError,
            msgspec.MsgspecError,
            ValueError,
            KeyError,
            TypeError,
        ) as error:
            # A file of another release is of no use; PostgreSQL has the tables when it is back.
            log.warning("the cached snapshots cannot be used", error=repr(error))
            return
        self.is_loaded = True
        log.warning(
            "started on cached snapshots",
            keys_version=keys.version,
            prices_version=prices.version,
        )


def _write(path: Path, source: KeySource | PriceSource | GatewaySource) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, msgspec.msgpack.encode(source))
