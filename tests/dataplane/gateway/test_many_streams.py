"""A thousand streams that trickle, held by one gateway process at once: none is lost, and they take little memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
from dataclasses import asdict
from typing import Any

import aiohttp
import psutil
import pytest

from nexus.sandbox.answers import Plan, chat_events
from tests.dataplane.gateway.conftest import Node, served
from tests.dataplane.gateway.test_odd_providers import lead_to
from tests.dataplane.gateway.test_recording import chat, stored

STREAMS = 1_000
MEGABYTE = 2**20


class Trickling:
    """A provider whose streams trickle until they are all told to end."""

    def __init__(self) -> None:
        self.is_over = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        plan = Plan(usage={"input": 7, "output": 30}, asks_usage=True)
        first, *rest = chat_events(plan)
        start = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        while not self.is_over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await self.is_over.wait()
            await send({"type": "http.response.body", "body": b": so slow\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"".join(rest)})


@pytest.fixture
def open_files() -> None:
    """Each stream is a connection here, and another of the sandbox, which is in this process too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 3 * STREAMS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"only {hard} files may be open here: `ulimit -Hn {needed}` or more")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def test_a_thousand_slow_streams_take_less_than_300_mb_and_each_is_recorded_once(
    node: Node, open_files: None
) -> None:
    upstream = Trickling()
    told = {"urls": asdict(node.database.urls), "data_dir": str(node.data_dir)}
    async with served(upstream) as upstream_url:
        await lead_to(node, "openai", upstream_url)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.dataplane.gateway.child", stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"NEXUS_TEST_CHILD": json.dumps(told)},
        )  # fmt: skip
        try:
            assert child.stdout is not None
            url = (await asyncio.wait_for(child.stdout.readline(), 60)).decode().strip()
            process = psutil.Process(child.pid)
            before = process.memory_info().rss
            gate = asyncio.Semaphore(64)
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(None)) as client:

                async def begun() -> aiohttp.ClientResponse:
                    async with gate:
                        answer = await client.post(**chat(node, url))
                        assert b"chat.completion.chunk" in await answer.content.readuntil(b"\n\n")
                        return answer

                # None ends before it is told to, so all are open now.
                answers = await asyncio.gather(*(begun() for _ in range(STREAMS)))
                grown = process.memory_info().rss - before
                upstream.is_over.set()
                contents = await asyncio.gather(*(answer.read() for answer in answers))
            rows = await stored(node.database, STREAMS)
        finally:
            child.terminate()
            await child.wait()

    assert grown < 300 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"
    assert all(content.endswith(b"data: [DONE]\n\n") for content in contents)
    assert len(rows) == STREAMS == len({row["id"] for row in rows})
    assert {(row["status_code"], row["input_tokens"], row["output_tokens"]) for row in rows} == {(200, 7, 30)}
