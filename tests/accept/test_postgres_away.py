"""PostgreSQL away for a minute under load: records are acknowledged and calls are served all the time, and afterwards all is
there once.

What a machine loses that loses its power, unsynced bytes of the spool, is thrown away in tests/dataplane/ingest/test_spool.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.postgres_apart import PostgresApart
from tests.races.callers import ENVIRONMENT, Callers, assert_recorded_once, sandboxed
from tests.races.node import Node, Senders, assert_exactly_once, until

AWAY_SECONDS = float(os.environ.get("NEXUS_ACCEPT_AWAY_SECONDS", "60"))


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Node]]:
    started: list[Node] = []

    def start(**environment: str) -> Node:
        node = Node(tmp_path / "node", environment=environment)
        node.start()
        started.append(node)
        return node

    yield start
    for node in started:
        node.sweep()


async def a_minute_passes(node: Node, senders: Senders) -> tuple[int, set[str]]:
    """Wait a minute in which the senders go on; returns how many records were acknowledged, and how ready the node was."""
    count, loop = len(senders.acknowledged), asyncio.get_running_loop()
    end, seen = loop.time() + AWAY_SECONDS, set()
    while loop.time() < end:
        await senders.progress(durability="spooled")
        found = await until(node.health, "readiness is answered")
        seen.add(found["status"])
    return len(senders.acknowledged) - count, seen


async def test_postgres_is_stopped_for_a_minute(start: Callable[..., Node], postgres_apart: PostgresApart) -> None:
    node = start(NEXUS_ADMIN_URL=postgres_apart.embedded.url())
    node.admin_url = postgres_apart.embedded.url("postgres", "nexus")
    await node.wait_ready()
    web = node.pids("web")

    async with Senders(node) as senders:
        await senders.progress(durability="committed")
        await asyncio.to_thread(postgres_apart.stop)
        # What was under way as it stopped may still be answered otherwise.
        await senders.progress(durability="spooled")
        acknowledged, ready = await a_minute_passes(node, senders)
        async with aiohttp.ClientSession() as client:
            key = {"authorization": f"Bearer {node.first_start()['access_key']}"}
            async with client.get(f"{node.url}/api/metering/summary", headers=key) as answer:
                question = answer.status, answer.headers.get("retry-after"), answer.content_type
        await postgres_apart.start()
        await senders.progress(durability="committed")

    print(f"{acknowledged} records acknowledged in {AWAY_SECONDS:.0f} s without PostgreSQL, {dict(senders.statuses)}")
    assert set(senders.acknowledged.values()) == {"committed", "spooled"}
    assert ready == {"degraded"}
    assert question[0] == 503 and question[1] is not None and question[2] == "application/problem+json"
    await assert_exactly_once(node, senders)
    assert node.pids("web") == web


async def test_the_gateway_serves_every_call_of_a_minute_without_postgres(
    start: Callable[..., Node], postgres_apart: PostgresApart
) -> None:
    node = start(NEXUS_ADMIN_URL=postgres_apart.embedded.url(), **ENVIRONMENT)
    node.admin_url = postgres_apart.embedded.url("postgres", "nexus")
    await node.wait_ready()

    async with sandboxed(node), Callers(node) as callers:
        await callers.progress()
        await asyncio.to_thread(postgres_apart.stop)
        before, loop = len(callers.served), asyncio.get_running_loop()
        end = loop.time() + AWAY_SECONDS
        while loop.time() < end:
            await callers.progress()
        without = len(callers.served) - before
        await postgres_apart.start()
        await callers.progress()

    print(
        f"{without} calls served by the gateway in {AWAY_SECONDS:.0f} s without PostgreSQL, {len(callers.served)} in all"
    )
    await assert_recorded_once(node, callers)


async def test_postgres_stands_still_for_a_minute(start: Callable[..., Node]) -> None:
    node = start(NEXUS_INGEST_COMMIT_TIMEOUT_MS="1000")
    await node.wait_ready()

    async with Senders(node) as senders:
        await senders.progress(durability="committed")
        frozen = node.postgres_processes()
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        try:
            await senders.progress(durability="spooled")
            acknowledged, ready = await a_minute_passes(node, senders)
        finally:
            for process in frozen:
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    process.send_signal(signal.SIGCONT)
        await senders.progress(durability="committed")

    print(f"{acknowledged} records acknowledged in {AWAY_SECONDS:.0f} s of silence, {dict(senders.statuses)}")
    assert ready == {"degraded"}
    await assert_exactly_once(node, senders)
