"""Calls that limits refused: recorded with the reason, in no figure, and of a flood only some."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import openai
import pytest

from nexus.contracts.keys import KeyEntry
from nexus.contracts.limits import LimitTable
from nexus.dataplane.decide.asgi import refusal
from nexus.dataplane.decide.explanation import REFUSED_FIELDS
from nexus.dataplane.decide.gate import Priced, Ticket
from nexus.dataplane.decide.purses import Plan
from nexus.dataplane.decide.types import Decision, LimitStanding
from nexus.dataplane.gateway.exchange import Caller, Exchange, Inquiry
from nexus.dataplane.gateway.refusals import BURST, Refusals
from tests.dataplane.conftest import OwnRedis
from tests.dataplane.decide.cases import ORGANIZATION, limit
from tests.dataplane.decide.test_engine import Node as Engine
from tests.dataplane.gateway.conftest import Node
from tests.dataplane.gateway.limited import DAY, Limited

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def client(node: Node) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{node.url}/gw/openai/v1", api_key=node.key, max_retries=0) as found:
        yield found


async def test_a_refused_call_is_recorded_with_what_was_asked_and_who_refused(
    limited: Limited, client: openai.AsyncOpenAI
) -> None:
    limited.have(
        limit(1, capacity=100_000, per_us=DAY, dimension="tokens"),
        limit(2, capacity=1, per_us=DAY, scope="model"),
    )

    await client.chat.completions.create(model="sandbox-1", messages=HELLO)
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="sandbox-1", messages=HELLO, max_tokens=500)

    made, refused = await limited.node.calls(2)
    assert made["refused_by"] is None and made["metadata"]["gateway"]["limits_decided_by"] == "redis"
    assert (refused["refused_by"], refused["status_code"], refused["error_type"]) == ("limit-2", 429, "quota-exceeded")
    assert (refused["cost"], refused["price_source"], refused["output_tokens"]) == (0, "given", 0)
    assert refused["provider"] == "openai" and refused["model"] == "sandbox-1" and "limit-2" in refused["error_message"]
    told = refused["metadata"]["gateway"]
    marks = [dict(zip(REFUSED_FIELDS, mark, strict=True)) for mark in told["limits"]]
    assert [(mark["limit"], mark["charged"], mark["settled"]) for mark in marks] == [
        ("limit-1", 0, 0),
        ("limit-2", 0, 0),
    ]
    assert (
        marks[0]["asked"] > 500 and marks[0]["left"] > marks[0]["asked"] and marks[1]["asked"] == 1 > marks[1]["left"]
    )
    assert told["refusal"]["bucket"] == marks[1]["bucket"] and told["refusal"]["outcome"] == "refused"
    assert 0 < told["refusal"]["retry_after_ms"] <= 86_400_000 and told["limits_decided_by"] in {"redis", "lease"}
    assert len(limited.node.sandbox.seen) == 1


async def test_without_redis_the_record_says_that_the_failure_policy_refused(
    node: Node, client: openai.AsyncOpenAI, own_redis: OwnRedis
) -> None:
    engine = Engine(own_redis.url)
    limited = Limited(node, engine)
    limited.have(limit(1, capacity=10, per_us=DAY))
    own_redis.kill()

    with pytest.raises(openai.InternalServerError) as refused:
        await client.chat.completions.create(model="sandbox-1", messages=HELLO)

    (row,) = await node.calls(1)
    told = row["metadata"]["gateway"]
    assert refused.value.status_code == row["status_code"] == 503 and row["error_type"] == "limiter_unavailable"
    assert (row["refused_by"], told["limits_decided_by"], told["refusal"]["outcome"]) == (
        "limit-1",
        "fallback",
        "unavailable",
    )
    assert node.gateway.gate is not None
    await node.gateway.gate.stop()
    node.gateway.gate = None
    await engine.close()


def test_a_flood_of_refusals_is_recorded_up_to_a_bound_and_what_is_not_is_counted() -> None:
    now = 0.0
    refusals = Refusals(lambda: now)
    one = limit(1, capacity=1, per_us=DAY)
    plan = Plan(LimitTable(), "cell", [(one, "bucket")])
    decision = Decision("refused", [LimitStanding(one, "bucket", 0, 0, 5)], retry_us=5, refused_by=one)

    def refuse(organization: Any) -> dict[str, Any] | None:
        key = KeyEntry(uuid4(), organization, frozenset())
        target: Any = None
        exchange = Exchange(Caller(key, "r"), target, "POST", "/", Inquiry())
        ticket = Ticket(organization, decision, Priced(key, "openai", "m", "/", None, None), 0, plan, [1])
        told = refusals.describes(exchange, ticket, refusal(decision))
        assert told == (exchange.decision is not None)
        return exchange.decision["refusal"] if exchange.decision else None

    flood = [refuse(ORGANIZATION) for _ in range(10 * BURST)]
    other = refuse(uuid4())
    now = 1.0
    later = [refuse(ORGANIZATION) for _ in range(3)]

    assert all(flood[:BURST]) and not any(flood[BURST:]) and other is not None
    assert later[0] is not None and later[0]["unrecorded_before"] == 9 * BURST and later[1:] == [None, None]
    assert "unrecorded_before" not in (flood[0] or {})
