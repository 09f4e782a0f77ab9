"""`/gw/v1`: aliases, retries, failover, the circuit breaker; limits learned from headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import openai
import pytest
from redis.asyncio import from_url as connect
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nexus.catalog import model_routes
from nexus.contracts.learned import LearnedLimit
from nexus.dataplane.gateway import service
from nexus.dataplane.gateway.health import FAILURES_IN_A_ROW, EndpointHealth
from nexus.dataplane.gateway.learned import LimitBook, read_limits
from nexus.identity import provider_credentials
from nexus.sandbox.app import Sandbox
from tests.dataplane.conftest import OwnRedis
from tests.dataplane.gateway.conftest import Node, free_port, price, served

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def client(node: Node) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{node.url}/gw/v1", api_key=node.key, max_retries=0) as found:
        yield found


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "pause_seconds", lambda number, retry_after: 0.0)


async def add_route(node: Node, alias: str, provider: str, model: str, **more: int) -> None:
    async with node.database.tenant(node.organization_id) as connection:
        await model_routes.create(connection, node.organization_id, alias=alias, provider=provider, model=model, **more)
    await node.snapshots.refresh()


async def add_provider(node: Node, slug: str, url: str) -> None:
    await price(node.database, node.organization_id, slug, "model-b", input="1", output="1")
    await node.add_credential(slug, url)


async def test_a_model_is_named_with_its_provider(node: Node, client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="openai/sandbox-1", messages=HELLO)
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(model="openai/sandbox-1", messages=HELLO, stream=True)
    ]
    to_the_other = await client.chat.completions.create(model="anthropic/sandbox-1", messages=HELLO)

    assert whole.model == to_the_other.model == "sandbox-1" and all(chunk.choices for chunk in chunks)
    assert [entry[1] for entry in node.sandbox.seen] == ["/v1/chat/completions"] * 3
    rows = await node.calls(3)
    assert [row["provider"] for row in rows] == ["openai", "openai", "anthropic"]
    assert all(row["metadata"]["gateway"]["usage"] == "exact" and row["cost"] for row in rows)


async def test_an_alias_fails_over_to_the_next_model_and_each_attempt_is_recorded(
    node: Node, client: openai.AsyncOpenAI
) -> None:
    await add_provider(node, "down", f"http://127.0.0.1:{free_port()}")
    await add_route(node, "fast", "down", "model-b", priority=0)
    await add_route(node, "fast", "openai", "sandbox-1", priority=1)

    answer = await client.chat.completions.create(model="fast", messages=HELLO)
    models = await client.models.list()

    assert answer.model == "sandbox-1" and [model.id for model in models.data] == ["fast"]
    rows = await node.calls(3)
    assert [(row["provider"], row["status_code"]) for row in rows] == [("down", 0), ("down", 0), ("openai", 200)]
    assert len({row["request_id"] for row in rows}) == 1
    assert [row["metadata"]["gateway"]["attempt"] for row in rows] == [1, 2, 3]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_status_that_may_pass_is_tried_again_and_the_last_answer_is_the_client_s(
    node: Node, client: openai.AsyncOpenAI, status: int
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(
            model="openai/sandbox-1", messages=HELLO, extra_headers={"x-sandbox-status": str(status)}
        )

    assert caught.value.status_code == status and "the sandbox was asked for" in str(caught.value)
    rows = await node.calls(2)
    assert [row["status_code"] for row in rows] == [status, status]


async def test_what_is_the_client_s_fault_is_not_tried_again(node: Node, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(
            model="openai/sandbox-1", messages=HELLO, extra_headers={"x-sandbox-status": "400"}
        )

    await node.calls(1)


async def test_a_provider_s_other_endpoint_takes_over(node: Node, client: openai.AsyncOpenAI) -> None:
    second = Sandbox()
    async with served(second) as url:
        await node.add_credential("openai", url)
        for _ in range(6):
            await client.chat.completions.create(model="openai/sandbox-1", messages=HELLO)
        await node.add_credential("openai", f"http://127.0.0.1:{free_port()}", weight=1000)

        answers = [await client.chat.completions.create(model="openai/sandbox-1", messages=HELLO) for _ in range(12)]

    assert len(answers) == 12
    rows = await asyncio.wait_for(_all(node), 10)
    failures = sum(row["status_code"] == 0 for row in rows)
    # Once the breaker is open, nothing is sent there any more.
    assert 1 <= failures <= FAILURES_IN_A_ROW + 1 and len(rows) == 18 + failures


async def _all(node: Node) -> list[Any]:
    while True:
        async with node.database.as_system() as connection:
            rows = await connection.fetch("SELECT status_code FROM metering.calls")
        if sum(row["status_code"] == 200 for row in rows) == 18:
            return list(rows)
        await asyncio.sleep(0.05)


async def test_unknown_models_are_told_as_openai_does(node: Node, client: openai.AsyncOpenAI) -> None:
    for name in ("nothing", "nobody/gpt", "fast"):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model=name, messages=HELLO)
        assert caught.value.code == "model_not_found"
    assert node.sandbox.seen == []


def test_the_breaker_opens_tries_once_and_closes() -> None:
    health = EndpointHealth()
    for _ in range(FAILURES_IN_A_ROW):
        assert health.allows(0.0)
        health.note(worked=False, now=0.0)

    assert not health.allows(5.0)
    assert health.allows(10.0) and not health.allows(10.0)
    health.note(worked=False, now=10.0)
    assert not health.allows(25.0) and health.allows(30.0)
    health.note(worked=True, now=30.0)
    assert health.allows(30.0) and health.allows(30.0)


AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {
                "x-ratelimit-limit-requests": "30000", "x-ratelimit-remaining-requests": "29999",
                "x-ratelimit-reset-requests": "2ms", "x-ratelimit-limit-tokens": "150", "x-ratelimit-reset-tokens": "6m0s",
            },
            [LearnedLimit("requests", 30000, 29999, 0.002), LearnedLimit("tokens", 150, None, 360.0)],
        ),
        (
            {
                "anthropic-ratelimit-input-tokens-limit": "400000", "anthropic-ratelimit-input-tokens-remaining": "399000",
                "anthropic-ratelimit-input-tokens-reset": "2026-01-01T00:01:00Z",
            },
            [LearnedLimit("input-tokens", 400000, 399000, 60.0)],
        ),
        ({"x-ratelimit-limit": "100", "x-ratelimit-reset": "1767225630"}, [LearnedLimit("requests", 100, None, 30.0)]),
        ({"x-ratelimit-limit-tokens-minute": "9"}, [LearnedLimit("tokens_per_minute", 9)]),
        ({"x-ratelimit-limit-requests": "rubbish"}, [LearnedLimit("requests")]),
    ],
)  # fmt: skip
def test_limits_are_read_from_headers(headers: dict[str, str], expected: list[LearnedLimit]) -> None:
    found = read_limits(headers, status_code=200, at=AT)

    assert found is not None and found.limits == expected


async def test_limits_are_learned_per_credential_and_told_to_whoever_may_see_it(
    node: Node, client: openai.AsyncOpenAI, redis_url: str, own_redis: OwnRedis
) -> None:
    redis, dead = (connect(url, socket_timeout=1, retry=Retry(NoBackoff(), 0)) for url in (redis_url, own_redis.url))
    book = node.gateway.limits = LimitBook(redis)
    for _ in range(2):
        await client.chat.completions.create(
            model="openai/sandbox-1", messages=HELLO, extra_headers={"x-sandbox-rate-limit": "60"}
        )

    (credential,) = node.snapshots.gateway.credentials[node.organization_id, "openai"]
    learned = book.get(credential.id)
    assert learned is not None and learned.limits == [LearnedLimit("requests", 60, 58)]
    before = await provider_credentials.limits_of(redis, node.organization_id, credential.id)
    own_redis.kill()
    book._redis = dead
    await book.tell()
    with pytest.raises(provider_credentials.LimitsAway):
        await provider_credentials.limits_of(dead, node.organization_id, credential.id)
    book._redis = redis
    await book.tell()
    after = await provider_credentials.limits_of(redis, node.organization_id, credential.id)
    assert before.at is None and before.limits == []
    assert (after.at, after.status_code, after.limits) == (learned.at, 200, learned.limits)
    assert (await provider_credentials.limits_of(redis, UUID(int=1), credential.id)).at is None
    for each in (redis, dead):
        await each.aclose()
