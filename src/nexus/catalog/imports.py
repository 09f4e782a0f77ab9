"""Puts an imported price list into the book, without ever overwriting what is there.

For each subject: nothing known -> its prices are added; known from the same source -> where the list says otherwise from
now on, the price in force ends now and the new one begins (history stays as it was charged); known from another source
-> a difference is a conflict, listed for a person to decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec

from nexus.catalog import store
from nexus.catalog.importers import ImportedBook, ImportedComponent, ImportedPrice, ImportedProvider
from nexus.catalog.types import ImportSummary
from nexus.kit.ids import uuid7
from nexus.platform.db import Connection

Subject = tuple[object, ...]
_NO_LONGER_NAMED = 1_000_000_000
"""Added to the place of models that their list no longer names."""


class Stored(msgspec.Struct, frozen=True):
    """A shared price as it is in the book."""

    id: UUID
    source: str
    valid_from: datetime | None
    valid_to: datetime | None
    rates: frozenset[tuple[str, int, Decimal]]


async def _stored(connection: Connection) -> dict[Subject, list[Stored]]:
    found: dict[Subject, list[Stored]] = {}
    for row in await store.fetch(connection, "shared_prices"):
        daily: tuple[time, time] | None = (row["daily_from"], row["daily_to"]) if row["daily_from"] else None
        variant = tuple(sorted(row["variant"].items()))
        subject = (row["provider"], row["model"], variant, row["position"] if variant else 0, daily)
        rates = frozenset(
            ImportedComponent(item["unit"], item["above"], Decimal(item["amount"]), item["per"]).rate
            for item in row["components"] or ()
        )
        entry = Stored(row["id"], row["source"], row["valid_from"], row["valid_to"], rates)
        found.setdefault(subject, []).append(entry)
    return found


def _from_now(start: datetime | None, now: datetime) -> datetime:
    return now if start is None or start < now else start


def _is_same_from_now(stored: Sequence[Stored], wanted: Sequence[ImportedPrice], now: datetime) -> bool:
    ours = [
        (_from_now(s.valid_from, now), s.valid_to, s.rates) for s in stored if s.valid_to is None or s.valid_to > now
    ]
    theirs = [
        (_from_now(w.valid_from, now), w.valid_to, w.rates) for w in wanted if w.valid_to is None or w.valid_to > now
    ]
    return sorted(ours, key=lambda item: item[0]) == sorted(theirs, key=lambda item: item[0])


class _Plan:
    """What an import will write, gathered first so that a dry run can stop here."""

    def __init__(self, book: ImportedBook, import_id: UUID) -> None:
        self.book = book
        self.import_id = import_id
        self.prices: list[tuple[object, ...]] = []
        self.components: list[tuple[object, ...]] = []
        self.closed: list[tuple[UUID, datetime]] = []
        self.superseded: list[tuple[UUID, datetime]] = []
        self.conflicts: list[tuple[object, ...]] = []

    def add(self, price: ImportedPrice, *, start: datetime | None) -> None:
        price_id = uuid7()
        daily_from, daily_to = price.daily or (None, None)
        self.prices.append(
            (price_id, None, price.provider, price.model, None, None, "standard", "", "USD", dict(price.variant),
             price.position, daily_from, daily_to, start, price.valid_to, self.book.source, self.import_id)
        )  # fmt: skip
        self.components += [(price_id, None, c.unit, c.above, c.amount, c.per) for c in price.components]


def proposed_of(components: Sequence[ImportedComponent]) -> list[dict[str, Any]]:
    """Write components as a conflict keeps them."""
    return [
        {"unit": c.unit, "amount": format(c.amount, "f"), "per": c.per, "context_above": c.above} for c in components
    ]


def _has_new_rules(stored: Mapping[str, Any] | None, wanted: ImportedProvider) -> bool:
    """Tell whether a list says otherwise about a provider's rules. Lists that know none leave them as they are."""
    if stored is None or not (wanted.match or wanted.fallback):
        return False
    return (stored["match"], tuple(stored["fallback_providers"])) != (wanted.match, wanted.fallback)


def _changed_models(
    book: ImportedBook, stored: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[tuple[object, ...]]:
    """Return the models of this source whose rule, place or facts the list now gives otherwise.

    Rules are tried in the order of places, so a list must be taken as a whole: a new, narrower rule stands before an
    older, wider one. Models it no longer names keep their prices, and are tried after those it names.
    """
    named = {(item.provider, item.slug): item for item in book.models}
    changed: list[tuple[object, ...]] = []
    for key, row in stored.items():
        if row["source"] != book.source:
            continue
        item = named.get(key)
        before = (
            row["name"],
            row["match"],
            row["position"],
            row["context_window"],
            row["max_output"],
            row["is_deprecated"],
        )
        if item is None:
            place = row["position"] if row["position"] >= _NO_LONGER_NAMED else row["position"] + _NO_LONGER_NAMED
            after = (row["name"], row["match"], place, row["context_window"], row["max_output"], row["is_deprecated"])
        else:
            after = (item.name, item.match, item.position, item.context_window, item.max_output, item.is_deprecated)
        if before != after:
            changed.append((*key, *after))
    return changed


async def apply(
    connection: Connection, book: ImportedBook, *, now: datetime, actor_label: str, dry_run: bool = False
) -> ImportSummary:
    """Import a price list, as nexus_system. Importing the same again changes nothing. Returns what was (or would be) done."""
    summary = ImportSummary(book.source, book.digest, skipped=list(book.skipped), is_dry_run=dry_run)
    plan = _Plan(book, uuid7())
    # Two imports at once would both find nothing there.
    await store.value(connection, "lock_imports")
    slugs = {row["slug"]: row for row in await store.fetch(connection, "shared_providers")}
    models = {(row["provider"], row["slug"]): row for row in await store.fetch(connection, "shared_models")}
    new_providers = {item.slug: item for item in book.providers if item.slug not in slugs}
    new_models = {(item.provider, item.slug): item for item in book.models if (item.provider, item.slug) not in models}
    changed_providers = [item for item in book.providers if _has_new_rules(slugs.get(item.slug), item)]
    changed_models = _changed_models(book, models)
    summary.providers_added, summary.models_added = len(new_providers), len(new_models)
    summary.providers_changed, summary.models_changed = len(changed_providers), len(changed_models)
    await _plan_prices(connection, plan, summary, now)
    if dry_run or not summary.changes:
        return summary
    await store.run(connection, "insert_import", plan.import_id, book.source, book.digest, actor_label, {})
    await store.run_many(
        connection, "insert_provider",
        [
            (uuid7(), None, p.slug, p.name, "", "ai", "active", "usage", None, None, None, p.website_url, [], [], [],
             list(p.fallback), p.match, book.source)
            for p in new_providers.values()
        ],
    )  # fmt: skip
    await store.run_many(
        connection, "update_provider_rules", [(p.slug, p.match, list(p.fallback)) for p in changed_providers]
    )
    await store.run_many(
        connection, "insert_model",
        [
            (uuid7(), None, m.provider, m.slug, m.name, m.match, m.position, m.context_window, m.max_output,
             m.is_deprecated, book.source)
            for m in new_models.values()
        ],
    )  # fmt: skip
    await store.run_many(connection, "update_model_rules", changed_models)
    await store.run_many(connection, "close_price", plan.closed)
    await store.run_many(connection, "supersede_price", plan.superseded)
    await store.run_many(connection, "insert_price", plan.prices)
    await store.run_many(connection, "insert_component", plan.components)
    await store.run_many(connection, "insert_conflict", plan.conflicts)
    await store.run(connection, "summarise_import", plan.import_id, msgspec.to_builtins(summary))
    return summary


async def _plan_prices(connection: Connection, plan: _Plan, summary: ImportSummary, now: datetime) -> None:
    stored = await _stored(connection)
    known = {
        (row["price_id"], row["source"], row["proposed_hash"])
        for row in await store.fetch(connection, "known_conflicts")
    }
    wanted: dict[Subject, list[ImportedPrice]] = {}
    for price in plan.book.prices:
        wanted.setdefault(price.subject, []).append(price)
    for subject, prices in wanted.items():
        there = stored.get(subject, [])
        lasting = [item for item in there if item.valid_to is None or item.valid_to > now]
        if not there:
            for price in prices:
                plan.add(price, start=price.valid_from)
            summary.prices_added += len(prices)
        elif _is_same_from_now(there, prices, now):
            summary.prices_unchanged += len(prices)
        elif all(item.source == plan.book.source for item in lasting):
            for item in there:
                if item.valid_from is not None and item.valid_from >= now:
                    plan.superseded.append((item.id, now))
                elif item.valid_to is None or item.valid_to > now:
                    plan.closed.append((item.id, now))
            for price in prices:
                if price.valid_to is None or price.valid_to > now:
                    plan.add(price, start=_from_now(price.valid_from, now))
            summary.prices_changed += 1
        else:
            _plan_conflict(plan, summary, there, prices, now, known)


def _plan_conflict(
    plan: _Plan,
    summary: ImportSummary,
    there: Sequence[Stored],
    prices: Sequence[ImportedPrice],
    now: datetime,
    known: set[tuple[UUID, str, str]],
) -> None:
    ours = next((s for s in there if _holds(s.valid_from, s.valid_to, now)), None)
    theirs = next((p for p in prices if _holds(p.valid_from, p.valid_to, now)), None)
    if ours is None or theirs is None or ours.rates == theirs.rates:
        summary.prices_unchanged += len(prices)
        return
    summary.conflicts += 1
    proposed = proposed_of(theirs.components)
    digest = sha256(msgspec.json.encode(proposed)).hexdigest()
    if (ours.id, plan.book.source, digest) not in known:
        summary.new_conflicts += 1
        plan.conflicts.append((uuid7(), ours.id, plan.book.source, plan.import_id, proposed, digest))


def _holds(start: datetime | None, end: datetime | None, at: datetime) -> bool:
    return (start is None or start <= at) and (end is None or at < end)
