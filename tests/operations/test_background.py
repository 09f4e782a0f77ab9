"""Background work: one node does a piece at a time, and a piece that fails stops no other."""

from __future__ import annotations

import asyncio

import asyncpg

from nexus.platform.db import Database, load_queries
from nexus.platform.db.partitions import make_partitions
from nexus.platform.jobs import PeriodicRunner

TRY_LOCK = load_queries("nexus.platform.db")["try_lock"]


async def count_partitions(admin: asyncpg.Connection) -> int:
    found: int = await admin.fetchval("SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r'")
    return found


async def test_a_piece_that_another_node_is_at_is_left_to_it(
    database: Database, admin_connection: asyncpg.Connection
) -> None:
    before = await count_partitions(admin_connection)

    async with database.as_system() as elsewhere:
        assert await elsewhere.fetchval(TRY_LOCK, "make_partitions")
        made_meanwhile = await make_partitions(database)
        between = await count_partitions(admin_connection)
    made_after = await make_partitions(database)

    assert (made_meanwhile, between) == (0, before)
    assert made_after > 0 and await count_partitions(admin_connection) == before + made_after


async def test_pieces_of_different_names_do_not_wait_for_each_other(database: Database) -> None:
    async with database.as_system() as one, database.as_system() as other:
        assert await one.fetchval(TRY_LOCK, "a") and await other.fetchval(TRY_LOCK, "b")
        assert not await other.fetchval(TRY_LOCK, "a")


async def test_a_node_that_dies_leaves_its_piece_to_the_others(
    database: Database, admin_connection: asyncpg.Connection
) -> None:
    try:
        async with database.as_system() as connection:
            assert await connection.fetchval(TRY_LOCK, "a")
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await admin_connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
            await connection.fetchval("SELECT 1")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError):
        pass

    async with database.as_system() as successor:
        assert await successor.fetchval(TRY_LOCK, "a")


async def test_a_piece_that_fails_stops_no_other_and_is_tried_again(database: Database) -> None:
    failed, worked = asyncio.Event(), asyncio.Event()
    runs = {"bad": 0, "good": 0}

    async def bad(_: Database) -> None:
        runs["bad"] += 1
        if runs["bad"] == 3:
            failed.set()
        raise RuntimeError("no")

    async def good(_: Database) -> None:
        runs["good"] += 1
        if failed.is_set():
            worked.set()

    runner = PeriodicRunner(database, [("bad", 0.001, bad), ("good", 0.001, good)])
    runner.start()
    await asyncio.wait_for(worked.wait(), 30)
    await runner.stop()

    assert runs["bad"] >= 3
    after = dict(runs)
    await asyncio.sleep(0)
    assert runs == after


async def test_what_runs_when_it_is_stopped_is_rolled_back(
    database: Database, admin_connection: asyncpg.Connection
) -> None:
    began = asyncio.Event()

    async def slow(handle: Database) -> None:
        async with handle.as_system() as connection:
            await connection.execute("INSERT INTO platform.configuration (key, value) VALUES ('half', '1')")
            began.set()
            await asyncio.Event().wait()

    runner = PeriodicRunner(database, [("slow", 0.001, slow)])
    runner.start()
    await asyncio.wait_for(began.wait(), 30)
    await runner.stop()

    assert await admin_connection.fetchval("SELECT count(*) FROM platform.configuration WHERE key = 'half'") == 0
