"""Many live streams on a real node: each hears of what is stored, and all end when the node stops."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from nexus.kit.ids import uuid7
from tests.entry.conftest import EMAIL, PASSWORD
from tests.races.node import Node

STREAMS = 50


class Stream:
    """One browser's stream, read to its end."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.stored = 0
        self.is_open = asyncio.Event()
        self.changed = asyncio.Event()
        self.events: list[str] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for line in self.answer.content:
            if line.startswith(b"event: "):
                self.events.append(line[7:].decode().strip())
            elif line.startswith(b"data: ") and self.events[-1] == "calls":
                self.stored += json.loads(line[6:])["stored"]
                self.is_open.set()
                self.changed.set()

    async def heard_of(self, count: int) -> None:
        """Wait until so many calls were announced."""
        while self.stored < count:
            self.changed.clear()
            await self.changed.wait()


async def test_every_stream_hears_of_every_call_and_all_end_with_the_node(
    make_node: Callable[..., Node], prepared: Path
) -> None:
    node = make_node(prepared=prepared, NEXUS_WORKERS="2", NEXUS_ADMIN_EMAIL=EMAIL, NEXUS_ADMIN_PASSWORD=PASSWORD)
    node.start()
    await node.wait_ready()
    jar = aiohttp.CookieJar(unsafe=True)
    timeout, unlimited = aiohttp.ClientTimeout(total=None), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(node.url, cookie_jar=jar, timeout=timeout, connector=unlimited) as browser:
        async with browser.post("/api/identity/sign-in", json={"email": EMAIL, "password": PASSWORD}) as answer:
            assert answer.status == 200
        answers = await asyncio.gather(*(browser.get("/api/live") for _ in range(STREAMS)))
        streams = [Stream(answer) for answer in answers]
        async with asyncio.timeout(60):
            await asyncio.gather(*(stream.is_open.wait() for stream in streams))
            for number in range(3):
                await send(node, number + 1)
                await asyncio.gather(*(stream.heard_of((number + 1) * (number + 2) // 2) for stream in streams))
            code, *_ = await asyncio.gather(node.stop(), *(stream.reading for stream in streams))

    assert {answer.status for answer in answers} == {200}
    assert [stream.stored for stream in streams] == [6] * STREAMS, "each call is announced once"
    # A stream that ends with its process says nothing of the session, so that browsers open it anew.
    assert {name for stream in streams for name in stream.events} == {"calls"}
    assert code == 0
    assert "Traceback" not in node.log.read_text()


async def send(node: Node, count: int) -> None:
    """Store calls."""
    calls: list[dict[str, Any]] = [
        {"id": str(uuid7()), "provider": "openai", "model": "gpt-4o", "status_code": 200} for _ in range(count)
    ]
    headers = {"authorization": f"Bearer {node.first_start()['access_key']}"}
    async with (
        aiohttp.ClientSession(node.url) as program,
        program.post("/v1/events", json=calls, headers=headers) as answer,
    ):
        assert (answer.status, (await answer.json())["stored"]) == (200, count)


def test_processes_may_open_as_many_files_as_the_system_lets_them() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    code = (
        "import resource; from nexus.entry.processes import raise_open_files\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))\n"
        "print(raise_open_files(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == [str(hard)] * 3
