"""No login reads or changes another organization's rows, by table, partition, view or function."""

from __future__ import annotations

import asyncpg
import pytest

from tests.isolation.conftest import Built
from tests.isolation.inspection import (
    columns_for,
    partition_leaks,
    read_leaks,
    relations,
    scope,
    write_leaks,
)
from tests.isolation.world import World, fingerprint, found_in


@pytest.fixture
def database_name(built: Built) -> str:
    """What these tests do is rolled back, so that they need no copy."""
    return built.template


async def test_without_an_organization_every_table_is_empty(
    admin_connection: asyncpg.Connection, login: asyncpg.Connection, role: str, world: World
) -> None:
    marks = world.mine.marks | world.other.marks

    found = await read_leaks(admin_connection, login, role, None, lambda text: found_in(text, marks))

    assert found == []


async def test_a_login_reads_one_organization(
    admin_connection: asyncpg.Connection, login: asyncpg.Connection, role: str, world: World
) -> None:
    found = await read_leaks(
        admin_connection, login, role, world.mine.id, lambda text: found_in(text, world.other.marks)
    )

    assert found == []


@pytest.mark.parametrize("role", ["nexus_service", "nexus_readonly"])
async def test_an_organization_sees_all_that_is_its_own(
    admin_connection: asyncpg.Connection, login: asyncpg.Connection, role: str, world: World
) -> None:
    """Were everything hidden from everybody, the other tests would prove nothing."""
    short = {}
    for relation in await relations(admin_connection):
        names = await columns_for(admin_connection, role, relation, "SELECT")
        if relation.is_partition or not relation.is_table or "organization_id" not in names:
            continue
        async with scope(login, world.mine.id):
            seen = await login.fetchval(
                f"SELECT count(*) FROM {relation.name} WHERE organization_id = $1", world.mine.id
            )
        if seen != world.mine.counts[relation.name]:
            short[relation.name] = (seen, world.mine.counts[relation.name])

    assert short == {}
    assert len(world.mine.counts) > 20 and min(world.mine.counts.values()) > 0


async def test_no_login_names_a_partition(
    admin_connection: asyncpg.Connection, login: asyncpg.Connection, role: str
) -> None:
    names = [item.name for item in await relations(admin_connection) if item.is_partition]
    assert len(names) > 10

    assert await partition_leaks(admin_connection, login, role) == []


async def test_no_login_writes_for_another_organization(
    admin_connection: asyncpg.Connection, login: asyncpg.Connection, role: str, world: World
) -> None:
    before = await fingerprint(admin_connection, world.other)

    found = await write_leaks(admin_connection, login, role, world.mine.id, world.other.id)

    assert found == []
    assert await fingerprint(admin_connection, world.other) == before
