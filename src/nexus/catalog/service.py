"""Use cases of the catalog: ship it, import into it, change it, price a call by it."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from nexus.catalog import imports, store
from nexus.catalog.errors import InvalidPrice, UnknownConflict, UnknownPrice
from nexus.catalog.importers import ImportedBook, UnreadablePriceList, genai_prices, litellm, models_dev
from nexus.catalog.importers.files import amount_of
from nexus.catalog.types import ImportSummary, Price, PriceComponent
from nexus.contracts.cost_lines import CostLine, cost_lines
from nexus.contracts.prices import Component, PriceBook, PriceDocument, compile_price
from nexus.contracts.pricing import Priced, cost_of, price_call
from nexus.contracts.units import DIMENSIONS
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.kit.ids import uuid7
from nexus.platform.db import Connection

READERS = {genai_prices.SOURCE: genai_prices.read, litellm.SOURCE: litellm.read, models_dev.SOURCE: models_dev.read}
MAX_COMPONENTS = 100


class ShippedProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider of the shipped list (`data/providers.json`)."""

    slug: str
    name: str
    category: str
    website_url: str
    description: str = ""
    base_url: str | None = None
    docs_url: str | None = None
    status_url: str | None = None
    pricing_model: str = "usage"
    auth_types: list[str] = []
    aliases: list[str] = []
    endpoints: list[tuple[str, str, str]] = []
    """Method, path template, name."""


def shipped_providers() -> list[ShippedProvider]:
    """Return the providers Nexus ships with."""
    data = (importlib.resources.files("nexus.catalog") / "data" / "providers.json").read_bytes()
    return msgspec.json.decode(data, type=list[ShippedProvider])


async def ship_catalog(connection: Connection) -> ImportSummary | None:
    """Make the catalog of a new installation, as nexus_system, offline; None where there is one already."""
    if await store.value(connection, "count_shared_prices"):
        return None
    shipped = shipped_providers()
    await store.run_many(
        connection, "insert_provider",
        [
            (uuid7(), None, p.slug, p.name, p.description, p.category, "active", p.pricing_model, p.base_url, p.docs_url,
             p.status_url, p.website_url, p.auth_types, [], p.aliases, [], None, "nexus")
            for p in shipped
        ],
    )  # fmt: skip
    await store.run_many(
        connection, "insert_endpoint",
        [
            (uuid7(), None, p.slug, method, path, name, p.category, "nexus")
            for p in shipped
            for method, path, name in p.endpoints
        ],
    )  # fmt: skip
    return await imports.apply(
        connection, genai_prices.read_bundled(), now=SYSTEM_CLOCK.now(), actor_label="first start"
    )


def read_price_list(source: str, path: Path | None) -> ImportedBook:
    """Read a price list of a source; `UnreadablePriceList` names what is wrong."""
    if path is None:
        if source == genai_prices.SOURCE:
            return genai_prices.read_bundled()
        raise UnreadablePriceList(f"{source}: name the file", faults=[FieldFault("file", "name the file")])
    reader = READERS.get(source)
    if reader is None:
        message = f"give one of {', '.join(READERS)}"
        raise InvalidRequest(message, faults=[FieldFault("source", message)])
    return reader(path)


async def import_price_list(
    connection: Connection, book: ImportedBook, *, at: datetime, actor_label: str, dry_run: bool = False
) -> ImportSummary:
    """Import a price list, as nexus_system."""
    return await imports.apply(connection, book, now=at, actor_label=actor_label, dry_run=dry_run)


async def price_book(connection: Connection) -> PriceBook:
    """Return the whole price book, as nexus_system."""
    return PriceBook.from_documents([row["document"] for row in await store.fetch(connection, "price_documents")])


async def estimate(
    connection: Connection,
    *,
    organization_id: UUID | None,
    tier: str,
    provider: str,
    model: str | None,
    endpoint: str | None,
    method: str | None,
    region: str | None,
    at: datetime,
    usage: Mapping[str, int],
    variant: Mapping[str, str],
) -> Priced:
    """Price a call that was not made, by the book as it is now."""
    book = await price_book(connection)
    return price_call(
        book, organization_id=organization_id, tier=tier, provider=provider, model=model, endpoint=endpoint,
        method=method, region=region, at=at, usage=usage, variant=variant,
    )  # fmt: skip


def check_components(components: Sequence[PriceComponent]) -> list[FieldFault]:
    """Return what is wrong with the components of a price."""
    faults: list[FieldFault] = []
    if not 1 <= len(components) <= MAX_COMPONENTS:
        faults.append(FieldFault("components", f"give 1 to {MAX_COMPONENTS} components"))
    seen: set[tuple[str, int]] = set()
    for number, item in enumerate(components):
        where = f"components.{number}"
        if item.unit not in DIMENSIONS:
            faults.append(FieldFault(f"{where}.unit", f"give one of {', '.join(sorted(DIMENSIONS))}"))
        amount = amount_of(item.amount)
        if amount is None or amount != round(amount, 15):
            faults.append(
                FieldFault(f"{where}.amount", "give a decimal of zero or more, with at most 15 places, as text")
            )
        if not 0 < item.per < 2**62:
            faults.append(FieldFault(f"{where}.per", "give how many units the amount is for, 1 or more"))
        if not 0 <= item.context_above < 2**62:
            faults.append(FieldFault(f"{where}.context_above", "give a number of input tokens, 0 or more"))
        if (item.unit, item.context_above) in seen:
            faults.append(FieldFault(f"{where}.unit", "it stands here twice"))
        seen.add((item.unit, item.context_above))
    for unit, above in sorted(seen):
        if above and (unit, 0) not in seen:
            faults.append(FieldFault("components", f"{unit} has a tier above {above} and no amount below"))
    return faults


async def create_price(
    connection: Connection,
    organization_id: UUID | None,
    *,
    provider: str,
    components: Sequence[PriceComponent],
    model: str | None = None,
    endpoint: str | None = None,
    method: str | None = None,
    tier: str = "standard",
    region: str = "",
    currency: str = "USD",
    variant: Mapping[str, str] | None = None,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> Price:
    """Add a price; `OverlappingPrice` where one holds in its time. A model nobody lists is added with it."""
    faults = check_components(components)
    if (model is None) == (endpoint is None):
        faults.append(FieldFault("model", "name either a model or an endpoint"))
    if re.fullmatch("[a-z0-9][a-z0-9._-]{0,62}", provider) is None:
        faults.append(FieldFault("provider", "give the slug of a provider"))
    if re.fullmatch("[A-Z]{3}", currency) is None:
        faults.append(FieldFault("currency", "give three capital letters (ISO 4217)"))
    if method is not None and re.fullmatch("[A-Z]{1,10}", method) is None:
        faults.append(FieldFault("method", "give an HTTP method in capital letters"))
    if valid_from is not None and valid_to is not None and valid_to <= valid_from:
        faults.append(FieldFault("valid_to", "give a later instant than valid_from"))
    if faults:
        raise InvalidPrice("; ".join(f"{item.field}: {item.message}" for item in faults), faults=faults)
    price_id = uuid7()
    # The catalog needs the names a price hangs on; what is there already stays.
    await store.run(
        connection, "insert_provider", uuid7(), organization_id, provider, provider, "", "other", "active", "usage",
        None, None, None, None, [], [], [], [], None, "user",
    ) if not await store.list_providers(connection, None, None, provider, 1) else None  # fmt: skip
    if model is not None:
        await store.run(
            connection, "insert_model", uuid7(), organization_id, provider, model, model, {"equals": model.lower()},
            0, None, None, False, "user",
        )  # fmt: skip
    await store.run_many(
        connection, "insert_price",
        [(price_id, organization_id, provider, model, endpoint, method, tier, region, currency, dict(variant or {}), 0,
          None, None, valid_from, valid_to, "user", None)],
    )  # fmt: skip
    await store.run_many(
        connection, "insert_component",
        [(price_id, organization_id, c.unit, c.context_above, Decimal(c.amount), c.per) for c in components],
    )  # fmt: skip
    return await get_price(connection, price_id)


async def get_price(connection: Connection, price_id: UUID) -> Price:
    """Return a price, superseded ones included."""
    found = await store.list_prices(connection, price_id=price_id, with_superseded=True, limit=1)
    if not found:
        raise UnknownPrice
    return found[0]


async def explain(
    connection: Connection, price_id: UUID, usage: Mapping[str, int], *, is_failure: bool
) -> tuple[list[CostLine], Priced]:
    """Return the sum that a price, superseded ones included, makes of a call's usage, and what it comes to."""
    price = await get_price(connection, price_id)
    components = [Component(item.unit, item.amount, item.per, item.context_above) for item in price.components]
    compiled = compile_price(
        PriceDocument(price.id, price.provider, components, currency=price.currency, source=price.source), components
    )
    return cost_lines(compiled, usage, is_failure=is_failure), cost_of(compiled, usage, is_failure=is_failure)


async def end_price(connection: Connection, price_id: UUID, at: datetime) -> Price:
    """End a price of the organization at an instant; one that has not begun by then is superseded."""
    ended = await store.value(connection, "close_price", price_id, at)
    if ended is None and await store.value(connection, "supersede_price", price_id, at) is None:
        raise UnknownPrice("there is no such price of this organization")
    return await get_price(connection, price_id)


async def resolve_conflict(
    connection: Connection, conflict_id: UUID, *, take: bool, at: datetime, actor_label: str
) -> None:
    """Decide a conflict, as nexus_system: keep the price in force, or take the other source's from now on."""
    found = await store.list_conflicts(connection, None, False, None, 1, conflict_id)
    if not found:
        raise UnknownConflict
    conflict = found[0]
    if take:
        rows = await store.fetch(connection, "price_subject", conflict.price_id)
        subject: Any = rows[0]
        if await store.value(connection, "close_price", conflict.price_id, at) is None:
            await store.run(connection, "supersede_price", conflict.price_id, at)
        price_id = uuid7()
        await store.run_many(
            connection, "insert_price",
            [(price_id, None, subject["provider"], subject["model"], None, None, "standard", "", "USD",
              subject["variant"], subject["position"], subject["daily_from"], subject["daily_to"], at,
              subject["valid_to"], conflict.source, None)],
        )  # fmt: skip
        await store.run_many(
            connection, "insert_component",
            [(price_id, None, c.unit, c.context_above, Decimal(c.amount), c.per) for c in conflict.proposed],
        )  # fmt: skip
    await store.run(connection, "resolve_conflict", conflict_id, "taken" if take else "kept", at, actor_label)
