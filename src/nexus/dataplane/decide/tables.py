"""The limits in force in this process, kept current by polling their version, and what is known of cells that Redis lost.

What is scheduled comes into force by itself: the poller builds the table again when the next validity begins or ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import structlog

from nexus.contracts.budgets import BudgetDocument, budget_limit, ledger_units
from nexus.contracts.limit_specs import LimitSpec, compile_limit, decimal_fraction
from nexus.contracts.limits import ANYBODY, Limit, LimitTable, OperationCost, Rate, ScopeKind, UnrepresentableLimit
from nexus.contracts.shares import ShareDocument, share_limit
from nexus.dataplane.decide.cells import CellHistory
from nexus.dataplane.decide.lending import LoanRecord
from nexus.dataplane.decide.scripts import METHOD_CODES, BucketState
from nexus.dataplane.decide.windows import from_us, to_us, window
from nexus.dataplane.freshness import Freshness
from nexus.kit.clock import SYSTEM_CLOCK, Clock
from nexus.kit.ids import opaque_uuid
from nexus.kit.money import nanos_of
from nexus.platform.db import DATABASE_TROUBLE, Database, load_queries
from nexus.platform.db.configuration import Configuration, get_configuration
from nexus.platform.db.secrets import write_private
from nexus.platform.tasks import end_tasks

POLL_SECONDS = 0.4
_TIMEOUT_SECONDS = 5.0
_QUERIES = load_queries("nexus.dataplane")
log = structlog.get_logger("nexus.admission")


class QuotaRow(msgspec.Struct, frozen=True):
    """One version of a quota."""

    organization_id: UUID
    quota_id: UUID
    name: str
    scope: ScopeKind
    subject: str | None
    version: int
    limits: list[LimitSpec]
    valid_from: float | None = msgspec.field(name="from")
    valid_to: float | None = msgspec.field(name="to")
    provider: str | None = None


class KeyRow(msgspec.Struct, frozen=True):
    """An access key with a rate of its own."""

    organization_id: UUID
    key_id: UUID
    per_minute: int


class ApplicationRow(msgspec.Struct, frozen=True):
    """An application and the cluster it uses."""

    organization_id: UUID
    name: str
    cluster: str


class OperationRow(msgspec.Struct, frozen=True):
    """What an operation costs, for all or for one organization."""

    organization_id: UUID | None
    name: str
    base: str
    quantum: int
    bandwidth: str
    whole_quanta: bool


class CostRuleRow(msgspec.Struct, frozen=True):
    """What an operation costs one application for a time."""

    organization_id: UUID
    application: str
    name: str
    base: str | None
    bandwidth: str | None
    valid_from: float | None = msgspec.field(name="from")
    valid_to: float | None = msgspec.field(name="to")


class ExchangeRow(msgspec.Struct, frozen=True):
    """Today's rate between two currencies, for one organization: so many of `target` for one of `source`."""

    organization_id: UUID
    source: str
    target: str
    rate: str


class LimitSource(msgspec.Struct, frozen=True):
    """What a table of limits is built from, as read and as cached."""

    version: int
    quotas: list[QuotaRow]
    keys: list[KeyRow]
    applications: list[ApplicationRow]
    operations: list[OperationRow]
    cost_rules: list[CostRuleRow]
    # What an older release cached has none of these.
    budgets: list[BudgetDocument] = []
    exchange: list[ExchangeRow] = []
    shares: list[ShareDocument] = []


_KINDS: Mapping[str, tuple[str, type]] = {
    "quota": ("quotas", QuotaRow),
    "key": ("keys", KeyRow),
    "application": ("applications", ApplicationRow),
    "operation": ("operations", OperationRow),
    "cost_rule": ("cost_rules", CostRuleRow),
    "budget": ("budgets", BudgetDocument),
    "exchange": ("exchange", ExchangeRow),
    "share": ("shares", ShareDocument),
}


def read_source(version: int, rows: Sequence[tuple[str, Any]]) -> LimitSource:
    """Take rows of `admission.snapshot_limits_v1` and `costs.snapshot_budgets_v1` apart."""
    found: dict[str, list[Any]] = {field: [] for field, _ in _KINDS.values()}
    for kind, document in rows:
        field, row_type = _KINDS[kind]
        found[field].append(msgspec.convert(document, row_type))
    return LimitSource(version, **found)


def _holds(row: QuotaRow | CostRuleRow, at: float) -> bool:
    return (row.valid_from is None or row.valid_from <= at) and (row.valid_to is None or at < row.valid_to)


def _key_limit(row: KeyRow) -> Limit:
    return Limit(
        id=opaque_uuid(f"key:{row.key_id}"), name="key-requests", organization_id=row.organization_id, scope="key",
        subject=str(row.key_id), dimension="requests", method="token_bucket", capacity=row.per_minute,
        rate=Rate.of(row.per_minute, per_us=60_000_000), failure="local",
        # A key's rate never changes: a rotated key is another one.
        version=1,
    )  # fmt: skip


def _operations(source: LimitSource, at: float) -> dict[tuple[UUID, str, str], OperationCost]:
    costs: dict[tuple[UUID, str, str], OperationCost] = {}
    for row in source.operations:
        costs[row.organization_id or ANYBODY, "", row.name] = OperationCost(
            row.name, decimal_fraction(row.base), row.quantum, decimal_fraction(row.bandwidth), row.whole_quanta
        )
    for rule in source.cost_rules:
        known = costs.get((rule.organization_id, "", rule.name)) or costs.get((ANYBODY, "", rule.name))
        if known is not None and _holds(rule, at):
            costs[rule.organization_id, rule.application, rule.name] = OperationCost(
                rule.name,
                decimal_fraction(rule.base) if rule.base is not None else known.base,
                known.quantum,
                decimal_fraction(rule.bandwidth) if rule.bandwidth is not None else known.bandwidth,
                known.whole_quanta,
            )
    return costs


def build_limits(source: LimitSource, at: datetime) -> tuple[LimitTable, datetime | None]:
    """Build the table in force at an instant; returns it and when the next one comes into force by itself."""
    seconds = at.timestamp()
    limits: dict[UUID, list[Limit]] = {}
    for row in source.quotas:
        if not _holds(row, seconds):
            continue
        for spec in row.limits:
            try:
                limit = compile_limit(
                    spec, organization_id=row.organization_id, quota_id=row.quota_id, scope=row.scope,
                    subject=row.subject, version=row.version, provider=row.provider,
                )  # fmt: skip
            except UnrepresentableLimit as error:
                # It was checked when it was published; what an older release took is said, and the others hold.
                log.error("a limit cannot be read", quota=row.name, limit=spec.name, error=str(error))
                continue
            limits.setdefault(row.organization_id, []).append(limit)
    for budget in source.budgets:
        try:
            limits.setdefault(budget.organization_id, []).append(budget_limit(budget))
        except UnrepresentableLimit as error:
            log.error("a budget cannot be read", budget=budget.name, error=str(error))
    for share in source.shares:
        try:
            limits.setdefault(share.organization_id, []).append(share_limit(share))
        except UnrepresentableLimit as error:
            log.error("a share cannot be read", capacity=share.name, error=str(error))
    for key in source.keys:
        limits.setdefault(key.organization_id, []).append(_key_limit(key))
    validities = [(row.valid_from, row.valid_to) for row in source.quotas]
    validities += [(rule.valid_from, rule.valid_to) for rule in source.cost_rules]
    edges = [edge for validity in validities for edge in validity if edge is not None and edge > seconds]
    table = LimitTable(
        source.version,
        MappingProxyType({key: tuple(sorted(items, key=lambda item: item.name)) for key, items in limits.items()}),
        MappingProxyType({(row.organization_id, row.name): row.cluster for row in source.applications}),
        MappingProxyType(_operations(source, seconds)),
        MappingProxyType(
            {(row.organization_id, row.source, row.target): decimal_fraction(row.rate) for row in source.exchange}
        ),
    )
    return table, datetime.fromtimestamp(min(edges), UTC) if edges else None


class LimitSnapshots:
    """The current table of limits of this process."""

    def __init__(
        self,
        database: Database,
        *,
        data_dir: Path | None = None,
        poll_seconds: float = POLL_SECONDS,
        clock: Clock = SYSTEM_CLOCK,
        freshness: Freshness | None = None,
    ) -> None:
        self.freshness = freshness or Freshness(["limits"])
        self._database = database
        self._file = data_dir / "snapshot-limits" if data_dir is not None else None
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._versions: Mapping[str, int] | None = None
        self._source: LimitSource | None = None
        self._next_change: datetime | None = None
        self.table = LimitTable()
        self.configuration: tuple[int, Configuration] = (1, Configuration({}))
        """The system configuration in force, and its version."""
        self.is_loaded = False

    async def start(self) -> None:
        """Read the limits, from PostgreSQL or else from the last good copy, and begin to poll."""
        if not await self.refresh():
            await asyncio.to_thread(self._read_cache)
        self._task = asyncio.create_task(self._poll(), name="limit-snapshots")

    async def stop(self) -> None:
        """Stop polling."""
        self._is_stopping = True
        await end_tasks(self._task)
        self._task = None

    async def refresh(self) -> bool:
        """Swap in what has changed; False when PostgreSQL does not answer."""
        is_reached = True
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._read()
        except DATABASE_TROUBLE as error:
            if self.freshness.fail("limits", f"PostgreSQL does not answer: {type(error).__name__}"):
                log.warning("limits are not current: PostgreSQL does not answer", error=repr(error))
            is_reached = False
        except Exception as error:
            # The edge of a task that must outlive whatever a row holds: the last good table serves, and health says so.
            if self.freshness.fail("limits", f"they cannot be read: {type(error).__name__}"):
                log.exception("limits cannot be read: the last good ones go on serving")
            is_reached = False
        else:
            self.freshness.confirm("limits")
        if self._next_change is not None and self._clock.now() >= self._next_change:
            self._build()
        return is_reached

    async def history(self, organization_id: UUID) -> CellHistory:
        """Return what PostgreSQL knows of a cell that Redis does not: whether it had any state, and its running windows."""
        now = self._clock.now()
        windows = {
            limit.id.hex: limit
            for limit in self.table.limits.get(organization_id, ())
            # Budgets are opened from the ledger, one by one: see `spent`.
            if limit.period is not None and not limit.is_budget
        }
        async with asyncio.timeout(_TIMEOUT_SECONDS), self._database.as_system(readonly=True) as connection:
            has_history = bool(await connection.fetchval(_QUERIES["has_transactions"], organization_id))
            rows = await connection.fetch(
                _QUERIES["last_states"], organization_id, list(windows), now - timedelta(days=367)
            )
            lent = await connection.fetch(_QUERIES["open_loans"], organization_id)
        states, loans = self._borrowers(organization_id, lent, to_us(now))
        for row in rows:
            limit = windows[row["bucket"].partition(":")[0]]
            assert limit.period is not None
            begins, ends = window(to_us(now), limit.period, limit.zone, limit.begins_on)
            if row["level_at_us"] == begins:
                states[row["bucket"]] = _window_state(limit, row["level"], begins, ends).pack()
        return CellHistory(has_history, states, loans)

    def _borrowers(
        self, organization_id: UUID, rows: Sequence[Any], now_us: int
    ) -> tuple[dict[str, bytes], dict[str, list[LoanRecord]]]:
        """Return the open loans by who borrowed, and those buckets as they begin after a loss: empty, now."""
        limits = {limit.id.hex: limit for limit in self.table.limits.get(organization_id, ())}
        states: dict[str, bytes] = {}
        loans: dict[str, list[LoanRecord]] = {}
        for row in rows:
            name = row["borrower"]
            loans.setdefault(name, []).append(
                LoanRecord(
                    row["id"].hex, row["lender"] or "", row["state"], row["principal"], row["interest"], row["repaid"],
                    row["interest_paid"], row["share"], row["rest"], to_us(row["granted_at"]), to_us(row["due_at"]),
                    row["had"], row["sequence"],
                )
            )  # fmt: skip
            limit = limits.get(name.partition(":")[0])
            if limit is not None and limit.rate is not None:
                states[name] = _empty_state(limit, now_us).pack()
        return states, loans

    async def spent(self, limit: Limit, bucket: str) -> int:
        """Return what was spent of a budget in the window that runs, in the limit's units, rounded up.

        By the ledger of calls, or by the last state its bucket was stored with, whichever is more: what Redis lost a moment
        ago is in the second only.
        """
        assert limit.period is not None
        starts, ends = window(to_us(self._clock.now()), limit.period, limit.zone, limit.begins_on)
        subject = bucket.partition(":")[2] if ":" in bucket else limit.subject
        if limit.scope == "tag" and ":" in bucket:
            subject = f"{limit.subject}={subject}"
        step = "hour" if limit.period == "day" else "day"
        async with asyncio.timeout(_TIMEOUT_SECONDS), self._database.as_system(readonly=True) as connection:
            spent = await connection.fetchval(
                _QUERIES["spent"], limit.organization_id, limit.scope, subject, limit.currency, from_us(starts),
                from_us(ends), limit.zone, step,
            )  # fmt: skip
            state = await connection.fetchrow(_QUERIES["last_state"], limit.organization_id, bucket, from_us(starts))
        units = ledger_units(nanos_of(spent), limit)
        return max(units, state["level"]) if state is not None and state["level_at_us"] == starts else units

    async def _poll(self) -> None:
        # The driver may swallow a cancellation that comes as it gets its connection, so the flag is asked too.
        while not self._is_stopping:
            await asyncio.sleep(self._poll_seconds)
            await self.refresh()

    async def _read(self) -> None:
        async with self._database.as_system(readonly=True) as connection:
            versions = {row["name"]: row["version"] for row in await connection.fetch(_QUERIES["limit_versions"])}
            if versions == self._versions:
                return
            configuration = await get_configuration(connection)
            rows = [(row["kind"], row["document"]) for row in await connection.fetch(_QUERIES["snapshot_limits"])]
        self._source = await asyncio.to_thread(read_source, sum(versions.values()), rows)
        self.configuration = (versions.get("configuration", 0) + 1, configuration)
        self._build()
        self._versions = versions
        if self._file is not None:
            try:
                await asyncio.to_thread(_write, self._file, self._source)
            except OSError as error:
                log.warning("the limits could not be cached", error=repr(error))

    def _build(self) -> None:
        assert self._source is not None
        table, self._next_change = build_limits(self._source, self._clock.now())
        self.table = replace(table, has_older_headers=bool(self.configuration[1]["limits.older_headers"]))
        self.is_loaded = True

    def _read_cache(self) -> None:
        if self._file is None:
            return
        try:
            self._source = msgspec.msgpack.decode(self._file.read_bytes(), type=LimitSource)
            self._build()
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            log.warning("the cached limits cannot be used", error=repr(error))


def _empty_state(limit: Limit, now_us: int) -> BucketState:
    rate = limit.rate
    assert rate is not None
    return BucketState(
        0, 0, now_us, 0, 0, 0, 0, limit.version, METHOD_CODES[limit.method], limit.capacity, rate.whole, rate.part,
        rate.denominator, limit.reserve,
    )  # fmt: skip


def _window_state(limit: Limit, used: int, begins: int, ends: int) -> BucketState:
    return BucketState(
        used,
        0,
        begins,
        0,
        0,
        ends,
        0,
        limit.version,
        METHOD_CODES[limit.method],
        limit.capacity,
        0,
        0,
        1,
        limit.reserve,
    )


def _write(path: Path, source: LimitSource) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, msgspec.msgpack.encode(source))
