"""What one organization writes into the catalog changes nothing for another."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from nexus.catalog import service
from nexus.catalog.types import PriceComponent
from nexus.contracts.prices import PriceBook
from nexus.contracts.pricing import Priced, price_call
from nexus.platform.db import Database
from tests.conftest import TestOrganization

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MEGA = 1_000_000
Two = tuple[TestOrganization, TestOrganization]


async def read_book(database: Database) -> PriceBook:
    async with database.as_system() as connection:
        return await service.price_book(connection)


def price(book: PriceBook, organization_id: UUID | None, provider: str, model: str, **usage: int) -> Priced:
    return price_call(
        book, organization_id=organization_id, tier="standard", provider=provider, model=model, endpoint=None,
        method=None, region=None, at=NOW, usage={**(usage or {"input": MEGA}), "requests": 1},
    )  # fmt: skip


async def test_a_provider_of_one_organization_takes_no_calls_of_another(
    database: Database, two_organizations: Two
) -> None:
    one, other = two_organizations
    async with database.as_system() as connection:
        await service.ship_catalog(connection)
    # A name that nobody has, but which a rule of the shipped list understands.
    before = price(await read_book(database), other.id, "azure-openai", "gpt-4o")

    async with database.tenant(one.id) as connection:
        await service.create_price(
            connection, one.id, provider="azure-openai", model="gpt-4o", components=[PriceComponent("input", "1", MEGA)]
        )

    book = await read_book(database)
    assert before.cost_nanos is not None and price(book, other.id, "azure-openai", "gpt-4o") == before
    assert price(book, one.id, "azure-openai", "gpt-4o").cost_nanos == 10**9


async def test_a_price_of_a_provider_only_one_organization_knows_is_for_it_alone(
    database: Database, two_organizations: Two
) -> None:
    one, other = two_organizations
    async with database.tenant(one.id) as connection:
        await service.create_price(
            connection, one.id, provider="in-house", model="m", components=[PriceComponent("input", "1", MEGA)]
        )

    book = await read_book(database)
    assert price(book, one.id, "in-house", "m").cost_nanos == 10**9
    assert price(book, other.id, "in-house", "m").reason == "unknown_provider"


async def test_nobody_adds_to_a_price_that_is_not_their_own(database: Database, two_organizations: Two) -> None:
    one, other = two_organizations
    async with database.as_system() as connection:
        await service.ship_catalog(connection)
    async with database.tenant(other.id) as connection:
        theirs = await service.create_price(
            connection, other.id, provider="openai", model="own", components=[PriceComponent("input", "1", MEGA)]
        )
    shared = price(await read_book(database), None, "openai", "gpt-4o").price_id
    statement = (
        "INSERT INTO catalog.price_components (price_id, organization_id, unit, amount, per)"
        " VALUES ($1, $2, 'pages', 5, 1)"
    )

    for price_id in (shared, theirs.id):
        for owner in (one.id, None, other.id):
            with pytest.raises((asyncpg.ForeignKeyViolationError, asyncpg.InsufficientPrivilegeError)):
                async with database.tenant(one.id) as connection:
                    await connection.execute(statement, price_id, owner)

    assert price(await read_book(database), other.id, "openai", "gpt-4o", input=MEGA, pages=1).cost_nanos is None


async def test_a_price_s_subject_cannot_be_changed_even_by_its_owner(
    database: Database, organization: TestOrganization
) -> None:
    async with database.tenant(organization.id) as connection:
        made = await service.create_price(
            connection, organization.id, provider="p", model="m", components=[PriceComponent("input", "1", MEGA)]
        )

    for change in ("model = 'other'", "currency = 'EUR'", "organization_id = NULL", "source = 'genai-prices'"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.tenant(organization.id) as connection:
                await connection.execute(f"UPDATE catalog.prices SET {change} WHERE id = $1", made.id)
