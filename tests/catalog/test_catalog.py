"""The catalog: shipped, imported, in conflict, in force, kept apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from nexus.catalog import service, store
from nexus.catalog.errors import OverlappingPrice
from nexus.catalog.importers import ImportedBook, ImportedComponent, ImportedModel, ImportedPrice, ImportedProvider
from nexus.catalog.types import PriceComponent
from nexus.contracts.pricing import price_call
from nexus.platform.db import Database
from tests.conftest import TestOrganization

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MEGA = 1_000_000


def book(source: str, *prices: tuple[str, str], digest: str = "x") -> ImportedBook:
    """A price list: models of one provider, with the price of a million input tokens."""
    return ImportedBook(
        source,
        digest,
        [ImportedProvider("p", "P")],
        [ImportedModel("p", model, {"equals": model}) for model, _ in prices],
        [
            ImportedPrice("p", model, (ImportedComponent("input", 0, Decimal(amount), MEGA),))
            for model, amount in prices
        ],
    )


async def cost(
    database: Database, model: str, at: datetime, organization: TestOrganization | None = None
) -> int | None:
    async with database.as_system() as connection:
        prices = await service.price_book(connection)
    return price_call(
        prices, organization_id=organization.id if organization else None, tier="standard", provider="p", model=model,
        endpoint=None, method=None, region=None, at=at, usage={"input": MEGA, "requests": 1},
    ).cost_nanos  # fmt: skip


async def test_the_catalog_ships_once_and_prices_real_calls(database: Database) -> None:
    async with database.as_system() as connection:
        first = await service.ship_catalog(connection)
        second = await service.ship_catalog(connection)
        prices = await service.price_book(connection)

    assert first is not None and first.prices_added > 1000 and second is None
    priced = price_call(
        prices, organization_id=None, tier="standard", provider="openai", model="gpt-4o-2024-08-06", endpoint=None,
        method=None, region=None, at=NOW, usage={"input": 1000, "cached_input": 400, "output": 100, "requests": 1},
    )  # fmt: skip
    # 600 at 2.50, 400 at 1.25, 100 at 10 dollars for a million
    assert priced.cost_nanos == 600 * 2500 + 400 * 1250 + 100 * 10_000


async def test_shipping_the_catalog_and_importing_the_same_list_changes_nothing(database: Database) -> None:
    async with database.as_system() as connection:
        await service.ship_catalog(connection)
        again = await service.import_price_list(
            connection, service.read_price_list("genai-prices", None), at=datetime.now(UTC), actor_label="t"
        )

    assert again.changes == 0 and again.prices_unchanged > 1000


async def test_a_changed_price_of_the_same_source_holds_from_the_import_on(database: Database) -> None:
    later = NOW + timedelta(days=10)
    async with database.as_system() as connection:
        await service.import_price_list(connection, book("a", ("m", "1")), at=NOW, actor_label="t")
        changed = await service.import_price_list(connection, book("a", ("m", "2")), at=later, actor_label="t")
        again = await service.import_price_list(connection, book("a", ("m", "2")), at=later, actor_label="t")

    assert changed.prices_changed == 1 and again.changes == 0
    assert await cost(database, "m", later - timedelta(microseconds=1)) == 10**9
    assert await cost(database, "m", later) == 2 * 10**9


async def test_another_source_s_price_is_listed_and_not_applied(database: Database) -> None:
    async with database.as_system() as connection:
        await service.import_price_list(connection, book("a", ("m", "1"), ("n", "5")), at=NOW, actor_label="t")
        other = await service.import_price_list(
            connection, book("b", ("m", "2"), ("n", "5.0")), at=NOW, actor_label="t"
        )
        again = await service.import_price_list(
            connection, book("b", ("m", "2"), ("n", "5.0")), at=NOW, actor_label="t"
        )
        conflicts = await store.list_conflicts(connection, None, False, None, 10)

    assert (other.conflicts, other.new_conflicts, again.conflicts, again.changes) == (1, 1, 1, 0)
    assert [(c.model, c.in_force_source, c.source, c.proposed[0].amount) for c in conflicts] == [("m", "a", "b", "2")]
    assert await cost(database, "m", NOW) == 10**9

    later = NOW + timedelta(days=1)
    async with database.as_system() as connection:
        await service.resolve_conflict(connection, conflicts[0].id, take=True, at=later, actor_label="t")
    assert (await cost(database, "m", NOW), await cost(database, "m", later)) == (10**9, 2 * 10**9)


async def test_a_dry_run_changes_nothing(database: Database) -> None:
    async with database.as_system() as connection:
        done = await service.import_price_list(connection, book("a", ("m", "1")), at=NOW, actor_label="t", dry_run=True)

        assert done.prices_added == 1 and await store.value(connection, "count_shared_prices") == 0


async def test_the_database_refuses_two_prices_at_one_time(database: Database, organization: TestOrganization) -> None:
    part = [PriceComponent("input", "1", MEGA)]
    async with database.tenant(organization.id) as connection:
        await service.create_price(
            connection,
            organization.id,
            provider="p",
            model="m",
            components=part,
            valid_from=NOW,
            valid_to=NOW + timedelta(days=2),
        )

    for start, end in (
        (None, None),
        (NOW + timedelta(days=1), None),
        (NOW - timedelta(days=1), NOW + timedelta(microseconds=1)),
    ):
        with pytest.raises(OverlappingPrice):
            async with database.tenant(organization.id) as connection:
                await service.create_price(
                    connection,
                    organization.id,
                    provider="p",
                    model="m",
                    components=part,
                    valid_from=start,
                    valid_to=end,
                )
    async with database.tenant(organization.id) as connection:
        await service.create_price(
            connection, organization.id, provider="p", model="m", components=part, valid_from=NOW + timedelta(days=2)
        )
        await service.create_price(
            connection, organization.id, provider="p", model="m", components=part, region="eu", valid_from=NOW
        )


async def test_an_organization_s_own_price_stands_before_the_shared_and_is_nobody_else_s(
    database: Database, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    one, other = two_organizations
    async with database.as_system() as connection:
        await service.import_price_list(connection, book("a", ("m", "4")), at=NOW, actor_label="t")
    async with database.tenant(one.id) as connection:
        await service.create_price(
            connection, one.id, provider="p", model="m", components=[PriceComponent("input", "3", MEGA)]
        )

    assert await cost(database, "m", NOW, one) == 3 * 10**9
    assert await cost(database, "m", NOW, other) == 4 * 10**9
    async with database.tenant(other.id) as connection:
        assert [p.components[0].amount for p in await store.list_prices(connection, provider="p")] == ["4"]
        assert await connection.execute("UPDATE catalog.prices SET superseded_at = now()") == "UPDATE 0"
    pool = await database.pool("service")
    for table in ("providers", "models", "endpoints", "prices", "price_components"):
        assert await pool.fetchval(f"SELECT count(*) FROM catalog.{table}") == 0


async def test_an_ended_price_leaves_calls_unpriced(database: Database, organization: TestOrganization) -> None:
    async with database.tenant(organization.id) as connection:
        made = await service.create_price(
            connection, organization.id, provider="p", model="m", components=[PriceComponent("input", "1", MEGA)]
        )
        await service.end_price(connection, made.id, NOW)

    assert await cost(database, "m", NOW, organization) is None
    assert await cost(database, "m", NOW - timedelta(microseconds=1), organization) == 10**9


async def test_faults_of_a_price_are_named_all_at_once(database: Database, organization: TestOrganization) -> None:
    parts = [PriceComponent("nothing", "-1", 0), PriceComponent("input", "1", 1, 200)]

    with pytest.raises(service.InvalidPrice) as refused:
        async with database.tenant(organization.id) as connection:
            await service.create_price(connection, organization.id, provider="P P", components=parts, currency="usd")

    fields = {fault.field for fault in refused.value.faults}
    assert {
        "components.0.unit", "components.0.amount", "components.0.per", "components", "model", "provider", "currency",
    } <= fields  # fmt: skip


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    for name, content in (
        ("a.json", b"{"),
        ("b.json.gz", b"\x1f\x8bxx"),
        ("c.zst", b"\x28\xb5\x2f\xfdxx"),
        ("d.json", b"[1]"),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        for source in service.READERS:
            with pytest.raises(service.UnreadablePriceList, match=name):
                service.read_price_list(source, file)
