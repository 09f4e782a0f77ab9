"""The health of a provider's endpoints over HTTP: what the gateway told, and how much of it who may see."""

from __future__ import annotations

from datetime import timedelta

import httpx
import msgspec
import pytest
from redis.asyncio import from_url

from nexus.contracts.health import ToldHealth
from nexus.contracts.redis_keys import endpoint_health
from nexus.entry.control_plane import ControlPlane
from nexus.identity.types import FirstStart
from nexus.kit.clock import FixedClock

URL = "/api/catalog/providers/{}/health"


async def test_health_is_what_the_gateway_told_and_addresses_are_for_who_may_read_credentials(
    client: httpx.AsyncClient,
    first: FirstStart,
    app: ControlPlane,
    redis_url: str,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.headers["authorization"] = f"Bearer {first.access_key}"
    made = await client.post("/api/identity/access-keys", json={"name": "viewer", "scopes": ["catalog:read"]})
    price = {"provider": "openai", "model": "m", "components": [{"unit": "input", "amount": "1", "per": 1_000_000}]}
    assert (await client.post("/api/catalog/prices", json=price)).status_code == 201
    now = clock.now()
    told = ToldHealth(
        "one", now, "https://eu.example", None, now + timedelta(seconds=10), 5, 20, 11, None, now, "upstream_timeout"
    )
    async with from_url(redis_url) as redis:
        away = await client.get(URL.format("openai"))
        monkeypatch.setattr(app.state, "redis", redis)
        nothing, unknown = await client.get(URL.format("openai")), await client.get(URL.format("no-such"))
        await redis.hset(endpoint_health(first.organization_id, "openai"), "a field", msgspec.json.encode(told))
        found = await client.get(URL.format("openai"))
        seen = await client.get(URL.format("openai"), headers={"authorization": f"Bearer {made.json()['key']}"})

    assert (away.status_code, unknown.status_code, nothing.json()) == (503, 404, {"items": []})
    (item,) = found.json()["items"]
    assert (item["state"], item["base_url"], item["last_failure"]) == ("open", "https://eu.example", "upstream_timeout")
    assert (item["recent_calls"], item["recent_failures"], item["refusing_processes"]) == (20, 11, 1)
    assert seen.json()["items"] == [item | {"base_url": None}]
