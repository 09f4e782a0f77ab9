"""Limits at the gateway: asked before anything is sent, told in the provider's words, settled to what the call took."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from nexus.catalog import model_routes
from nexus.contracts.limit_sets import FIELDS
from nexus.dataplane.decide.gate import UNKNOWN_OUTPUT_TOKENS
from nexus.dataplane.gateway.health import FAILURES_IN_A_ROW
from nexus.kit.money import NANOS
from tests.dataplane.conftest import OwnRedis
from tests.dataplane.decide.cases import limit
from tests.dataplane.decide.test_engine import Node as Engine
from tests.dataplane.gateway.conftest import Node, free_port, price
from tests.dataplane.gateway.limited import DAY, Limited

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def client(node: Node) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{node.url}/gw/openai/v1", api_key=node.key, max_retries=0) as found:
        yield found


async def test_a_call_is_settled_to_its_tokens_and_its_cost_and_its_answer_tells_what_is_left(
    limited: Limited, client: openai.AsyncOpenAI
) -> None:
    limited.have(
        limit(1, capacity=100_000, per_us=DAY, dimension="tokens"),
        limit(2, capacity=5 * NANOS, per_us=DAY, dimension="money", currency="USD"),
        limit(3, capacity=10, per_us=DAY),
    )

    answer = await client.chat.completions.with_raw_response.create(
        model="sandbox-1", messages=HELLO, extra_headers={"x-sandbox-usage": "input=120,output=40,cached=20"}
    )

    tokens, money, requests = [await limited.settled(number) for number in (1, 2, 3)]
    (row,) = await limited.calls()
    assert (tokens, requests) == (row["tokens"]["input"] + row["tokens"]["output"], 1) and tokens == 160
    assert money == Decimal(row["cost"]) * NANOS and money > 0
    told = [dict(zip(FIELDS, mark, strict=True)) for mark in row["metadata"]["gateway"]["limits"]]
    assert [(item["limit"], item["settled"]) for item in told] == [
        ("limit-1", tokens),
        ("limit-2", money),
        ("limit-3", 1),
    ]
    assert told[0]["charged"] > UNKNOWN_OUTPUT_TOKENS and told[0]["left"] == 100_000 - told[0]["charged"]
    assert [item["unit"] for item in told] == [1, NANOS, 1] and not any(item["would_refuse"] for item in told)
    assert '"limit-3";q=10' in answer.headers["ratelimit-policy"] and '"limit-3";r=9' in answer.headers["ratelimit"]


async def test_calls_that_met_the_same_limits_name_them_and_each_is_told_what_it_left(
    limited: Limited, client: openai.AsyncOpenAI
) -> None:
    node, calls = limited.node, 30
    limited.have(
        limit(1, capacity=10**9, units=10**9, dimension="tokens"),
        limit(2, capacity=10**15, units=10**15, dimension="money", currency="USD", scope="key"),
        *(limit(number, capacity=10**6, units=10**6) for number in range(3, 13)),
    )

    for _ in range(calls):
        await client.chat.completions.create(
            model="sandbox-1", messages=HELLO, extra_headers={"x-sandbox-usage": "input=120,output=40"}
        )

    told = [row["metadata"]["gateway"] for row in await limited.calls(calls)]
    assert {item["limits_decided_by"] for item in told} == {"redis", "lease"}
    cost = told[0]["limits"][1][FIELDS.index("settled")]
    for item in told:
        assert "limit_set" not in item and len(item["limits"]) == 12 and cost > 0
        assert [mark[FIELDS.index("settled")] for mark in item["limits"]] == [160, cost, *[1] * 10]
        assert all(0 < mark[FIELDS.index("left")] <= 10**15 for mark in item["limits"])
    async with node.database.as_system() as connection:
        kept = await connection.fetch("SELECT id FROM metering.limit_sets")
        named = await connection.fetch(
            "SELECT DISTINCT metadata #>> '{gateway,limit_set,id}' AS id FROM metering.calls"
        )
    assert [str(row["id"]) for row in kept] == [row["id"] for row in named] and len(kept) == 1


@pytest.mark.parametrize("leaves", [False, True], ids=["to its end", "and its client leaves"])
async def test_a_stream_is_held_while_it_runs_and_settled_to_what_the_provider_reports(
    limited: Limited, client: openai.AsyncOpenAI, leaves: bool
) -> None:
    limited.have(limit(1, capacity=100_000, per_us=DAY, dimension="tokens"))
    headers = {"x-sandbox-usage": "input=12,output=30", "x-sandbox-chunks": "20", "x-sandbox-chunk-ms": "5"}

    stream = await client.chat.completions.create(model="sandbox-1", messages=HELLO, stream=True, extra_headers=headers)
    first = await anext(aiter(stream))
    taken, held = await limited.used()
    if leaves:
        await stream.close()
    else:
        [_ async for _ in stream]

    assert first.choices and taken == held > UNKNOWN_OUTPUT_TOKENS
    assert await limited.settled() == 42
    (row,) = await limited.node.calls(1)
    assert row["metadata"]["gateway"].get("client_left", False) is leaves


async def test_a_refused_call_is_not_sent_and_its_client_hears_it_in_its_provider_s_words(
    limited: Limited, client: openai.AsyncOpenAI
) -> None:
    limited.have(limit(1, capacity=1, per_us=DAY))
    node = limited.node
    await client.chat.completions.create(model="sandbox-1", messages=HELLO)

    with pytest.raises(openai.RateLimitError) as refused:
        await client.chat.completions.create(model="sandbox-1", messages=HELLO)
    async with anthropic.AsyncAnthropic(base_url=f"{node.url}/gw/anthropic", api_key=node.key, max_retries=0) as other:
        with pytest.raises(anthropic.RateLimitError) as refused_too:
            await other.messages.create(model="sandbox-1", max_tokens=9, messages=HELLO)

    assert len(node.sandbox.seen) == 1
    assert refused.value.code == refused.value.response.headers["x-nexus-error"] == "quota-exceeded"
    assert int(refused.value.response.headers["retry-after"]) > 80_000
    assert '"limit-1";r=0' in refused.value.response.headers["ratelimit"]
    assert refused_too.value.response.json()["error"]["type"] == "rate_limit_error"
    assert await limited.settled() == 1, "a refused call changes no counter"


async def test_what_was_never_sent_is_given_back_and_what_the_provider_refuses_costs_no_tokens(
    limited: Limited, client: openai.AsyncOpenAI
) -> None:
    node = limited.node
    await price(node.database, node.organization_id, "down", "model-b", input="1", output="1")
    await node.add_credential("down", f"http://127.0.0.1:{free_port()}")
    limited.have(limit(1, capacity=10, per_us=DAY), limit(2, capacity=10**6, per_us=DAY, dimension="tokens"))

    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {node.key}"}) as session:
        async with session.post(f"{node.url}/gw/down/v1/chat/completions", json={"model": "model-b"}) as answer:
            assert answer.status == 502
        unsent = await limited.settled(1), await limited.settled(2)
    with pytest.raises(openai.APIStatusError):
        await client.chat.completions.create(
            model="sandbox-1", messages=HELLO, extra_headers={"x-sandbox-status": "500"}
        )

    assert unsent == (0, 0)
    rows = await limited.calls(2)
    assert sorted([mark[6] for mark in row["metadata"]["gateway"]["limits"]] for row in rows) == [[0, 0], [1, 0]]
    assert FIELDS[6] == "settled"
    assert (await limited.settled(1), await limited.settled(2)) == (1, 0)


async def test_a_model_whose_provider_is_used_up_is_served_by_the_next(limited: Limited) -> None:
    node = limited.node
    async with node.database.tenant(node.organization_id) as connection:
        for place, provider in enumerate(("openai", "anthropic")):
            await model_routes.create(
                connection, node.organization_id, alias="fast", provider=provider, model="sandbox-1", priority=place
            )
    await node.snapshots.refresh()
    limited.have(limit(1, capacity=1, per_us=DAY, scope="provider", subject="openai"))
    refusals = FAILURES_IN_A_ROW + 1

    async with openai.AsyncOpenAI(base_url=f"{node.url}/gw/v1", api_key=node.key, max_retries=0) as client:
        for _ in range(1 + refusals):
            await client.chat.completions.create(model="fast", messages=HELLO)
        limited.have(limit(2, capacity=1, per_us=DAY, scope="model", subject="sandbox-1"))
        await client.chat.completions.create(model="fast", messages=HELLO)
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="fast", messages=HELLO)

    rows = await node.calls(2 + 2 * refusals + 2)
    made = [row["provider"] for row in rows if row["refused_by"] is None]
    assert made == ["openai", *["anthropic"] * refusals, "openai"], "refusing is not failing"
    tried = [row for row in rows if row["request_id"] == rows[1]["request_id"]]
    assert [(row["provider"], row["status_code"], row["refused_by"]) for row in tried] == [
        ("openai", 429, "limit-1"), ("anthropic", 200, None),
    ]  # fmt: skip


async def test_calls_at_once_never_pass_a_limit_of_calls_in_flight(
    limited: Limited, client: openai.AsyncOpenAI
) -> None:
    limited.have(limit(1, capacity=3, method="concurrency"))
    slow = {"x-sandbox-latency-ms": "300"}

    async def one() -> int:
        try:
            await client.chat.completions.create(model="sandbox-1", messages=HELLO, extra_headers=slow)
        except openai.RateLimitError:
            return 429
        return 200

    at_once = await asyncio.gather(*(one() for _ in range(10)))
    await limited.settled()

    assert sorted(at_once) == [200] * 3 + [429] * 7
    assert await one() == 200


async def _told_how_many_decide(engine: Engine) -> None:
    """Wait until the process knows how many share its limits: before, it gives nothing of them while Redis is away."""
    for _ in range(500):
        if engine.engine._fallback.share is not None:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nobody was counted")


@pytest.mark.parametrize(("mode", "status"), [("open", 200), ("closed", 503), ("local", 200)])
async def test_without_redis_calls_go_on_as_each_limit_says(
    node: Node, own_redis: OwnRedis, client: openai.AsyncOpenAI, mode: str, status: int
) -> None:
    engine = Engine(own_redis.url, timeout_seconds=0.2)
    limited = Limited(node, engine)
    limited.have(limit(1, capacity=10, method="fixed_window", period="year", dimension="requests", failure=mode))
    await engine.engine.start()
    await _told_how_many_decide(engine)
    await client.chat.completions.create(model="sandbox-1", messages=HELLO)
    own_redis.kill()

    try:
        answer = await client.chat.completions.with_raw_response.create(model="sandbox-1", messages=HELLO)
        found = answer.status_code
    except openai.InternalServerError as error:
        found = error.status_code
        assert error.code == "limiter_unavailable"

    assert found == status
    assert len(node.sandbox.seen) == (2 if status == 200 else 1)
    assert node.gateway.gate is not None
    await node.gateway.gate.stop()
    await engine.close()
