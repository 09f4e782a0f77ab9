"""How much of a backlog is taken at once."""

from __future__ import annotations

import pytest

from nexus.platform.jobs import Portion


async def test_a_portion_shrinks_until_it_gets_through_and_grows_again_while_it_is_quick() -> None:
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

    is_slow = True
    for _ in range(5):
        began = now
        try:
            await portion.take(work)
        except TimeoutError:
            continue
    assert asked == [50_000, 25_000, 12_500, 6_250, 6_250]
    is_slow = False
    for _ in range(5):
        began = now
        await portion.take(work)
    assert asked[5:] == [6_250, 12_500, 25_000, 50_000, 50_000]


@pytest.mark.parametrize("most", [800, 100])
async def test_a_portion_is_never_nothing(most: int) -> None:
    portion = Portion(most)

    async def fail(_: int) -> int:
        raise TimeoutError

    for _ in range(20):
        with pytest.raises(TimeoutError):
            await portion.take(fail)
    assert portion.rows == min(most, 500)
