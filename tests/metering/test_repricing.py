"""Prices change, calls are priced again: once, exactly, dry first if wanted, with the rollups following."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from nexus.contracts.prices import PriceBook
from nexus.contracts.pricing import price_call
from nexus.metering import jobs, repricing
from nexus.metering.types import Question
from nexus.platform.db import Database
from tests.conftest import TestOrganization, make_organization
from tests.metering.conftest import Api
from tests.metering.records import account, ask, assert_answers, fold, record, store_batch

START = datetime(2026, 4, 3, 1, tzinfo=UTC)
END = START + timedelta(hours=9)
QUESTION = Question(start=START, end=END, group_by=("model", "user"))
BODY = {"from": START.isoformat(), "to": END.isoformat()}


def book(amount: str, *, models: tuple[str, ...] = ("m1",), currency: str = "USD", number: int = 1) -> PriceBook:
    documents: list[dict[str, Any]] = [{"kind": "provider", "provider": "openai"}]
    for place, model in enumerate(models):
        documents += [
            {"kind": "model", "provider": "openai", "model": model, "match": {"equals": model}},
            {
                "kind": "price", "id": str(UUID(int=number * 100 + place)), "provider": "openai", "model": model,
                "currency": currency,
                "components": [
                    {"unit": "input", "amount": amount, "per": 1_000_000},
                    {"unit": "output", "amount": "3", "per": 1_000_000},
                ],
            },
        ]  # fmt: skip
    return PriceBook.from_documents(documents)


def priced(rows: list[dict[str, Any]], prices: PriceBook, **only: Any) -> list[dict[str, Any]]:
    """Price records as their arrival would."""
    found = []
    for row in rows:
        cost = price_call(
            prices, organization_id=None, tier="standard", provider=row["provider"], model=row["model"] or None,
            endpoint=None, method=row["method"], region=None, at=row["occurred_at"], currency="USD",
            usage={"input": row["input_tokens"], "output": row["output_tokens"], "requests": 1},
        )  # fmt: skip
        values = {
            "cost_nanos": cost.cost_nanos,
            "currency": cost.currency or "USD",
            "price_source": cost.source,
            "price_id": cost.price_id,
            "unpriced_reason": cost.reason,
        }
        skip = row["price_source"] == "given" or any(row[name] != value for name, value in only.items())
        found.append(row if skip else row | values)
    return found


@pytest.fixture
async def rows(
    database: Database, organization: TestOrganization, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    monkeypatch.setattr(repricing, "CHUNK", 7)
    made = [
        record(
            START + timedelta(minutes=number // 2),
            model=["m1", "m2"][number % 2],
            user_ref=["ada", "bob", ""][number % 3],
            input_tokens=1000 + number,
            output_tokens=7 * number + 1,
            response_time_us=number * 1000,
            tags={"team": "x"} if number % 4 == 0 else None,
        )
        for number in range(40)
    ]
    made = priced(made, book("2.5"))
    made[5] |= {"cost_nanos": 77, "price_source": "given", "price_id": None, "unpriced_reason": None}
    await store_batch(database, organization.id, made[:30])
    await fold(database)
    await store_batch(database, organization.id, made[30:])
    return made


async def run(database: Database, prices: PriceBook) -> None:
    while True:
        async with database.as_system() as connection:
            if not await repricing.work_chunk(connection, prices):
                return


async def journal_rows(database: Database) -> int:
    async with database.as_system() as connection:
        found: int = await connection.fetchval("SELECT count(*) FROM metering.rollup_journal")
        return found


async def test_a_repriced_range_equals_calls_priced_anew(
    api: Api, database: Database, organization: TestOrganization, rows: list[dict[str, Any]]
) -> None:
    new = book("9.75", models=("m1", "m2"), number=2)

    ordered = await api.post("repricings", BODY)
    await run(database, new)

    expected = priced(rows, new)
    assert ordered.status_code == 202 and ordered.json()["state"] == "waiting"
    assert_answers(await ask(database, organization.id, QUESTION), account(expected, QUESTION))
    await fold(database)
    assert_answers(await ask(database, organization.id, QUESTION), account(expected, QUESTION))
    exact = replace(QUESTION, exact=True)
    assert_answers(await ask(database, organization.id, exact), account(expected, exact), exact=True)
    done = (await api.get(f"repricings/{ordered.json()['id']}")).json()
    assert (done["state"], done["examined"], done["changed"]) == ("done", 39, 39)
    totals = {item["model"]: item for item in done["totals"]}
    assert totals["m2"]["unpriced_before"] == 19 and totals["m2"]["unpriced_after"] == 0
    before = sum(row["cost_nanos"] for row in rows if row["model"] == "m1")
    after = sum(row["cost_nanos"] for row in expected if row["model"] == "m1")
    assert Decimal(totals["m1"]["cost_before"]) == Decimal(before).scaleb(-9)
    assert Decimal(totals["m1"]["cost_after"]) == Decimal(after).scaleb(-9)


async def test_a_second_run_changes_nothing(
    api: Api, database: Database, organization: TestOrganization, rows: list[dict[str, Any]]
) -> None:
    new = book("9.75", models=("m1", "m2"), number=2)
    await api.post("repricings", BODY)
    await run(database, new)
    await fold(database)
    first = await ask(database, organization.id, QUESTION)

    again = (await api.post("repricings", BODY)).json()
    await run(database, new)

    found = (await api.get(f"repricings/{again['id']}")).json()
    assert (found["state"], found["examined"], found["changed"]) == ("done", 39, 0)
    assert await journal_rows(database) == 0
    assert (await ask(database, organization.id, QUESTION))["groups"] == first["groups"]


async def test_a_dry_run_tells_and_changes_nothing(
    api: Api, database: Database, organization: TestOrganization, rows: list[dict[str, Any]]
) -> None:
    waiting = await journal_rows(database)

    ordered = (await api.post("repricings", {**BODY, "dry_run": True, "model": "m2"})).json()
    await run(database, book("1", models=("m1", "m2"), number=2))

    done = (await api.get(f"repricings/{ordered['id']}")).json()
    assert (done["state"], done["dry_run"], done["examined"], done["changed"]) == ("done", True, 19, 19)
    assert [item["model"] for item in done["totals"]] == ["m2"] and Decimal(done["totals"][0]["cost_after"]) > 0
    assert await journal_rows(database) == waiting
    assert_answers(await ask(database, organization.id, QUESTION), account(rows, QUESTION))


async def test_given_costs_change_only_when_asked(
    api: Api, database: Database, organization: TestOrganization, rows: list[dict[str, Any]]
) -> None:
    new = book("9.75", models=("m1", "m2"), number=2)
    await api.post("repricings", {**BODY, "include_given": True})
    await run(database, new)

    expected = priced([row | {"price_source": "none"} for row in rows], new)
    assert_answers(await ask(database, organization.id, QUESTION), account(expected, QUESTION))


async def test_only_calls_without_a_price(
    api: Api, database: Database, organization: TestOrganization, rows: list[dict[str, Any]]
) -> None:
    new = book("9.75", models=("m1", "m2"), number=2)
    await api.post("repricings", {**BODY, "only_unpriced": True})
    await run(database, new)

    expected = priced(rows, new, cost_nanos=None)
    assert sum(row["cost_nanos"] is None for row in expected) == 0
    assert_answers(await ask(database, organization.id, QUESTION), account(expected, QUESTION))


@pytest.mark.parametrize("folded", [True, False])
async def test_a_price_in_another_currency_moves_the_calls(
    api: Api, database: Database, organization: TestOrganization, rows: list[dict[str, Any]], folded: bool
) -> None:
    new = book("4", currency="EUR", number=3)
    await api.post("repricings", BODY)
    await run(database, new)
    if folded:
        await fold(database)

    expected = priced(rows, new)
    for groups in (("model",), ("currency", "model"), ("tag:team",), ("endpoint", "status_code")):
        question = replace(QUESTION, group_by=groups)
        assert_answers(await ask(database, organization.id, question), account(expected, question))


async def test_a_worker_that_dies_between_chunks_is_continued(
    api: Api, database: Database, organization: TestOrganization, rows: list[dict[str, Any]]
) -> None:
    new = book("9.75", models=("m1", "m2"), number=2)
    await api.post("repricings", BODY)

    class Killed(Exception):
        pass

    for _ in range(3):
        async with database.as_system() as connection:
            await repricing.work_chunk(connection, new)
        with pytest.raises(Killed):
            async with database.as_system() as connection:
                await repricing.work_chunk(connection, new)
                raise Killed
    await run(database, new)

    assert_answers(await ask(database, organization.id, QUESTION), account(priced(rows, new), QUESTION))


async def test_new_prices_order_what_has_none_once(
    api: Api, database: Database, organization: TestOrganization, rows: list[dict[str, Any]]
) -> None:
    await jobs.notice_new_prices(database)
    await run(database, book("2.5"))
    assert await jobs.notice_new_prices(database) == 0

    async with database.as_system() as connection:
        await connection.execute("UPDATE platform.snapshot_versions SET version = version + 1 WHERE name = 'prices'")
    assert await jobs.notice_new_prices(database) == 1
    assert await jobs.notice_new_prices(database) == 0
    new = book("9.75", models=("m1", "m2"), number=2)
    await run(database, new)

    listed = (await api.get("repricings")).json()["items"]
    assert {item["cause"] for item in listed} == {"prices_changed"} and {item["state"] for item in listed} == {"done"}
    assert_answers(
        await ask(database, organization.id, QUESTION), account(priced(rows, new, cost_nanos=None), QUESTION)
    )


async def test_orders_are_audited_and_stay_in_their_organization(
    api: Api, reader: Api, database: Database, rows: list[dict[str, Any]]
) -> None:
    ordered = (await api.post("repricings", BODY)).json()
    await run(database, book("2.5"))

    async with database.as_system() as connection:
        trail = await connection.fetch(
            "SELECT action, actor_label, new_row FROM platform.audit_log WHERE table_name = 'metering.repricings' ORDER BY 1"
        )
    assert [line["action"] for line in trail] == ["insert", "update", "update"]
    assert trail[0]["actor_label"].startswith("test")
    assert {line["new_row"]["state"] for line in trail[1:]} == {"running", "done"}
    other = await make_organization(database, "globex")
    async with database.tenant(other.id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM metering.repricings") == 0
    assert (await reader.post("repricings", BODY)).status_code == 403
    assert (await reader.get(f"repricings/{ordered['id']}")).status_code == 200
    assert (await reader.get(f"repricings/{UUID(int=1)}")).status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": START.isoformat()}, "to"),
        ({"colour": 1}, "colour"),
        ({"from": "x"}, "from"),
        ({"model": "a\x00"}, "model"),
    ],
)
async def test_faulty_orders_name_the_field(api: Api, change: dict[str, Any], field: str) -> None:
    answer = await api.post("repricings", {**BODY, **change})

    assert answer.status_code == 422 and [item["field"] for item in answer.json()["errors"]] == [field]
