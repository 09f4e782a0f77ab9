"""How much of a backlog is taken at once."""

from __future__ import annotations

import contextlib

import pytest

from nexus.platform.jobs import Portion


async def test_a_portion_grows_while_it_is_quick_and_shrinks_until_it_gets_through() -> None:
    now = 0.0
    portion = Portion(50_000, clock=lambda: now)
    asked: list[int] = []

    async def work(rows: int) -> int:
        nonlocal now
        asked.append(rows)
        now += rows / 1_000 if is_slow else 0.1
        if now - began > 10:
            raise TimeoutError
        return rows

    async def turns(count: int) -> list[int]:
        nonlocal began
        asked.clear()
        for _ in range(count):
            began = now
            with contextlib.suppress(TimeoutError):
                await portion.take(work)
        return list(asked)

    began, is_slow = now, False
    # Nobody knows yet how long a row takes: what is cut off was done for nothing.
    assert await turns(8) == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 50_000, 50_000]
    is_slow = True
    assert await turns(5) == [50_000, 25_000, 12_500, 6_250, 6_250]
    is_slow = False
    assert await turns(4) == [6_250, 12_500, 25_000, 50_000]


async def test_a_portion_does_not_grow_while_there_is_less_to_do() -> None:
    portion = Portion(50_000)

    async def nothing(_: int) -> int:
        return 0

    async def nearly_all(rows: int) -> int:
        return rows - 1

    for work in (nothing, nearly_all) * 5:
        await portion.take(work)
    assert portion.rows == 1_000


@pytest.mark.parametrize("most", [800, 100])
async def test_a_portion_is_never_nothing(most: int) -> None:
    portion = Portion(most)

    async def fail(_: int) -> int:
        raise TimeoutError

    for _ in range(20):
        with pytest.raises(TimeoutError):
            await portion.take(fail)
    assert portion.rows == min(most, 500)
