"""Callers of a node's gateway: each sends one call after the other, streamed and not, and expects every one to be served."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp

from nexus.sandbox.app import Sandbox
from tests.dataplane.gateway.conftest import served
from tests.races.node import Node, until

ENVIRONMENT = {"NEXUS_GATEWAY_ALLOW": "127.0.0.0/8"}
"""The sandbox is on this machine."""


async def post(node: Node, path: str, body: dict[str, Any]) -> None:
    """Make something with the first start's key."""
    headers = {"authorization": f"Bearer {node.first_start()['access_key']}"}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{node.url}{path}", json=body, headers=headers) as answer,
    ):
        assert answer.status == 201, await answer.text()


@contextlib.asynccontextmanager
async def sandboxed(node: Node) -> AsyncIterator[None]:
    """Let a node's calls to OpenAI go to a sandbox; in force once this is entered."""
    async with served(Sandbox()) as url:
        credential = {"provider": "openai", "name": "sandbox", "secret": "the sandbox asks for none", "base_url": url}
        await post(node, "/api/identity/provider-credentials", credential)
        # Each connection is taken by one of the web processes: so many in a row do not miss one that does not know yet.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client:

            async def is_known() -> bool:
                headers = {"authorization": f"Bearer {node.first_start()['access_key']}"}
                for _ in range(30):
                    async with client.get(f"{node.url}/gw/openai/v1/models", headers=headers) as answer:
                        if answer.status != 200:
                            return False
                return True

            await until(is_known, "each process of the gateway knows the credential")
        yield


class Callers:
    """Four callers. A call that is not served ends its caller, and `progress` tells."""

    def __init__(self, node: Node, count: int = 4) -> None:
        self._node = node
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []
        self.begun: set[str] = set()
        self.served: set[str] = set()

    async def __aenter__(self) -> Self:
        key = self._node.first_start()["access_key"]
        self._tasks = [asyncio.create_task(self._call(number, key)) for number in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def progress(self, calls: int = 40) -> None:
        """Wait until so many more calls are served."""
        target = len(self.served) + calls
        await until(lambda: len(self.served) >= target or self._fallen(), f"{calls} more calls served")

    def _fallen(self) -> bool:
        for task in self._tasks:
            if task.done():
                task.result()
        return False

    async def _call(self, number: int, key: str) -> None:
        serial = 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as client:
            while True:
                serial += 1
                name, is_streamed = f"{number}-{serial}", serial % 2 == 0
                self.begun.add(name)
                body = {
                    "model": "gpt-4o-mini",
                    "stream": is_streamed,
                    "messages": [{"role": "user", "content": "hello"}],
                }
                headers = {
                    "authorization": f"Bearer {key}", "x-nexus-tags": f"call={name}",
                    "x-sandbox-usage": f"input={serial},output=3",
                }  # fmt: skip
                url = f"{self._node.url}/gw/openai/v1/chat/completions"
                async with client.post(url, json=body, headers=headers) as answer:
                    content = await answer.read()
                    assert answer.status == 200, (answer.status, content[:300], dict(answer.headers))
                    assert content.endswith(b"data: [DONE]\n\n" if is_streamed else b"}")
                self.served.add(name)


async def assert_recorded_once(node: Node, callers: Callers) -> None:
    """Every call that was served is stored once with its usage and a price, and nothing is stored twice."""

    async def rows() -> list[Any]:
        connection = await node.admin()
        try:
            return await connection.fetch(
                "SELECT tags ->> 'call' AS call, input_tokens, output_tokens, cost, metadata -> 'gateway' ->> 'usage' AS usage"
                " FROM metering.calls WHERE tags ? 'call'"
            )
        finally:
            await connection.close()

    async def are_there() -> bool:
        return callers.served <= {row["call"] for row in await rows()}

    await until(are_there, "every call that was served is stored")
    found = [row for row in await rows() if row["call"] in callers.served]
    assert set(Counter(row["call"] for row in found).values()) == {1}
    assert {row["call"] for row in await rows()} <= callers.begun
    for row in found:
        serial = int(row["call"].partition("-")[2])
        assert (row["input_tokens"], row["output_tokens"], row["usage"]) == (serial, 3, "exact") and row["cost"] > 0
