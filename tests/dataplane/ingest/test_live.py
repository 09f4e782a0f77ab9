"""Live messages: added up, published, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from nexus.contracts.redis_keys import live_channel
from nexus.dataplane.ingest import live
from nexus.dataplane.ingest.live import LivePublisher
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.kit.clock import FixedClock

ONE, TWO = UUID(int=1), UUID(int=2)
CLOCK = FixedClock(datetime(2026, 3, 1, tzinfo=UTC))


async def test_counts_are_added_up_and_published_by_organization(redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    async with redis.pubsub() as listening:
        await listening.subscribe(live_channel(ONE), live_channel(TWO))
        publisher = LivePublisher(redis, IngestMetrics(CollectorRegistry()), clock=CLOCK)
        publisher.start()

        for organization_id, count in ((ONE, 3), (TWO, 1), (ONE, 4)):
            publisher.note(organization_id, count)
        heard: dict[str, object] = {}
        async with asyncio.timeout(10):
            while len(heard) < 2:
                message = await listening.get_message(ignore_subscribe_messages=True, timeout=1)
                if message:
                    heard[message["channel"].decode()] = json.loads(message["data"])
        await publisher.stop()
    await redis.aclose()

    assert heard == {
        live_channel(ONE): {"stored": 7, "at": "2026-03-01T00:00:00Z"},
        live_channel(TWO): {"stored": 1, "at": "2026-03-01T00:00:00Z"},
    }


async def test_redis_away_is_counted_and_told_when_it_is_back(redis_url: str) -> None:
    registry = CollectorRegistry()
    away = Redis.from_url("unix:///nonexistent/redis.sock")
    publisher = LivePublisher(away, IngestMetrics(registry), clock=CLOCK)
    publisher.note(ONE, 3)

    assert await publisher.flush() is False
    publisher.note(ONE, 2)
    publisher._redis = Redis.from_url(redis_url)
    async with publisher._redis.pubsub() as listening:
        await listening.subscribe(live_channel(ONE))
        await listening.get_message(timeout=10)
        assert await publisher.flush()
        message = await listening.get_message(ignore_subscribe_messages=True, timeout=10)
    await publisher._redis.aclose()
    await away.aclose()

    assert message is not None
    assert json.loads(message["data"])["stored"] == 5
    assert registry.get_sample_value("nexus_ingest_live_messages_lost_total") == 1


async def test_without_redis_nothing_is_kept() -> None:
    publisher = LivePublisher(None, IngestMetrics(CollectorRegistry()))
    publisher.start()
    publisher.note(ONE, 1)

    assert await publisher.flush()
    await publisher.stop()


async def test_pages_hear_of_calls_again_after_a_failure_nobody_foresaw(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_PAUSE_SECONDS", 0.01)
    publisher = LivePublisher(Redis.from_url(redis_url), IngestMetrics(CollectorRegistry()), clock=CLOCK)
    times = 0
    again = asyncio.Event()

    async def flush() -> bool:
        nonlocal times
        times += 1
        if times == 1:
            raise RuntimeError("unforeseen")
        again.set()
        return True

    monkeypatch.setattr(publisher, "flush", flush)
    publisher.start()
    publisher.note(ONE, 1)
    async with asyncio.timeout(10):
        await again.wait()
    await publisher.stop()
