"""Twelve processes at one pausing budget that pays for exactly a hundred of their thousand calls, half of them killed midway."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio

from nexus.dataplane.decide.scripts import POSTING, BucketState, Scripts, TrailEntry, keys_of
from tests.dataplane.decide import budget_process
from tests.dataplane.decide.budget_process import (
    ACTUAL,
    BUDGET,
    ORGANIZATION,
    PAID_FOR,
    PATIENCE_SECONDS,
    PRICE,
    THE_CALL,
    engine_on,
)

ROOT = Path(__file__).parents[3]

PROCESSES = 12


@dataclass(frozen=True)
class Ledger:
    """What the trail says of the budget."""

    charged: int
    """Calls that were admitted."""
    settled: int
    reaped: int
    level: int
    """Sum of all postings."""


async def read_ledger(client: redis.asyncio.Redis) -> Ledger:
    """Read the trail."""
    holds: dict[str, str] = {}
    level = 0
    for _, fields in await client.xrange(keys_of(ORGANIZATION).trail):
        entry = TrailEntry.read(fields)
        holds[entry.reference] = entry.kind
        ((_, data),) = entry.postings
        opened, refilled, adjusted, changed, *_ = map(int, POSTING.unpack(data))
        level = (0 if opened else level) + refilled + adjusted + changed
    kinds = list(holds.values())
    return Ledger(len(kinds), kinds.count("settle"), kinds.count("reap"), level)


async def race(url: str, *, kills: bool) -> None:
    """Run it once and assert everything that has to hold."""
    client = redis.asyncio.Redis.from_url(url)
    keys, scripts = keys_of(ORGANIZATION), Scripts(client)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", budget_process.__name__, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdin is not None
            assert (await asyncio.to_thread(process.stdout.readline)).strip() == "ready"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        dead = processes[::2] if kills else []
        if kills:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await client.xlen(keys.trail) < PAID_FOR // 3:
                    await asyncio.sleep(0.001)
            for process in dead:
                process.kill()
        alive = [process for process in processes if process not in dead]
        told = [int(await asyncio.to_thread(process.stdout.readline)) for process in alive]

        admitted = (await read_ledger(client)).charged
        assert admitted == PAID_FOR, "the others asked for more than was left"
        assert kills or sum(told) == PAID_FOR
        for process in alive:
            process.stdin.write("settle\n")
            process.stdin.flush()
        for process in processes:
            await asyncio.to_thread(process.communicate)

        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await scripts.reap(keys))[2]:
                await asyncio.sleep(0.05)
        ledger = await read_ledger(client)
        data = await client.get(keys.buckets + BUDGET.id.hex)
        assert data is not None
        state = BucketState.unpack(data)
        spent = ledger.settled * ACTUAL + ledger.reaped * PRICE
        assert ledger.settled == sum(told) and ledger.settled + ledger.reaped == PAID_FOR
        assert (state.level, state.held) == (spent, 0) and ledger.level == spent

        engine = engine_on(client)
        more = 0
        while (await engine.decide(THE_CALL)).is_admitted:
            more += 1
        assert more == (BUDGET.capacity - spent) // PRICE, "nobody is refused below the cap, nor admitted above"
        await engine.stop()
    finally:
        for process in processes:
            process.kill()
            process.wait()
        await client.aclose()
