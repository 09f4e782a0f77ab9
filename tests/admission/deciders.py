"""Several processes that decide, and what they are told: the other side of `deciding`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from nexus.platform.db.pool import DatabaseUrls
from tests.admission import deciding

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0
"""For what takes as long as the machine lets it."""


class Decider:
    """One process of its own."""

    def __init__(self, redis_url: str, urls: DatabaseUrls, organization_id: UUID, *, timeout_seconds: float) -> None:
        told = {"redis_url": redis_url, "urls": asdict(urls), "organization_id": str(organization_id),
                "timeout_seconds": timeout_seconds}  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", deciding.__name__, json.dumps(told)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    async def answer(self) -> dict[str, Any]:
        """Wait for what it says next."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await asyncio.to_thread(self.process.stdout.readline)
        assert line, f"it ended with {self.process.poll()}"
        found: dict[str, Any] = json.loads(line)
        return found

    def say(self, do: str, **more: Any) -> None:
        """Tell it what to do; it answers once, when that is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()

    async def tell(self, do: str, **more: Any) -> dict[str, Any]:
        """Tell it what to do, and wait for its answer."""
        self.say(do, **more)
        return await self.answer()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


async def tell_all(some: Iterable[Decider], do: str, **more: Any) -> list[dict[str, Any]]:
    """Tell several the same at once; returns what each answered."""
    told = list(some)
    for decider in told:
        decider.say(do, **more)
    return [await decider.answer() for decider in told]


async def until_all(some: Sequence[Decider], check: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until what each counts is as it should be."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not all(map(check, await tell_all(some, "count"))):
            await asyncio.sleep(0.05)


async def until_any(some: Sequence[Decider], check: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until what one of them counts is as it should be."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(map(check, await tell_all(some, "count"))):
            await asyncio.sleep(0.05)


def outcomes_of(counted: Iterable[dict[str, Any]]) -> Counter[str]:
    """Sum what came of the calls of several."""
    return sum((Counter(item["outcomes"]) for item in counted), Counter[str]())


def most_at_once(counted: Iterable[dict[str, Any]]) -> int:
    """Return how many calls of all of them were under way together, at most."""
    edges = [edge for item in counted for began, ended in item["spans"] for edge in ((began, 1), (ended, -1))]
    most = now = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most


@asynccontextmanager
async def deciders(
    count: int, redis_url: str, urls: DatabaseUrls, organization_id: UUID, *, timeout_seconds: float = PATIENCE_SECONDS
) -> AsyncIterator[list[Decider]]:
    """Start so many, and end them after the block."""
    made = [Decider(redis_url, urls, organization_id, timeout_seconds=timeout_seconds) for _ in range(count)]
    try:
        for decider in made:
            await decider.answer()
        yield made
        await tell_all([decider for decider in made if decider.process.poll() is None], "close")
    finally:
        for decider in made:
            decider.kill()
