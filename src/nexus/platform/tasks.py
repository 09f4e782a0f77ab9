"""Ends tasks for certain, and repeats work beside everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

_PATIENCE_SECONDS = 2.0
log = structlog.get_logger(__name__)


async def end_tasks(*tasks: asyncio.Task[object] | None) -> None:
    """Cancel tasks and wait until all have ended; what they raise is logged.

    A cancellation that arrives in the moment in which its task gets what it waited for can be lost (a pool handing out a
    connection, a time limit that ends just then); the task would run on, and whoever waits for it would wait for ever.
    So it is repeated.
    """
    waiting = {task for task in tasks if task is not None}
    ended: set[asyncio.Task[object]] = set()
    while waiting:
        for task in waiting:
            task.cancel()
        done, waiting = await asyncio.wait(waiting, timeout=_PATIENCE_SECONDS)
        ended |= done
    for task in ended:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a task ended with an error", task=task.get_name(), error=repr(error))


class Repeated:
    """Work that is done every so many seconds while a process lives, and once more when it ends.

    Whatever it raises is logged, and it is done again when its time comes.
    """

    def __init__(self, work: Callable[[], Awaitable[None]], *, every_seconds: float, name: str) -> None:
        self._work = work
        self._every_seconds = every_seconds
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """End; what there is left to do is done. Nothing where it was never started."""
        if self._task is not None:
            await end_tasks(self._task)
            self._task = None
            await self._do()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_seconds)
            await self._do()

    async def _do(self) -> None:
        try:
            await self._work()
        except Exception:
            # The edge of a task that nobody waits for: one failure must not be the end of it.
            log.exception("repeated work failed", task=self._name)
