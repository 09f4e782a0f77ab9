"""Budgets as people make and change them, and what they are told of their spend."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus.kit.ids import uuid7
from tests.costs.conftest import Api
from tests.metering.records import KEYS, fold

DOLLAR = 10**9


async def test_a_budget_takes_the_organizations_currency_and_zone_and_the_usual_thresholds(api: Api) -> None:
    made = await api.make()

    assert (made["currency"], made["zone"], made["scope"], made["period"]) == ("USD", "UTC", "organization", "month")
    assert made["thresholds"] == [0.5, 0.75, 0.9, 1.0]
    assert (made["version"], made["pauses"], made["is_active"], made["amount"]) == (1, False, True, "100")


async def test_spend_is_what_the_calls_of_the_period_cost_to_the_nano_in_the_journal_and_in_the_rollups(
    api: Api,
) -> None:
    budget = await api.make()
    await api.spend(60 * DOLLAR + 1, 15 * DOLLAR, None)
    await api.spend(7 * DOLLAR, at=datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC))

    fresh = (await api.detail(budget))["standing"]
    await fold(api.database)
    folded = (await api.detail(budget))["standing"]
    summary = await api.get("/api/metering/summary", **{"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"})

    assert fresh == folded
    assert folded["spent"] == summary.json()["total"]["cost"] == "75.000000001"
    assert (folded["left"], folded["over"], folded["crossed"]) == ("24.999999999", "0", [0.5, 0.75])
    assert (folded["requests"], folded["unpriced"], folded["state"]) == (3, 1, "warned")


async def test_each_scope_counts_its_own_calls(api: Api) -> None:
    scopes = [
        ("application", "shop", "2"), ("user", "ada", "4"), ("key", str(KEYS[0]), "8"), ("provider", "exa", "16"),
        ("model", "m1", "32"), ("tag", "team=search", "64"), ("organization", None, "254"),
    ]  # fmt: skip
    made = [await api.make(f"of-{scope}", "1000", scope=scope, subject=subject) for scope, subject, _ in scopes]
    fields = [{"application": "shop"}, {"user_ref": "ada"}, {"key_id": KEYS[0]}, {"provider": "exa"}, {"model": "m1"},
              {"tags": {"team": "search"}}, {"tags": {"team": "ads"}}]  # fmt: skip
    for power, more in enumerate(fields, 1):
        await api.spend(2**power * DOLLAR, **more)
        if power == 3:
            await fold(api.database)

    listed = {item["budget"]["id"]: item["standing"]["spent"] for item in (await api.get("budgets")).json()["items"]}

    assert [listed[budget["id"]] for budget in made] == [spent for _, _, spent in scopes]


async def test_each_of_a_scope_has_the_budget_by_itself(api: Api) -> None:
    budget = await api.make(amount="10", scope="tag", subject="team")
    await api.spend(9 * DOLLAR, tags={"team": "search"})
    await api.spend(11 * DOLLAR, tags={"team": "ads"})
    await api.spend(50 * DOLLAR)

    listed = (await api.get("budgets")).json()["items"]
    search = await api.detail(budget, subject="search")

    assert (listed[0]["standing"]["subject"], listed[0]["subjects"], listed[0]["standing"]["over"]) == ("ads", 2, "1")
    assert [item["subject"] for item in search["subjects"]] == ["ads", "search"]
    assert (search["standing"]["spent"], search["points"][-1]["total"]) == ("9", "9")


async def test_a_period_begins_on_any_day_in_the_budgets_zone_and_its_edges_are_exact(api: Api) -> None:
    periods = [
        ("day", None, "2026-11-11T23:00:00Z", "2026-11-12T23:00:00Z"),
        ("week", None, "2026-11-08T23:00:00Z", "2026-11-15T23:00:00Z"),
        ("week", "2026-01-04", "2026-11-07T23:00:00Z", "2026-11-14T23:00:00Z"),
        ("month", "2020-01-15", "2026-10-14T22:00:00Z", "2026-11-14T23:00:00Z"),
        ("month", "2020-01-31", "2026-10-30T23:00:00Z", "2026-11-29T23:00:00Z"),
        ("quarter", "2026-02-01", "2026-10-31T23:00:00Z", "2027-01-31T23:00:00Z"),
        ("year", "2020-04-01", "2026-03-31T22:00:00Z", "2027-03-31T22:00:00Z"),
    ]
    for number, (period, begins_on, starts, ends) in enumerate(periods):
        of = {"scope": "application", "subject": f"app-{number}"}
        budget = await api.make(f"b{number}", period=period, begins_on=begins_on, zone="Europe/Zurich", **of)
        first = datetime.fromisoformat(starts)
        await api.spend(1 * DOLLAR, at=first, application=of["subject"])
        await api.spend(20 * DOLLAR, at=first - timedelta(microseconds=1), application=of["subject"])
        if number % 2:
            await fold(api.database)

        found = await api.detail(budget)
        before = await api.detail(budget, at=(first - timedelta(hours=1)).isoformat())

        assert (found["period_starts_at"], found["period_ends_at"]) == (starts, ends)
        assert (found["standing"]["spent"], before["standing"]["spent"]) == ("1", "20")


@settings(
    max_examples=settings.default.max_examples // 3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
async def test_any_budgets_spend_is_the_meters_sum_over_its_period(api: Api, data: st.DataObject) -> None:
    zone = data.draw(st.sampled_from(["UTC", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"]))
    period = data.draw(st.sampled_from(["day", "week", "month", "quarter"]))
    day = data.draw(st.dates(datetime(2024, 1, 1).date(), datetime(2026, 12, 31).date()))
    budget = await api.make(f"b{uuid7().hex}", period=period, begins_on=day.isoformat(), zone=zone)
    for _ in range(data.draw(st.integers(1, 3))):
        back = data.draw(st.integers(0, 80 * 86_400))
        await api.spend(
            *data.draw(st.lists(st.none() | st.integers(0, 10**12), min_size=1, max_size=3)),
            at=api.clock.now() - timedelta(seconds=back),
        )
        if data.draw(st.booleans()):
            await fold(api.database)

    found = await api.detail(budget)

    asked = {"from": found["period_starts_at"], "to": found["period_ends_at"]}
    total = (await api.get("/api/metering/summary", **asked)).json()["total"]
    assert (found["standing"]["requests"], found["standing"]["unpriced"]) == (total["requests"], total["unpriced"])
    assert Decimal(found["standing"]["spent"]) == Decimal(total["cost"] or 0)
    assert Decimal(found["points"][-1]["total"]) == Decimal(found["standing"]["spent"])


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"amount": "0"}, "amount"), ({"amount": "-3"}, "amount"), ({"amount": "9999999999"}, "amount"),
    ({"zone": "Mars/Base"}, "zone"), ({"scope": "tag"}, "subject"), ({"scope": "tag", "subject": "=x"}, "subject"),
    ({"subject": "shop"}, "subject"), ({"scope": "key", "subject": "shop"}, "subject"),
    ({"scope": "user", "subject": "ada", "pauses": True}, "subject"), ({"begins_on": "1066-10-14"}, "begins_on"),
    ({"thresholds": [0.00001]}, "thresholds"), ({"thresholds": [0]}, "thresholds.0"), ({"period": "minute"}, "period"),
    ({"currency": "usd"}, "currency"), ({"name": "Mine!"}, "name"), ({"amount": "1e3"}, "amount"),
]  # fmt: skip


async def test_bad_input_is_told_by_field(api: Api) -> None:
    for body, field in FAULTS:
        whole = {"name": "all", "amount": "5", "reason": "try", **body}

        answers = [await api.post("budgets", whole), await api.post("budgets/preview", {"new": whole})]

        assert [answer.status_code for answer in answers] == [422, 422], answers[0].text
        assert answers[0].json()["errors"][0]["field"] == field
        assert answers[1].json()["errors"][0]["field"].endswith(field)
    assert (await api.get("budgets")).json()["items"] == []


async def test_a_name_is_taken_once_and_a_budget_that_is_not_there_is_not_found(api: Api) -> None:
    await api.make()
    again = await api.post("budgets", {"name": "all", "amount": "5", "reason": "twice"})
    nowhere = f"budgets/{uuid7()}"

    assert again.status_code == 409 and again.json()["errors"][0]["field"] == "name"
    for answer in (
        await api.get(nowhere), await api.patch(nowhere, {"reason": "x"}), await api.get(f"{nowhere}/events"),
        await api.get(f"{nowhere}/breakdown"),
    ):  # fmt: skip
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:nexus:problem:unknown_budget")


async def test_a_change_keeps_what_was_spent_says_what_will_differ_and_is_audited(
    api: Api, admin_connection: asyncpg.Connection
) -> None:
    budget = await api.make(amount="10", description="the team's")
    await api.spend(8 * DOLLAR)
    change = {"amount": "20", "begins_on": None, "thresholds": [1, 0.5, 0.5], "reason": "the fair"}

    tried = (await api.post("budgets/preview", {"budget_id": budget["id"], "change": change})).json()
    changed = (await api.patch(f"budgets/{budget['id']}", change)).json()

    assert tried["changes"] == [
        {"field": "amount", "before": "10", "after": "20"},
        {"field": "thresholds", "before": "0.5, 0.75, 0.9, 1.0", "after": "0.5, 1.0"},
    ]
    assert (tried["standing"]["spent"], tried["standing"]["fraction"]) == ("8", 0.4)
    assert (changed["amount"], changed["version"], changed["description"]) == ("20", 2, "the team's")
    assert (await api.detail(budget))["standing"]["left"] == "12"
    log = await admin_connection.fetchrow(
        "SELECT new_row FROM platform.audit_log WHERE table_name = 'costs.budgets' AND action = 'update'"
    )
    assert '"the fair"' in log["new_row"] and '"author"' not in log["new_row"]


async def test_a_budget_that_is_switched_off_is_listed_only_where_it_is_asked_for(api: Api) -> None:
    budget = await api.make()

    await api.patch(f"budgets/{budget['id']}", {"is_active": False, "reason": "over"})

    assert (await api.get("budgets")).json()["items"] == []
    (listed,) = (await api.get("budgets", inactive=True)).json()["items"]
    assert listed["standing"]["state"] == "inactive"


async def test_who_spends_it_adds_up_to_what_is_spent(api: Api) -> None:
    budget = await api.make(scope="application", subject="shop")
    await api.spend(3 * DOLLAR, 4 * DOLLAR, application="shop", key_id=KEYS[0], provider="exa")
    await api.spend(5 * DOLLAR, None, application="shop", key_id=KEYS[1])
    await api.spend(50 * DOLLAR, application="other")

    by_key = (await api.get(f"budgets/{budget['id']}/breakdown", by="key")).json()
    by_provider = (await api.get(f"budgets/{budget['id']}/breakdown", by="provider")).json()
    by_user = (await api.get(f"budgets/{budget['id']}/breakdown", by="user")).json()

    assert [(group["value"], group["cost"], group["unpriced"]) for group in by_key["groups"]] == [
        (str(KEYS[0]), "7", 0), (str(KEYS[1]), "5", 1),
    ]  # fmt: skip
    assert [(group["value"], group["cost"]) for group in by_provider["groups"]] == [("exa", "7"), ("openai", "5")]
    assert by_user["groups"] == [] and "not kept together" in by_user["reason"]
    assert (await api.get(f"budgets/{budget['id']}/breakdown", by="shoe")).status_code == 422


async def test_a_list_of_budgets_asks_the_same_number_of_questions_however_many_there_are(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = asyncpg.Connection.fetch

    async def fetch(self: Any, query: str, *arguments: Any, **more: Any) -> Any:
        asked.append(query)
        return await original(self, query, *arguments, **more)

    monkeypatch.setattr(asyncpg.Connection, "fetch", fetch)
    counts = []
    for number in range(3):
        await api.make(f"b{number}", pauses=True)
        asked.clear()
        assert len((await api.get("budgets")).json()["items"]) == number + 1
        counts.append(len(asked))

    assert len(set(counts)) == 1
