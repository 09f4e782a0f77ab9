"""Pausing budgets: money limits of the one engine, opened from the ledger, in force within a second of a change."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from nexus.dataplane.decide.asgi import BudgetExhausted, refusal
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.types import Decision
from nexus.kit.money import NANOS
from tests.costs.conftest import HOLD, Api, admitted, call_of


async def test_a_budget_begins_with_what_was_spent_already_and_pays_for_the_rest_whoever_asks(
    api: Api, engines: list[Admission]
) -> None:
    await api.spend(7 * NANOS)
    await api.make(amount="10", pauses=True)
    await api.limits.refresh()

    # All at once, and the first of them opens it.
    decisions = await asyncio.gather(
        *(engine.decide(call_of(api), hold_seconds=HOLD) for engine in engines for _ in range(10))
    )

    assert sum(decision.is_admitted for decision in decisions) == 3


async def test_a_soft_budget_refuses_nothing(api: Api, engines: list[Admission]) -> None:
    await api.make(amount="1")
    await api.limits.refresh()

    assert await admitted(engines[0], call_of(api), most=5) == 5


async def test_calls_are_held_at_their_estimate_and_settled_to_what_they_cost(
    api: Api, engines: list[Admission]
) -> None:
    budget = await api.make(amount="10", pauses=True)
    await api.limits.refresh()
    first = await engines[0].decide(call_of(api, 6 * NANOS), hold_seconds=HOLD)

    held = (await api.detail(budget))["standing"]
    refused = await engines[1].decide(call_of(api, 6 * NANOS), hold_seconds=HOLD)
    await engines[0].settle(api.organization_id, first.hold_id, {"money": 2 * NANOS})
    second = await engines[1].decide(call_of(api, 6 * NANOS), hold_seconds=HOLD)

    assert (held["held"], held["left"], held["spent"]) == ("6", "4", "0")
    assert (refused.outcome, second.outcome) == ("refused", "admitted")


async def test_another_amount_keeps_what_was_spent_and_another_scope_counts_the_ledger_anew(
    api: Api, engines: list[Admission]
) -> None:
    budget = await api.make(amount="3", pauses=True)
    await api.limits.refresh()
    assert await admitted(engines[0], call_of(api, application="shop")) == 3

    await api.patch(f"budgets/{budget['id']}", {"amount": "5", "reason": "more"})
    await api.limits.refresh()
    more = await admitted(engines[1], call_of(api, application="shop"))
    await api.spend(4 * NANOS, application="shop")
    await api.patch(f"budgets/{budget['id']}", {"scope": "application", "subject": "shop", "reason": "theirs"})
    await api.limits.refresh()

    assert more == 2
    assert await admitted(engines[0], call_of(api, application="shop")) == 1
    assert await admitted(engines[0], call_of(api, application="other"), most=9) == 9


async def test_a_budget_of_a_tag_meets_calls_that_carry_it_and_each_value_may_have_its_own(
    api: Api, engines: list[Admission]
) -> None:
    await api.make("search", "2", scope="tag", subject="team=search", pauses=True)
    await api.make("customers", "3", scope="tag", subject="customer", pauses=True)
    await api.spend(NANOS, tags={"customer": "c1"})
    await api.limits.refresh()

    async def paid_for(**tags: str) -> int:
        return await admitted(engines[0], call_of(api, tags=tags), most=9)

    assert await paid_for(team="search") == 2
    assert await paid_for(team="ads") == 9
    assert (await paid_for(customer="c1"), await paid_for(customer="c2")) == (2, 3)


async def test_a_call_in_another_currency_is_charged_and_settled_at_todays_rate(
    api: Api, engines: list[Admission]
) -> None:
    today = api.clock.now().date().isoformat()
    await api.post("exchange-rates", {"content": f"date,base,quote,rate\n{today},EUR,USD,1.25"})
    budget = await api.make(amount="10", pauses=True)
    await api.limits.refresh()

    first = await engines[0].decide(call_of(api, 4 * NANOS, currency="EUR"), hold_seconds=HOLD)
    held = (await api.detail(budget))["standing"]["held"]
    await engines[0].settle(api.organization_id, first.hold_id, {"money": 2 * NANOS})

    assert held == "5"
    # 10 - 2 x 1.25 = 7.5
    assert await admitted(engines[1], call_of(api)) == 7
    assert (await engines[1].decide(call_of(api, 9**20 % 10**10, currency="CHF"))).is_admitted, "no rate is invented"


async def test_the_refusal_names_the_budget_what_is_spent_and_when_it_begins_again(
    api: Api, engines: list[Admission]
) -> None:
    budget = await api.make(amount="2", pauses=True, period="day")
    await api.limits.refresh()
    await admitted(engines[0], call_of(api))

    refused: Decision = await engines[0].decide(call_of(api))
    error = refusal(refused)

    assert isinstance(error, BudgetExhausted) and (error.code, error.status) == ("quota-exceeded", 429)
    ends = (await api.detail(budget))["period_ends_at"]
    told = error.data["budget"]
    assert isinstance(told, dict)
    assert {**told, "begins_again_at": None} == {
        "name": "all", "amount": "2", "spent": "2", "currency": "USD", "begins_again_at": None,
    }  # fmt: skip
    begins = datetime.fromisoformat(told["begins_again_at"])
    assert abs(begins - datetime.fromisoformat(ends)) <= timedelta(seconds=2)
    assert "the budget all has no room for this call: 2 of 2 USD" in error.detail and error.retry_after_seconds


async def test_a_budget_is_opened_again_by_whoever_finds_it_lost_and_never_at_nothing(
    api: Api, engines: list[Admission]
) -> None:
    await api.spend(5 * NANOS)
    await api.make(amount="10", pauses=True)
    await api.limits.refresh()
    flying = [await engines[0].decide(call_of(api), hold_seconds=HOLD) for _ in range(2)]
    settled = await engines[1].decide(call_of(api), hold_seconds=HOLD)
    for engine in engines:
        await engine._tick()
    await engines[1].settle(api.organization_id, settled.hold_id, {"money": NANOS})

    # Redis is killed without its file: everything is gone at once, and neither process knows.
    await api.redis.flushall()
    at_once = [await engine.decide(call_of(api), hold_seconds=HOLD) for engine in engines]
    for engine in engines:
        await engine._tick()
    async with asyncio.timeout(10):
        while (decision := await engines[1].decide(call_of(api), hold_seconds=HOLD)).outcome == "unavailable":
            await asyncio.sleep(0.02)

    assert all(decision.is_admitted for decision in flying)
    assert [decision.outcome for decision in at_once] == ["unavailable", "unavailable"]
    # 5 by the ledger, 2 in flight, 1 settled a moment ago: two are left, and the first of them is had.
    assert decision.is_admitted
    assert await admitted(engines[0], call_of(api)) == 1
