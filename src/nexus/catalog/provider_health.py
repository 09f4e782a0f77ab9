"""How the endpoints of a provider do, as the gateway's processes saw it in the last day's calls."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.catalog import store
from nexus.catalog.errors import UnknownProvider
from nexus.contracts.health import EndpointHealth, ToldHealth, together
from nexus.contracts.redis_keys import endpoint_health
from nexus.kit.errors import Unavailable
from nexus.platform.db import Connection

KEPT = timedelta(days=1)
_decode = msgspec.json.Decoder(ToldHealth).decode


class HealthAway(Unavailable):
    """What the gateway saw is kept in Redis, which does not answer: try again in a moment."""

    code = "health_unavailable"


class ProviderHealth(msgspec.Struct):
    """The endpoints that calls went to in the last day; none where there were no calls."""

    items: list[EndpointHealth]


async def check_provider(connection: Connection, slug: str) -> None:
    """Raise `UnknownProvider` when the organization sees no such provider."""
    if not await store.list_providers(connection, None, None, slug, 1):
        raise UnknownProvider


async def health_of(redis: Redis | None, organization_id: UUID, slug: str, now: datetime) -> ProviderHealth:
    """Return the health of a provider's endpoints."""
    if redis is None:
        raise HealthAway
    try:
        fields: dict[Any, Any] = await redis.hgetall(endpoint_health(organization_id, slug))
    except (RedisError, OSError, TimeoutError) as error:
        raise HealthAway(retry_after_seconds=1) from error
    return ProviderHealth(together(_recent(fields.values(), now), now))


def _recent(values: Iterable[bytes], now: datetime) -> list[ToldHealth]:
    found: list[ToldHealth] = []
    for value in values:
        try:
            one = _decode(value)
        except msgspec.DecodeError:
            # Of another version, while nodes are being replaced.
            continue
        if one.at > now - KEPT:
            found.append(one)
    return found
