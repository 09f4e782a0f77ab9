"""The gateway serves every call while Redis or PostgreSQL are away, and each is recorded once afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.postgres_apart import PostgresApart
from tests.races.callers import ENVIRONMENT, Callers, assert_recorded_once, post, sandboxed
from tests.races.node import Node, until


@pytest.fixture
async def node(tmp_path: Path, prepared: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path / "node", environment=ENVIRONMENT, prepared=prepared)
    node.start()
    await node.wait_ready()
    yield node
    node.sweep()


async def test_redis_stands_still_and_every_call_is_served(node: Node) -> None:
    limits = [
        {"name": "requests", "dimension": "requests", "rate": "100000", "failure": "open"},
        {"name": "tokens", "dimension": "tokens", "rate": "100000000", "per": "minute", "failure": "open"},
    ]
    await post(
        node, "/api/admission/quotas",
        {"name": "wide", "scope": "organization", "limits": limits, "reason": "asked for each call, reached by none"},
    )  # fmt: skip
    async with sandboxed(node), Callers(node) as callers:
        await callers.progress()
        redis = psutil.Process(node.pids("redis")[0])
        redis.suspend()
        try:
            await callers.progress(100)
        finally:
            redis.resume()
        await callers.progress()
        redis.kill()
        await callers.progress(100)
        await until(lambda: node.pids("redis") not in ([], [redis.pid]), "another Redis runs")
        await callers.progress()

    await assert_recorded_once(node, callers)


async def test_postgresql_is_stopped_and_every_call_is_served_and_recorded_once(
    tmp_path: Path,
    postgres_apart: PostgresApart,
) -> None:
    node = Node(tmp_path / "apart", environment=ENVIRONMENT | {"NEXUS_ADMIN_URL": postgres_apart.embedded.url()})
    node.admin_url = postgres_apart.embedded.url("postgres", "nexus")
    node.start()
    try:
        await node.wait_ready()
        async with sandboxed(node), Callers(node) as callers:
            await callers.progress()
            await asyncio.to_thread(postgres_apart.stop)
            await callers.progress(200)
            await postgres_apart.start()
            await callers.progress()

        await assert_recorded_once(node, callers)
    finally:
        node.sweep()


async def test_the_worker_is_killed_or_stands_still_and_every_call_is_recorded_once(node: Node) -> None:
    async def stored() -> int:
        connection = await node.admin()
        try:
            return int(await connection.fetchval("SELECT count(*) FROM metering.calls"))
        finally:
            await connection.close()

    async with sandboxed(node), Callers(node) as callers:
        await callers.progress()
        worker = psutil.Process(node.pids("worker")[0])
        worker.suspend()
        try:
            before = await stored()

            async def goes_on() -> bool:
                return await stored() >= before + 100

            await callers.progress(100)
            await until(goes_on, "those who serve store the records themselves")
        finally:
            worker.kill()
        await until(lambda: node.pids("worker") not in ([], [worker.pid]), "another worker runs")
        await callers.progress()

    await assert_recorded_once(node, callers)


async def test_the_web_process_is_killed_with_50_streams_open_and_each_is_recorded_once(node: Node) -> None:
    key = node.first_start()["access_key"]
    async with sandboxed(node), aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(None)) as client:

        async def begun(number: int) -> aiohttp.ClientResponse:
            answer = await client.post(
                f"{node.url}/gw/openai/v1/chat/completions",
                json={"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "hello"}]},
                headers={
                    "authorization": f"Bearer {key}", "x-nexus-tags": f"call={number}",
                    "x-sandbox-chunks": "100000", "x-sandbox-chunk-ms": "100",
                },
            )  # fmt: skip
            await answer.content.readuntil(b"\n\n")
            return answer

        answers = await asyncio.gather(*(begun(number) for number in range(50)))
        for pid in node.pids("web"):
            os.kill(pid, signal.SIGKILL)

        async def recorded() -> list[dict[str, str]]:
            connection = await node.admin()
            try:
                rows = await connection.fetch(
                    "SELECT error_type, input_tokens, metadata FROM metering.calls WHERE error_type = 'interrupted'"
                )
            finally:
                await connection.close()
            return [dict(row) for row in rows] if len(rows) >= 50 else []

        rows = await until(recorded, "50 interrupted calls are stored")
        await node.wait_ready()
        for answer in answers:
            answer.close()

    # Once more when everything stands still: none is doubled by who took the journal over.
    assert len(rows) == 50 == len(await recorded())
    assert all(row["input_tokens"] > 0 for row in rows), json.dumps(rows[:1], default=str)
