"""One process that decides, with the product's tables and engine. It does what each line of its input says, and answers with one.

Started by `deciders`, which knows the other side. It imports no more than it needs, for there are many of them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nexus.contracts.limits import Call
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.tables import LimitSnapshots
from nexus.dataplane.decide.types import Decision
from nexus.platform.db import Database
from nexus.platform.db.pool import DatabaseUrls
from tests.metering.records import Record, record, store_batch


class Process:
    """What is decided here, and what came of it."""

    def __init__(self, redis_url: str, urls: DatabaseUrls, organization_id: UUID, timeout_seconds: float) -> None:
        patience = max(1.0, timeout_seconds)
        self.client = redis.asyncio.Redis.from_url(
            redis_url, socket_timeout=patience, socket_connect_timeout=patience, retry=Retry(NoBackoff(), 0)
        )
        self.organization_id = organization_id
        self.database = Database(urls, application_name="nexus-deciding", max_size=2)
        self.limits = LimitSnapshots(self.database)
        self.engine = Admission(
            self.client, lambda: self.limits.table, restore=self.limits.history, spent=self.limits.spent,
            timeout_seconds=timeout_seconds,
        )  # fmt: skip
        self.outcomes: Counter[str] = Counter()
        self.versions: dict[int, list[float]] = {}
        """When each version was decided by first and last, by the wall clock, and how often."""
        self.spans: list[tuple[float, float]] = []
        """When each call that was admitted began and ended, by the wall clock."""
        self.is_over = asyncio.Event()
        self.callers: list[asyncio.Task[None]] = []
        self.unrecorded: list[Record] = []

    async def start(self) -> None:
        await self.limits.start()
        await self.engine.start()

    async def close(self) -> dict[str, Any]:
        await self.do_stop()
        await self.engine.stop()
        await self.limits.stop()
        await self.client.aclose()
        await self.database.close()
        return {}

    def call(self, told: dict[str, Any]) -> Call:
        return Call(organization_id=self.organization_id, **told)

    def note(self, decision: Decision, at: float) -> None:
        self.outcomes[decision.outcome + (" without Redis" if decision.is_degraded else "")] += 1
        if decision.standings:
            version = decision.standings[0].limit.version
            first, _, count = self.versions.get(version, [at, at, 0])
            self.versions[version] = [first, at, count + 1]

    async def do_load(self, **told: Any) -> dict[str, Any]:
        """Begin to ask, by so many callers, until `stop`."""
        self.is_over.clear()
        count = told.pop("callers", 1)
        self.callers += [asyncio.create_task(self._caller(**told)) for _ in range(count)]
        if told.get("is_recorded"):
            self.callers.append(asyncio.create_task(self._record()))
        return {}

    async def do_count(self) -> dict[str, Any]:
        """Say what came of it so far."""
        return {"outcomes": self.outcomes, "versions": self.versions,
                "share": str(self.engine._fallback.share), "is_degraded": self.engine.is_degraded}  # fmt: skip

    async def do_stop(self) -> dict[str, Any]:
        """End the load; say what came of it."""
        self.is_over.set()
        await asyncio.gather(*self.callers)
        self.callers.clear()
        return {**await self.do_count(), "spans": self.spans}

    async def do_rush(self, calls: int, at_once: int, call: dict[str, Any], hold: float) -> dict[str, Any]:
        """Ask so many times, so many at once; say which holds were made."""
        decisions: list[Decision] = []
        asked = self.call(call)
        for _ in range(calls // at_once):
            decisions += await asyncio.gather(*(self.engine.decide(asked, hold_seconds=hold) for _ in range(at_once)))
        return {
            "outcomes": Counter(decision.outcome for decision in decisions),
            "holds": [decision.hold_id for decision in decisions if decision.is_admitted],
        }

    async def do_settle(self, holds: list[str], actual: dict[str, int]) -> dict[str, Any]:
        """Settle holds, whoever made them."""
        settled = [await self.engine.settle(self.organization_id, name, actual) for name in holds]  # type: ignore[arg-type]
        return {"statuses": Counter(item.status for item in settled)}

    async def _caller(
        self, call: dict[str, Any], *, hold: float = 0.0, actual: dict[str, int] | None = None, lasts: float = 0.0,
        pause: float = 0.005, is_recorded: bool = False,
    ) -> None:  # fmt: skip
        asked = self.call(call)
        while not self.is_over.is_set():
            at = time.time()
            decision = await self.engine.decide(asked, hold_seconds=hold, is_settled_here=True)
            self.note(decision, at)
            if decision.is_admitted:
                began = time.time()
                await asyncio.sleep(lasts)
                self.spans.append((began, time.time()))
                if decision.hold_id:
                    await self.engine.settle(self.organization_id, decision.hold_id, actual or {})  # type: ignore[arg-type]
                if is_recorded:
                    cost = (actual or {}).get("money", asked.money)
                    self.unrecorded.append(record(datetime.now(UTC), cost_nanos=cost, currency=asked.currency))
            await asyncio.sleep(pause)

    async def _record(self) -> None:
        while self.unrecorded or not self.is_over.is_set():
            rows, self.unrecorded = self.unrecorded, []
            if rows:
                await store_batch(self.database, self.organization_id, rows)
            await asyncio.sleep(0.05)


async def serve(told: dict[str, Any]) -> None:
    """Do what is told until nothing more comes."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    process = Process(
        told["redis_url"], DatabaseUrls(**told["urls"]), UUID(told["organization_id"]), told["timeout_seconds"]
    )
    await process.start()
    print("{}", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        what = json.loads(line)
        if what["do"] == "close":
            break
        answer = await getattr(process, f"do_{what.pop('do')}")(**what)
        print(json.dumps(answer), flush=True)
    print(json.dumps(await process.close()), flush=True)


if __name__ == "__main__":
    # What is printed is read as answers.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(serve(json.loads(sys.argv[1])))
