"""Ends tasks for certain."""

from __future__ import annotations

import asyncio

import structlog

_PATIENCE_SECONDS = 2.0
_log = structlog.get_logger(__name__)


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
            _log.warning("a task ended with an error", task=task.get_name(), error=repr(error))
