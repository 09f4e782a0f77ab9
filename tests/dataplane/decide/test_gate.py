"""Forwarded calls: estimated before, refused as a client is told, settled after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import product
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from nexus.contracts.keys import KeyEntry, KeyTable, OrganizationEntry
from nexus.contracts.limits import Limit
from nexus.contracts.prices import Component, ModelDocument, PriceBook, PriceDocument, ProviderDocument
from nexus.dataplane.decide.asgi import LimiterAway, QuotaExceeded, refusal
from nexus.dataplane.decide.gate import UNKNOWN_OUTPUT_TOKENS, Gate, Ticket
from nexus.dataplane.decide.leases import Leases
from nexus.dataplane.decide.scripts import BucketState, Scripts, keys_of
from nexus.dataplane.http import NotLoaded
from nexus.kit.money import NANOS
from tests.dataplane.conftest import OwnRedis
from tests.dataplane.decide.cases import ORGANIZATION, SECOND, limit
from tests.dataplane.decide.test_engine import Node

DAY = 86_400 * SECOND
KEY = KeyEntry(ORGANIZATION, ORGANIZATION, frozenset({"*"}), "shop")
KEYS = KeyTable(1, MappingProxyType({}), MappingProxyType({
    ORGANIZATION: OrganizationEntry(ORGANIZATION, "acme", "USD", "standard", "UTC"),
}))  # fmt: skip


class Gated:
    def __init__(self, url: str, *known: Limit, **more: Any) -> None:
        self.node = Node(url, *known, **more)
        self.gate = Gate(self.node.engine, keys=lambda: KEYS, prices=lambda: PriceBook.from_documents([]))

    async def admit(self, key: KeyEntry, **asked: Any) -> Ticket | None:
        """Ask as the gateway does."""
        ticket = await self.gate.ask(key, **asked)
        if ticket is not None and not ticket.decision.is_admitted:
            raise refusal(ticket.decision)
        return ticket

    async def used(self, number: int) -> tuple[int, int]:
        data = await self.node.client.get(keys_of(ORGANIZATION).buckets + f"{number:032x}")
        assert data is not None
        state = BucketState.unpack(data)
        return state.capacity - state.level, state.held


@pytest.fixture
async def gated(redis_url: str) -> AsyncIterator[Gated]:
    made = Gated(redis_url, limit(1, capacity=10_000, per_us=DAY, dimension="tokens"), limit(2, capacity=3, per_us=DAY))
    yield made
    await made.gate.stop()
    await made.node.close()


async def test_a_call_is_held_by_its_maximum_and_settled_to_what_it_took(gated: Gated) -> None:
    ticket = await gated.admit(KEY, provider="openai", model="m", input_tokens=100, most_output=500)
    held = await gated.used(1)
    gated.gate.settle(ticket, tokens=150)
    await gated.gate.stop()

    assert held == (600, 600) and await gated.used(1) == (150, 0)


async def test_a_call_without_a_maximum_is_held_by_what_its_model_usually_takes(gated: Gated) -> None:
    first = await gated.admit(KEY, provider="openai", model="m", input_tokens=10)
    before = await gated.used(1)
    gated.gate.settle(first, tokens=60)
    await gated.gate.stop()
    await gated.admit(KEY, provider="openai", model="m", input_tokens=10)

    assert before == (10 + UNKNOWN_OUTPUT_TOKENS,) * 2
    assert await gated.used(1) == (60 + 60, 60)


async def test_a_refused_call_tells_its_client_and_one_that_was_not_sent_costs_nothing(gated: Gated) -> None:
    tickets = [await gated.admit(KEY, provider="openai") for _ in range(3)]
    with pytest.raises(QuotaExceeded) as refused:
        await gated.admit(KEY, provider="openai")

    gated.gate.release(tickets[0])
    await gated.gate.stop()

    assert refused.value.data["limit"] == "limit-2" and refused.value.retry_after_seconds is not None
    assert refused.value.headers["ratelimit"].startswith('"limit-1"') and "retry-after" not in refused.value.headers
    assert await gated.admit(KEY, provider="openai") is not None


async def test_without_limits_nothing_is_asked_and_without_redis_a_closed_limit_refuses(own_redis: OwnRedis) -> None:
    made = Gated(own_redis.url)
    own_redis.kill()

    assert await made.admit(KEY, provider="openai") is None
    made.node.table = Node(own_redis.url, limit(1, capacity=10)).table
    with pytest.raises(LimiterAway):
        await made.admit(KEY, provider="openai")
    await made.node.close()


async def test_calls_of_one_kind_are_priced_by_the_book_and_the_currency_in_force(redis_url: str) -> None:
    def book(euro: str, dollar: str) -> PriceBook:
        parts = [("EUR", euro), ("USD", dollar)]
        return PriceBook(
            [
                ProviderDocument("p"), ModelDocument("p", "m", {"equals": "m"}), ModelDocument("p", "m-2", {"equals": "m-2"}),
                *(
                    PriceDocument(UUID(int=number), "p", [Component("input", amount, 1)], model=model, currency=currency)
                    for number, (model, (currency, amount)) in enumerate(product(("m", "m-2"), parts), 1)
                ),
            ]
        )  # fmt: skip

    limits = [limit(1, currency="USD"), limit(2, currency="EUR")]
    gated = Gated(redis_url, *(replace(item, dimension="money", capacity=10**15) for item in limits))
    books, keys = [book("3", "2")], [KEYS]
    gated.gate._prices = lambda: books[-1]
    gated.gate._keys = lambda: keys[-1]

    async def costs(model: str) -> int | None:
        ticket = await gated.admit(KEY, provider="p", model="m", input_tokens=1)
        assert ticket is not None
        return gated.gate.cost(ticket, {"input": 1, "requests": 1}, model=model, variant={}, is_failure=False)

    found = [await costs("m"), await costs("m"), await costs("m-2"), await costs("")]
    books.append(book("30", "20"))
    found.append(await costs("m"))
    euro = replace(KEYS.organizations[ORGANIZATION], currency="EUR")
    keys.append(replace(KEYS, organizations=MappingProxyType({ORGANIZATION: euro})))
    found.append(await costs("m"))

    assert found == [2 * NANOS] * 4 + [20 * NANOS, 30 * NANOS]
    await gated.gate.stop()
    await gated.node.close()


async def test_while_limits_are_not_known_no_call_is_taken_for_unlimited(gated: Gated) -> None:
    gate = Gate(
        gated.node.engine, keys=lambda: KEYS, prices=lambda: PriceBook.from_documents([]), is_loaded=lambda: False
    )

    with pytest.raises(NotLoaded):
        await gate.ask(KEY, provider="openai")


async def test_who_comes_while_more_is_being_leased_waits_for_it_and_looks_at_no_limit(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    many: dict[str, Any] = {"capacity": 10**9, "per_us": DAY}
    known = limit(1, **many), limit(2, **many), limit(3, dimension="tokens", **many)
    gated = Gated(redis_url, *known, timeout_seconds=30.0, socket_seconds=30.0)
    looked_at_all = 0
    by_all_limits, lease = Leases.decide, Scripts.lease
    may_answer = asyncio.Event()

    def counted(leases: Leases, *call: Any) -> Any:
        nonlocal looked_at_all
        looked_at_all += 1
        return by_all_limits(leases, *call)

    async def slow(scripts: Scripts, *asked: Any, **more: Any) -> Any:
        await may_answer.wait()
        return await lease(scripts, *asked, **more)

    async def ask() -> Ticket:
        ticket = await gated.admit(KEY, provider="openai", model="m", input_tokens=10, most_output=20)
        assert ticket is not None
        gated.gate.settle(ticket, tokens=30)
        return ticket

    async with asyncio.timeout(60):
        while (purse := (await ask()).plan.purse).windows is None or not purse.until_us:
            pass
        # As when they have come to their end.
        for key in purse.plan.keys:
            gated.node.engine._lessee.leases._end(key)
        monkeypatch.setattr(Leases, "decide", counted)
        monkeypatch.setattr(Scripts, "lease", slow)
        calls = [asyncio.create_task(ask()) for _ in range(20)]
        for _ in range(10):
            await asyncio.sleep(0)
        before = looked_at_all
        may_answer.set()
        tickets = await asyncio.gather(*calls)
    await gated.gate.stop()
    await gated.node.close()

    assert before == 2, "the first, before and after it may ask; all others wait for what it gets"
    assert all(ticket.decision.is_admitted for ticket in tickets)
