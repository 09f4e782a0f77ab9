"""Deadlines end waits that take too long, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from nexus.platform.deadlines import Deadline


async def test_a_wait_that_takes_too_long_ends() -> None:
    with pytest.raises(TimeoutError), Deadline(0.05):
        await asyncio.Event().wait()
    await asyncio.sleep(0)  # the task is not left cancelled


async def test_a_wait_in_time_is_left_alone() -> None:
    with Deadline(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.3)


async def test_the_inner_of_two_ends_only_its_own_wait() -> None:
    with Deadline(60):
        with pytest.raises(TimeoutError), Deadline(0.05):
            await asyncio.Event().wait()
        await asyncio.sleep(0)


async def test_the_outer_of_two_ends_both() -> None:
    with pytest.raises(TimeoutError), Deadline(0.05), Deadline(60):
        await asyncio.Event().wait()


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def wait() -> None:
        with Deadline(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_in_time_passes() -> None:
    with pytest.raises(ValueError, match="mine"), Deadline(60):
        raise ValueError("mine")


async def test_many_limits_each_end_their_own_wait() -> None:
    async def wait(seconds: float) -> str:
        try:
            with Deadline(seconds):
                await asyncio.sleep(0.8)
        except TimeoutError:
            return "ended"
        return "whole"

    assert await asyncio.gather(*(wait(seconds) for seconds in (0.05, 60, 0.1, 60))) == [
        "ended", "whole", "ended", "whole",
    ]  # fmt: skip
