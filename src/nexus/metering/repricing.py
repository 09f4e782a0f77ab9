"""Prices stored calls again from the price book in force now: ordered by people or by a change of prices, done by a worker.

Running it twice changes nothing more. A dry run does all but change. Rollups follow in the same transaction, through
the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from nexus.contracts.calls import TOKEN_COLUMNS
from nexus.contracts.prices import PriceBook
from nexus.contracts.pricing import price_call
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.kit.money import NANOS, format_nanos, nanos_of
from nexus.metering import store
from nexus.metering.errors import RepricingNotFound
from nexus.metering.types import Repricing, RepricingNew, RepricingTotal
from nexus.platform.db import Connection

CHUNK = 2_000
"""Calls priced in one transaction: short enough that nobody waits for it."""


async def start(connection: Connection, organization_id: UUID, new: RepricingNew, *, at: datetime) -> Repricing:
    """Order a repricing; the worker begins it within seconds."""
    if new.start >= new.end:
        message = "give an instant after `from`"
        raise InvalidRequest(message, faults=[FieldFault("to", message)])
    row = await store.insert_repricing(connection, organization_id, uuid7(), new, at)
    return _shown(row)


async def get(connection: Connection, organization_id: UUID, repricing_id: UUID) -> Repricing:
    """Return one repricing; `RepricingNotFound`."""
    row = await store.repricing(connection, organization_id, repricing_id)
    if row is None:
        raise RepricingNotFound
    return _shown(row)


async def newest(
    connection: Connection, organization_id: UUID, *, limit: int, after: UUID | None
) -> tuple[list[Repricing], UUID | None]:
    """Return repricings, newest first, and the last one's id when there are more."""
    rows = await store.repricings(connection, organization_id, after, limit + 1)
    items = [_shown(row) for row in rows[:limit]]
    return items, items[-1].id if len(rows) > limit else None


def _shown(row: asyncpg.Record) -> Repricing:
    return Repricing(
        id=row["id"],
        state=row["state"],
        cause=row["cause"],
        start=row["starts_at"],
        end=row["ends_at"],
        provider=row["provider"],
        model=row["model"],
        dry_run=row["is_dry"],
        only_unpriced=row["only_unpriced"],
        include_given=row["include_given"],
        requested_by=row["requested_by"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        examined=row["examined"],
        changed=row["changed"],
        totals=[
            RepricingTotal(
                provider=item.provider,
                model=item.model or None,
                currency=item.currency,
                calls=item.calls,
                changed=item.changed,
                cost_before=format_nanos(item.before),
                cost_after=format_nanos(item.after),
                unpriced_before=item.unpriced_before,
                unpriced_after=item.unpriced_after,
            )
            for item in _totals(row["totals"]).values()
        ],
        error=row["error"],
    )


class _Total(msgspec.Struct):
    """Running sums of one provider, model and currency; money in nano-units."""

    provider: str
    model: str
    currency: str
    calls: int = 0
    changed: int = 0
    before: int = 0
    after: int = 0
    unpriced_before: int = 0
    unpriced_after: int = 0


_Totals = dict[tuple[str, str, str], _Total]


def _totals(stored: Sequence[Any]) -> _Totals:
    items = msgspec.convert(stored, list[_Total])
    return {(item.provider, item.model, item.currency): item for item in items}


@dataclass(frozen=True)
class _Price:
    """What is stored about a call's price."""

    cost: int | None
    currency: str
    source: str
    price_id: UUID | None
    reason: str | None


def _usage(row: asyncpg.Record) -> dict[str, int]:
    usage = {name: row[column] for name, column in TOKEN_COLUMNS.items() if row[column]}
    usage.update(row["units"] or {})
    usage["requests"] = 1
    return usage


def _price(book: PriceBook, order: asyncpg.Record, row: asyncpg.Record) -> _Price:
    """Price a stored call as its arrival would today."""
    variant: Mapping[str, str] = row["service_variant"] or {}
    priced = price_call(
        book,
        organization_id=order["organization_id"],
        tier=order["tier"],
        provider=row["provider"],
        model=row["model"] or None,
        endpoint=row["endpoint"] or None,
        method=row["method"],
        region=row["region"] or None,
        at=row["occurred_at"],
        usage=_usage(row),
        variant=variant,
        currency=order["organization_currency"],
        is_failure=row["status_code"] >= 400 or row["status_code"] == 0,
    )
    currency = priced.currency or order["organization_currency"]
    return _Price(priced.cost_nanos, currency, priced.source, priced.price_id, priced.reason)


def _stored_price(row: asyncpg.Record) -> _Price:
    cost = None if row["cost"] is None else nanos_of(row["cost"])
    return _Price(cost, row["currency"], row["price_source"], row["price_id"], row["unpriced_reason"])


def _add(totals: _Totals, row: asyncpg.Record, before: _Price, after: _Price) -> None:
    # A call whose currency changes leaves one line and enters another.
    for currency in {before.currency, after.currency}:
        key = (row["provider"], row["model"], currency)
        total = totals.setdefault(key, _Total(*key))
        total.calls += 1
        total.changed += before != after
        if before.currency == currency:
            total.before += before.cost or 0
            total.unpriced_before += before.cost is None
        if after.currency == currency:
            total.after += after.cost or 0
            total.unpriced_after += after.cost is None


async def work_chunk(connection: Connection, book: PriceBook) -> bool:
    """Price the next chunk of the oldest open order, as nexus_system; tells whether there was any.

    The calls, the rollup journal and the place reached are written together, or not at all.
    """
    order = await store.next_repricing(connection)
    if order is None:
        return False
    rows = await store.calls_to_price(connection, order, CHUNK)
    totals = _totals(order["totals"])
    changed: list[tuple[asyncpg.Record, _Price]] = []
    for row in rows:
        before, after = _stored_price(row), _price(book, order, row)
        _add(totals, row, before, after)
        if before != after:
            changed.append((row, after))
    if changed and not order["is_dry"]:
        await store.apply_prices(
            connection,
            order["organization_id"],
            [
                (
                    row["key_at"],
                    row["id"],
                    None if price.cost is None else Decimal(price.cost) / NANOS,
                    price.currency,
                    price.source,
                    price.price_id,
                    price.reason,
                )
                for row, price in changed
            ],
        )
    last = rows[-1] if rows else None
    await store.advance_repricing(
        connection,
        order,
        state="running" if len(rows) == CHUNK else "done",
        examined=order["examined"] + len(rows),
        changed=order["changed"] + len(changed),
        totals=msgspec.to_builtins(list(totals.values())),
        reached=(last["occurred_at"], last["id"]) if last else (order["reached_at"], order["reached_id"]),
    )
    return True


async def fail_next(connection: Connection, error: str) -> None:
    """Mark the oldest open order as failed, with the reason, so that it does not hold up the others."""
    order = await store.next_repricing(connection)
    if order is not None:
        await store.advance_repricing(
            connection,
            order,
            state="failed",
            examined=order["examined"],
            changed=order["changed"],
            totals=order["totals"],
            reached=(order["reached_at"], order["reached_id"]),
            error=error[:500],
        )


async def order_for_new_prices(connection: Connection) -> int:
    """Order repricings of calls without a price when the price book has changed; returns how many."""
    current, noticed = await store.prices_version(connection)
    if current is None or current <= noticed or not await store.notice_prices(connection, current):
        return 0
    return await store.order_unpriced(connection)
