"""Which price list entry a caller's names mean, and how a newer list changes that."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from nexus.catalog import imports, service
from nexus.catalog.importers import ImportedBook, ImportedComponent, ImportedModel, ImportedPrice, ImportedProvider
from nexus.catalog.types import ImportSummary
from nexus.contracts.prices import PriceBook
from nexus.contracts.pricing import price_call
from nexus.platform.db import Database

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MEGA = 1_000_000
Entry = tuple[str, dict[str, Any], str]


def price_list(*entries: Entry, source: str = "a", provider_rule: dict[str, Any] | None = None) -> ImportedBook:
    """Models of one provider, each with the rule for its names and the price of a million input tokens."""
    return ImportedBook(
        source, "x", [ImportedProvider("p", "P", provider_rule)],
        [ImportedModel("p", slug, rule, slug, place) for place, (slug, rule, _) in enumerate(entries)],
        [ImportedPrice("p", slug, (ImportedComponent("input", 0, Decimal(amount), MEGA),)) for slug, _, amount in entries],
    )  # fmt: skip


async def take(database: Database, book: ImportedBook, at: datetime = NOW) -> ImportSummary:
    async with database.as_system() as connection:
        return await imports.apply(connection, book, now=at, actor_label="t")


async def cost(database: Database, model: str, provider: str = "p") -> int | None:
    async with database.as_system() as connection:
        book: PriceBook = await service.price_book(connection)
    return price_call(
        book, organization_id=None, tier="standard", provider=provider, model=model, endpoint=None, method=None,
        region=None, at=NOW + timedelta(days=9), usage={"input": MEGA, "requests": 1},
    ).cost_nanos  # fmt: skip


async def test_a_newer_list_s_narrower_rule_stands_before_the_older_wider_one(database: Database) -> None:
    wide: Entry = ("s4", {"starts_with": "s4"}, "1")
    await take(database, price_list(wide))
    assert await cost(database, "s4-5") == 10**9

    newer = price_list(("s4-5", {"starts_with": "s4-5"}, "3"), wide)
    done = await take(database, newer, NOW + timedelta(days=1))
    again = await take(database, newer, NOW + timedelta(days=2))

    assert (done.models_added, done.models_changed, again.changes) == (1, 1, 0)
    assert (await cost(database, "s4-5"), await cost(database, "s4-1")) == (3 * 10**9, 10**9)


async def test_a_model_the_list_no_longer_names_is_tried_last_and_keeps_its_price(database: Database) -> None:
    await take(database, price_list(("old", {"starts_with": "x"}, "1"), ("kept", {"equals": "k"}, "2")))
    newer = price_list(("kept", {"equals": "k"}, "2"), ("new", {"starts_with": "x-"}, "3"))

    await take(database, newer, NOW + timedelta(days=1))
    again = await take(database, newer, NOW + timedelta(days=2))

    assert (await cost(database, "x-1"), await cost(database, "x"), again.changes) == (3 * 10**9, 10**9, 0)


async def test_a_list_of_another_source_changes_no_rule(database: Database) -> None:
    await take(database, price_list(("m", {"starts_with": "m"}, "1")))

    done = await take(database, price_list(("m", {"equals": "m"}, "1"), source="b"))

    assert done.changes == 0 and await cost(database, "m-2") == 10**9


async def test_a_provider_s_rule_follows_its_list(database: Database) -> None:
    await take(database, price_list(("m", {"equals": "m"}, "1"), provider_rule={"equals": "first"}))
    await take(database, price_list(("m", {"equals": "m"}, "1"), provider_rule={"equals": "second"}))

    assert await cost(database, "m", "second") == 10**9
    assert await cost(database, "m", "first") is None


async def test_two_imports_at_once_are_one(database: Database) -> None:
    book = price_list(*((f"m{number}", {"equals": f"m{number}"}, "1") for number in range(50)))

    done = await asyncio.gather(*(take(database, book) for _ in range(4)))

    assert sorted(item.prices_added for item in done) == [0, 0, 0, 50]


async def test_providers_are_known_by_the_names_that_conventions_give_them(database: Database) -> None:
    async with database.as_system() as connection:
        await service.ship_catalog(connection)
        book = await service.price_book(connection)
    names = {
        "openai": "openai", "OpenAI ": "openai", "x_ai": "x-ai", "xai": "x-ai", "mistral-ai": "mistral",
        "gcp.vertex-ai": "google", "gcp.vertex_ai": "google", "aws.bedrock": "aws", "azure.ai.openai": "azure",
        "azure.ai.inference": "azure", "huggingface-cerebras": "huggingface_cerebras", "moonshot_ai": "moonshotai",
        "twilio": "twilio", "nobody-at-all": None,
    }  # fmt: skip

    assert {name: book.provider_of(name) for name in names} == names
