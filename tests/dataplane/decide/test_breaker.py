"""The breaker waits for a Redis that is slow for a moment, and not for one that is away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nexus.dataplane.decide import breaker as module
from nexus.dataplane.decide.breaker import Breaker, LimiterAway

NEVER = 3_600.0


async def _answers() -> str:
    return "answer"


async def _is_away() -> str:
    raise ConnectionError


async def _is_silent() -> str:
    await asyncio.Event().wait()
    return "never"


async def _takes(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "answer"


def _breaker(**limits: float) -> tuple[Breaker, list[str]]:
    recovered: list[str] = []
    more: dict[str, Any] = {"timeout_seconds": 0.005, "patience_seconds": NEVER} | limits
    return Breaker(_answers, on_recovery=lambda _: recovered.append("yes"), **more), recovered


async def test_a_slow_moment_refuses_nobody() -> None:
    breaker, _ = _breaker()
    assert await breaker.run(_takes(0.05)) == "answer"


async def test_after_a_failure_only_little_is_waited_until_one_succeeds() -> None:
    breaker, _ = _breaker()
    with pytest.raises(LimiterAway):
        await breaker.run(_is_away())
    with pytest.raises(LimiterAway):
        await breaker.run(_is_silent())
    assert await breaker.run(_answers()) == "answer"
    assert await breaker.run(_takes(0.05)) == "answer", "it is trusted again"
    await breaker.stop()


async def test_silence_ends_the_patience_too() -> None:
    breaker, _ = _breaker(patience_seconds=0.02)
    with pytest.raises(LimiterAway):
        await breaker.run(_is_silent())
    await breaker.stop()


async def test_a_redis_that_answers_others_is_busy_and_not_away() -> None:
    breaker, _ = _breaker(patience_seconds=0.5)
    slow = asyncio.create_task(breaker.run(_takes(0.8)))
    while not slow.done():
        assert await breaker.run(_answers()) == "answer"
        await asyncio.sleep(0.01)
    assert await slow == "answer"


async def test_nobody_waits_for_ever_for_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_SECONDS", 0.2)
    breaker, _ = _breaker()
    waiting = asyncio.create_task(breaker.run(_is_silent()))
    while not waiting.done():
        await breaker.run(_answers())
        await asyncio.sleep(0.01)
    with pytest.raises(LimiterAway):
        await waiting
    await breaker.stop()


async def test_three_failures_in_a_row_open_it_and_an_answer_closes_it() -> None:
    breaker, recovered = _breaker()
    for _ in range(3):
        with pytest.raises(LimiterAway):
            await breaker.run(_is_away())
    assert breaker.is_open
    with pytest.raises(LimiterAway):
        await breaker.run(_answers())
    while breaker.is_open:
        await asyncio.sleep(0.01)
    assert recovered == ["yes"] and await breaker.run(_answers()) == "answer"
    await breaker.stop()
