"""Runs functions over and over, each with its pause."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable

import structlog
from prometheus_client import Counter, Gauge, Histogram

from nexus.platform.db import Database
from nexus.platform.tasks import end_tasks

Job = tuple[str, float, Callable[[Database], Awaitable[object]]]
"""Name, seconds between the end of one run and the start of the next, function."""

_log = structlog.get_logger("nexus.jobs")
_RUNS = Counter("nexus_job_runs", "Runs of background work, by outcome.", ("job", "outcome"))
_SECONDS = Histogram("nexus_job_seconds", "Duration of background work.", ("job",))
_LAST_SUCCESS = Gauge(
    "nexus_job_last_success_timestamp_seconds", "When it last went well.", ("job",), multiprocess_mode="livemostrecent"
)
_LONGEST_PAUSE_SECONDS = 60.0


class PeriodicRunner:
    """Runs each job in a task of its own until it is stopped. A failing job waits longer each time, up to a minute."""

    def __init__(self, database: Database, jobs: Iterable[Job]) -> None:
        self._database = database
        self._jobs = list(jobs)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin. The first run of each job comes within its pause, spread so that they do not start together."""
        self._tasks = [asyncio.create_task(self._forever(*job), name=job[0]) for job in self._jobs]

    async def stop(self) -> None:
        """Cancel what runs; transactions roll back, and what was committed stays."""
        await end_tasks(*self._tasks)

    async def _forever(self, name: str, pause: float, work: Callable[[Database], Awaitable[object]]) -> None:
        failures = 0
        await asyncio.sleep(min(pause, 5.0) * random.random())  # noqa: S311
        while True:
            began = time.monotonic()
            try:
                await work(self._database)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001  # the edge of background work: it is logged, counted and tried again
                failures += 1
                _RUNS.labels(name, "failed").inc()
                _log.warning(
                    "background work failed", job=name, error=f"{type(error).__name__}: {error}", failures=failures
                )
            else:
                failures = 0
                _RUNS.labels(name, "done").inc()
                _LAST_SUCCESS.labels(name).set_to_current_time()
            _SECONDS.labels(name).observe(time.monotonic() - began)
            await asyncio.sleep(min(pause * 2**failures, max(pause, _LONGEST_PAUSE_SECONDS)))
