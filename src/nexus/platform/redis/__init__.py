"""Redis: shared hot state and live messages. Nothing that must not be lost is kept in it."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nexus.platform.redis.embedded import EmbeddedRedis
from nexus.platform.settings import Settings


def redis_url(settings: Settings) -> str:
    """Return the URL of the Redis in use: the environment's, else the embedded one's socket."""
    return settings.redis_url or EmbeddedRedis(settings.data_dir).url


def connect(settings: Settings) -> Redis:
    """Make a client. Nothing is connected until it is used; no call waits longer than two seconds."""
    client: Redis = Redis.from_url(
        redis_url(settings),
        socket_timeout=2,
        socket_connect_timeout=2,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=30,
    )
    return client
