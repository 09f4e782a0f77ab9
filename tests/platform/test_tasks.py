"""Ending tasks: each has ended when the wait is over, also one that loses a cancellation."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from nexus.platform import tasks
from nexus.platform.tasks import Repeated, end_tasks


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_PATIENCE_SECONDS", 0.01)


async def test_task_that_loses_cancellations_is_cancelled_again() -> None:
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if lost == 3:
                    raise
                lost += 1

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end_tasks(task, None)

    assert task.cancelled() and lost == 3


async def test_what_a_task_raises_at_its_end_is_logged_and_others_end_too() -> None:
    async def failing() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise OSError("the disk is away")

    failed, other = asyncio.create_task(failing(), name="failing"), asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    with capture_logs() as lines:
        await end_tasks(failed, other)

    assert other.cancelled()
    assert [(line["task"], line["error"]) for line in lines] == [("failing", "OSError('the disk is away')")]


async def test_tasks_that_have_ended_are_left_as_they_are() -> None:
    async def answer() -> int:
        return 7

    task = asyncio.create_task(answer())
    await task
    await end_tasks(task)

    assert task.result() == 7


async def test_repeated_work_goes_on_until_it_is_stopped_and_is_done_once_more_then() -> None:
    done: list[str] = []
    came = asyncio.Event()

    async def work() -> None:
        done.append("done")
        if len(done) == 3:
            came.set()

    repeated = Repeated(work, every_seconds=0.001, name="test")
    await repeated.stop()
    assert done == [], "what never began has nothing left to do"
    repeated.start()
    await came.wait()
    count = len(done)
    await repeated.stop()
    ended = len(done)
    await asyncio.sleep(0.02)
    assert ended > count and len(done) == ended


async def test_repeated_work_goes_on_after_it_failed() -> None:
    times = 0
    again = asyncio.Event()

    async def work() -> None:
        nonlocal times
        times += 1
        if times > 2:
            again.set()
        raise RuntimeError(times)

    repeated = Repeated(work, every_seconds=0.001, name="test")
    repeated.start()
    async with asyncio.timeout(10):
        await again.wait()
    await repeated.stop()
