"""Limits for programs of one's own: an engine on a Redis, for asynchronous programs and for those that have threads instead.

```python
limits = limits_of(SHOP, [LimitSpec("requests", "requests", rate="100", burst="150")])
async with connected("redis://localhost", limits) as admission:
    decision = await admission.decide(Call(organization_id=SHOP), is_settled_here=True)

with BlockingAdmission("redis://localhost", limits) as admission:      # any thread may ask
    decision = admission.decide(Call(organization_id=SHOP))
```
Every process that gives the same limits under the same organization shares them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from redis.asyncio import Redis

from nexus.contracts.limit_specs import LimitSpec, compile_limit
from nexus.contracts.limits import Call, Dimension, Limit, LimitTable, ScopeKind
from nexus.dataplane.decide.engine import TIMEOUT_SECONDS, Admission
from nexus.dataplane.decide.types import Decision, Settlement
from nexus.kit.ids import opaque_uuid

T = TypeVar("T")


def limits_of(
    organization_id: UUID,
    specs: Iterable[LimitSpec],
    *,
    scope: ScopeKind = "organization",
    subject: str | None = None,
    version: int = 1,
) -> list[Limit]:
    """Make limits of what is written as in a quota; `UnrepresentableLimit` for what has no whole units.

    What was used of a limit is known by its name, scope and subject: give a greater `version` when anything else of it changes.
    """
    quota_id = opaque_uuid(f"library:{organization_id}:{scope}:{subject or ''}")
    return [
        compile_limit(
            spec, organization_id=organization_id, quota_id=quota_id, scope=scope, subject=subject, version=version
        )
        for spec in specs
    ]


def table_of(limits: Iterable[Limit], *, version: int = 1) -> LimitTable:
    """Make the table that an engine asks."""
    found: dict[UUID, list[Limit]] = {}
    for limit in limits:
        found.setdefault(limit.organization_id, []).append(limit)
    return LimitTable(
        version, MappingProxyType({key: sorted(items, key=lambda item: item.name) for key, items in found.items()})
    )


@contextlib.asynccontextmanager
async def connected(
    redis_url: str, limits: Sequence[Limit], *, timeout_seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[Admission]:
    """Give an engine that is started, and stop it: what it has on lease goes back."""
    client = Redis.from_url(redis_url, socket_timeout=5.0, socket_connect_timeout=5.0)
    table = table_of(limits)
    admission = Admission(client, lambda: table, timeout_seconds=timeout_seconds)
    try:
        await admission.start()
        yield admission
    finally:
        await admission.stop()
        await client.aclose()


class BlockingAdmission:
    """The engine for programs without an event loop: it has a loop in a thread of its own, which any thread may ask.

    Calls are settled by this object, so hot ones are decided without Redis. After a fork, make another.
    """

    def __init__(self, redis_url: str, limits: Sequence[Limit], *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nexus-admission", daemon=True)
        self._thread.start()
        self._engine = connected(redis_url, limits, timeout_seconds=timeout_seconds)
        try:
            self._admission = self._wait(self._engine.__aenter__())
        except BaseException:
            self._end_thread()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def decide(self, call: Call, *, hold_seconds: float = 0.0) -> Decision:
        """Decide one call; with `hold_seconds` it is held, to be settled or released here. Never raises because of Redis."""
        return self._wait(self._admission.decide(call, hold_seconds=hold_seconds, is_settled_here=True))

    def settle(self, organization_id: UUID, hold_id: str, actual: Mapping[Dimension, int]) -> Settlement:
        """Settle a hold to what the call really took, once."""
        return self._wait(self._admission.settle(organization_id, hold_id, actual))

    def release(self, organization_id: UUID, hold_id: str) -> Settlement:
        """Give everything back: the call was never made."""
        return self._wait(self._admission.release(organization_id, hold_id))

    def close(self) -> None:
        """Give back what is on lease, and end the thread."""
        if self._loop.is_closed():
            return
        try:
            self._wait(self._engine.__aexit__(None, None, None))
        finally:
            self._end_thread()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
