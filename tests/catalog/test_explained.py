"""A stored call's cost is explained by the price it names."""

from __future__ import annotations

import pytest

from nexus.catalog import service
from nexus.catalog.errors import UnknownPrice
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from tests.catalog.test_catalog import NOW, book
from tests.conftest import TestOrganization


async def test_a_price_shows_the_sum_it_makes_even_when_a_newer_one_holds(
    database: Database, organization: TestOrganization
) -> None:
    async with database.as_system() as connection:
        await service.import_price_list(connection, book("a", ("m", "2")), at=NOW, actor_label="t")
    async with database.tenant(organization.id, readonly=True) as connection:
        old = (await service.store.list_prices(connection, provider="p", limit=1))[0]
    async with database.as_system() as connection:
        await service.import_price_list(connection, book("a", ("m", "9"), digest="y"), at=NOW, actor_label="t")

    async with database.tenant(organization.id, readonly=True) as connection:
        lines, priced = await service.explain(connection, old.id, {"input": 1500, "requests": 1}, is_failure=False)
        with pytest.raises(UnknownPrice):
            await service.explain(connection, uuid7(), {"input": 1}, is_failure=False)

    assert [(line.unit, line.count, line.amount, line.per, line.cost) for line in lines] == [
        ("input", 1500, "2", 1_000_000, "0.003")
    ]
    assert priced.cost_nanos == 3_000_000
