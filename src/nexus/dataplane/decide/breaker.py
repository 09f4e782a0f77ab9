"""Keeps calls from waiting for a Redis that does not answer.

closed --(failures in a row)--> open --(a probe answers)--> closed
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
from prometheus_client import Gauge
from redis.exceptions import RedisError

T = TypeVar("T")
_DEGRADED = Gauge(
    "nexus_admission_degraded",
    "1 while decisions are made without Redis, by the limits' failure policies.",
    multiprocess_mode="livemax",
)
PATIENCE_SECONDS = 0.1
LONGEST_SECONDS = 1.0
_FAILURES_TO_OPEN = 3
_PROBE_SECONDS = 0.25
_TURNS = 4
log = structlog.get_logger("nexus.admission")


class LimiterAway(Exception):
    """Redis did not answer in time."""


class Breaker:
    """Runs calls to Redis with a limit on their time, and none at all while Redis is known to be away.

    What counts is silence: while Redis answers others it is busy, not away, and a call waits for its turn, for
    `LONGEST_SECONDS` at most. While nothing failed Redis may be silent for `patience_seconds`: a machine that is busy for a
    moment would otherwise refuse whoever asks in it. After a failure `timeout_seconds` of silence are enough, until one succeeds.
    `on_recovery` is told for how many microseconds Redis was not asked.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        *,
        timeout_seconds: float,
        on_recovery: Callable[[int], None],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._probe = probe
        self._timeout = timeout_seconds
        self._patience = max(timeout_seconds, patience_seconds)
        # Who gives Redis more time than that means it.
        self._longest = max(timeout_seconds, LONGEST_SECONDS)
        self._on_recovery = on_recovery
        self._failures = 0
        self._answered_at = 0.0
        self._probing: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._opened_at = 0.0
        self.is_open = False

    @property
    def open_us(self) -> int | None:
        """For how many microseconds Redis has not been asked; None while it is."""
        return int((asyncio.get_running_loop().time() - self._opened_at) * 1e6) if self.is_open else None

    async def run(self, work: Coroutine[Any, Any, T], *, silence_seconds: float | None = None) -> T:
        """Await a call to Redis; `LimiterAway` when it fails or takes too long. What takes too long goes on unattended.

        `silence_seconds` is for what nobody waits for: it may be silent for longer than a call.
        """
        if self.is_open:
            work.close()
            raise LimiterAway
        task = asyncio.get_running_loop().create_task(work)
        await self._wait(task, silence_seconds)
        if not task.done():
            self._running.add(task)
            task.add_done_callback(self._forget)
            self._fail("timeout")
            raise LimiterAway
        try:
            result = task.result()
        except (RedisError, OSError, TimeoutError) as error:
            self._fail(repr(error))
            raise LimiterAway from error
        self._failures = 0
        self._answered_at = asyncio.get_running_loop().time()
        return result

    async def _wait(self, task: asyncio.Task[Any], silence_seconds: float | None) -> None:
        """Wait until a call is done, or Redis was silent for too long."""
        loop = asyncio.get_running_loop()
        began = heard = loop.time()
        while not task.done():
            silence = silence_seconds or (self._timeout if self._failures else self._patience)
            until = min(heard + silence, began + self._longest)
            asked = loop.time()
            await asyncio.wait({task}, timeout=max(0.0, until - asked))
            for _ in range(_TURNS):
                # Timers come before what was received: an answer may be there and only wait to be read.
                if task.done():
                    return
                await asyncio.sleep(0)
            now = loop.time()
            if now - until > silence:
                # It was this process that was late, so Redis has not had its time yet.
                began += now - until
                heard = now
            elif self._answered_at > heard:
                heard = self._answered_at
            elif not task.done():
                return
            if now - began >= self._longest:
                return

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()

    def _fail(self, error: str) -> None:
        self._failures += 1
        if self._failures >= _FAILURES_TO_OPEN and not self.is_open:
            self.is_open = True
            self._opened_at = asyncio.get_running_loop().time()
            _DEGRADED.set(1)
            log.error("Redis does not answer: limits' failure policies decide", error=error)
            self._probing = asyncio.get_running_loop().create_task(self._probe_until_back(), name="limiter-probe")

    async def _probe_until_back(self) -> None:
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            try:
                await asyncio.wait_for(asyncio.shield(self._watched()), 1.0)
            except (RedisError, OSError, TimeoutError):
                continue
            away_us = self.open_us or 0
            self.is_open = False
            self._failures = 0
            _DEGRADED.set(0)
            log.warning("Redis answers again")
            self._on_recovery(away_us)
            return

    def _watched(self) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(self._ask())
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    async def _ask(self) -> None:
        await self._probe()

    async def stop(self) -> None:
        """Stop probing and forget what is under way."""
        tasks = [task for task in (self._probing, *self._running) if task is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, RedisError, OSError, TimeoutError):
                await task
        self._probing = None
