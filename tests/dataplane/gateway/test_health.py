"""What calls say of the endpoints they go to, put together of all processes and told to the control plane."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import openai
import pytest
from redis.asyncio import from_url as connect
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nexus.catalog import provider_health
from nexus.contracts.health import ToldHealth, together
from nexus.contracts.redis_keys import endpoint_health
from nexus.dataplane.gateway import service
from nexus.dataplane.gateway.health import FAILURES_IN_A_ROW, OPEN_SECONDS
from nexus.dataplane.gateway.told_health import HealthTeller
from tests.dataplane.conftest import OwnRedis
from tests.dataplane.gateway.conftest import Node

HELLO: Any = [{"role": "user", "content": "hello"}]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SOUND = ToldHealth("a", NOW, "http://x", None, None, 0, 10, 0, NOW, None, "")
FAILING = ToldHealth("b", NOW, "http://x", None, NOW + MINUTE, 5, 8, 5, NOW - MINUTE, NOW, "http_503")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "pause_seconds", lambda number, retry_after: 0.0)


def test_of_processes_that_disagree_the_one_with_most_trouble_is_heard() -> None:
    (found,) = together([SOUND, FAILING], NOW)

    assert (found.state, found.open_until, found.processes, found.refusing_processes) == ("open", NOW + MINUTE, 2, 1)
    assert (found.recent_calls, found.recent_failures, found.failures_in_a_row) == (18, 5, 5)
    assert (found.last_success_at, found.last_failure_at, found.last_failure) == (NOW, NOW, "http_503")


def test_after_its_time_an_endpoint_is_tried_and_a_success_elsewhere_speaks_for_it() -> None:
    later = NOW + 2 * MINUTE

    (alone,) = together([FAILING], later)
    (both,) = together([FAILING, msgspec.structs.replace(SOUND, last_success_at=NOW + MINUTE)], later)

    assert (alone.state, alone.open_until, alone.refusing_processes) == ("half_open", None, 0)
    assert (both.state, both.failures_in_a_row) == ("well", 0)


def test_endpoints_are_kept_apart_by_address_and_credential() -> None:
    found = together(
        [SOUND, msgspec.structs.replace(SOUND, base_url="http://y"),
         msgspec.structs.replace(FAILING, credential_id=UUID(int=1))], NOW,
    )  # fmt: skip

    assert [(item.base_url, item.credential_id, item.state) for item in found] == [
        ("http://x", None, "well"), ("http://x", UUID(int=1), "open"), ("http://y", None, "well"),
    ]  # fmt: skip


async def test_what_calls_find_is_told_to_whoever_may_see_it_and_waits_while_redis_is_away(
    node: Node, redis_url: str, own_redis: OwnRedis
) -> None:
    redis, dead = (connect(url, socket_timeout=1, retry=Retry(NoBackoff(), 0)) for url in (redis_url, own_redis.url))
    teller = HealthTeller(node.gateway.health, redis, node.gateway.clock)
    (credential,) = node.snapshots.gateway.credentials[node.organization_id, "openai"]
    key = endpoint_health(node.organization_id, "openai")
    long_gone = msgspec.structs.replace(FAILING, at=node.gateway.clock.now() - timedelta(days=2))
    await redis.hset(key, mapping={"gone": msgspec.json.encode(long_gone), "strange": b"{}"})

    async def health() -> list[Any]:
        return (await provider_health.health_of(redis, node.organization_id, "openai", node.gateway.clock.now())).items

    async with openai.AsyncOpenAI(base_url=f"{node.url}/gw/openai/v1", api_key=node.key, max_retries=0) as client:
        await client.chat.completions.create(model="sandbox-1", messages=HELLO)
        await teller.tell()
        (well,) = await health()
        for _ in range(FAILURES_IN_A_ROW):
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(
                    model="sandbox-1", messages=HELLO, extra_headers={"x-sandbox-status": "503"}
                )
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(
                model="sandbox-1", messages=HELLO, extra_headers={"x-sandbox-status": "429"}
            )
    own_redis.kill()
    teller._redis = dead
    await teller.tell()
    with pytest.raises(provider_health.HealthAway):
        await provider_health.health_of(dead, node.organization_id, "openai", NOW)
    before = await health()
    teller._redis = redis
    await teller.tell()
    (after,) = await health()

    assert (well.state, well.credential_id, well.recent_calls) == ("well", credential.id, 1)
    assert well.base_url == credential.base_url and before == [well]
    # An answer of 429 closes the circuit: the provider is well, it is we who are too many.
    assert (after.state, after.recent_failures, after.last_failure) == ("well", 0, "http_503")
    assert sorted(await redis.hkeys(key)) != [] and b"gone" not in await redis.hkeys(key)
    assert (await provider_health.health_of(redis, UUID(int=1), "openai", NOW)).items == []
    for each in (redis, dead):
        await each.aclose()


async def test_an_open_circuit_is_told_with_the_instant_until_which_no_routed_call_goes_there(
    node: Node, redis_url: str
) -> None:
    redis = connect(redis_url)
    teller = HealthTeller(node.gateway.health, redis, node.gateway.clock)
    async with openai.AsyncOpenAI(base_url=f"{node.url}/gw/v1", api_key=node.key, max_retries=0) as client:
        for _ in range(FAILURES_IN_A_ROW):
            with pytest.raises(openai.APIStatusError):
                await client.chat.completions.create(
                    model="openai/sandbox-1", messages=HELLO, extra_headers={"x-sandbox-status": "500"}
                )
    await teller.tell()

    now = node.gateway.clock.now()
    (found,) = (await provider_health.health_of(redis, node.organization_id, "openai", now)).items

    assert found.open_until is not None and found.last_failure == "http_500"
    assert found.last_failure_at is not None
    # Longer where a slow machine let a trial fail in between.
    assert (found.open_until - found.last_failure_at).total_seconds() > OPEN_SECONDS - 0.01
    await redis.aclose()
