"""Borrowing over the API: rules, offers, loans and what becomes of them, in Redis, in PostgreSQL and in the trail."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from nexus.admission import jobs
from nexus.admission.loans import jobs as loan_jobs
from nexus.admission.loans.routes import LoanDesk
from nexus.contracts.limits import Call
from nexus.dataplane.decide.cells import CELLS
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.lending import Lending
from nexus.dataplane.decide.scripts import BucketState, Scripts, keys_of
from nexus.entry.control_plane import ControlPlane
from nexus.platform.db import Database
from nexus.platform.db.configuration import reset_configuration, set_configuration
from tests.admission.conftest import Api, make_key
from tests.conftest import TestOrganization

LOAN_KINDS = ("borrow", "repay", "interest", "default", "cancel", "write_off")


class Shop:
    """Two applications of one organization with a limit each, and the engine that decides their calls."""

    def __init__(self, api: Api, database: Database, organization: TestOrganization) -> None:
        self.api = api
        self.database = database
        self.id = organization.id
        self.engine = Admission(api.redis, lambda: api.limits.table, restore=api.limits.history, timeout_seconds=5)
        self.applications: dict[str, str] = {}
        self.buckets: dict[str, str] = {}

    async def begin(self) -> None:
        for name in ("shop", "archive"):
            self.applications[name] = (await self.api.post("applications", {"name": name})).json()["id"]
            made = await self.api.post(
                "quotas",
                {
                    "name": name, "scope": "application", "subject": name, "reason": "try",
                    "limits": [{"name": name, "dimension": "tokens", "rate": "1", "per": "hour", "capacity": "100"}],
                },
            )  # fmt: skip
            assert made.status_code == 201, made.text
        await self.api.limits.refresh()
        for limit in self.api.limits.table.limits[self.id]:
            self.buckets[limit.name] = limit.id.hex
        await self.engine.open_cell(self.id)
        await self.api.redis.sadd(CELLS, self.id.hex)  # type: ignore[misc]

    async def rule(self, **more: Any) -> dict[str, Any]:
        fields = {"name": "shop-borrows", "application_id": self.applications["shop"], "lends_from": "any", **more}
        answer = await self.api.post("borrowing-rules", fields)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def borrow(self, units: int, *, lender: str | None = "archive", **more: Any) -> Any:
        question = {"borrower": self.buckets["shop"], "units": units, **more}
        if lender is not None:
            question["lender"] = self.buckets[lender]
        return await self.api.post("loans", question)

    async def use(self, application: str, tokens: int) -> str:
        return (await self.engine.decide(Call(organization_id=self.id, application=application, tokens=tokens))).outcome

    async def level(self, name: str) -> int:
        data = await self.api.redis.get(keys_of(self.id).buckets + self.buckets[name])
        assert isinstance(data, bytes)
        return BucketState.unpack(data).level

    async def serve(self) -> None:
        await loan_jobs.serve(self.api.redis)(self.database)

    async def show(self, loan: str) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.api.get(f"loans/{loan}")).json()
        return shown


@pytest.fixture
async def shop(api: Api, database: Database, organization: TestOrganization) -> Any:
    made = Shop(api, database, organization)
    desk = LoanDesk(Lending(Scripts(api.redis), made.engine.open_cell))
    transport: Any = api.http._transport
    app: ControlPlane = transport.app
    app.state.put(desk)
    await made.begin()
    yield made
    await made.engine.stop()


async def test_a_loan_is_offered_granted_repaid_and_stands_in_the_trail_with_both_sides(shop: Shop) -> None:
    rule = await shop.rule(interest_rate="0.125")
    await shop.use("shop", 90)

    question = {"borrower": shop.buckets["shop"], "lender": shop.buckets["archive"], "units": 40, "seconds": 600}
    offer = (await shop.api.post("loans/offer", question)).json()
    made = (await shop.borrow(40, seconds=600, reason="launch")).json()
    admitted = await shop.use("shop", 45)
    partly = (await shop.api.post(f"loans/{made['id']}/repay", {"units": 3})).json()
    await shop.engine.adjust(shop.api.limits.table.limits[shop.id][1], shop.buckets["shop"], -60, name="given")
    whole = (await shop.api.post(f"loans/{made['id']}/repay", {})).json()
    again = await shop.api.post(f"loans/{made['id']}/repay", {})
    await jobs.drain_cell(shop.database, shop.api.redis, shop.id)

    assert (offer["interest"], offer["owed"], offer["rule_id"], offer["will_default"]) == (5, 45, rule["id"], True)
    assert (
        made["state"] == "active" and made["interest"] == 5 and made["rule_id"] == rule["id"] and admitted == "admitted"
    )
    assert (partly["repaid"], partly["state"]) == (3, "active")
    assert (whole["repaid"], whole["interest_paid"], whole["state"]) == (40, 5, "repaid")
    assert again.status_code == 409 and again.json()["type"].endswith(":loan_ended")
    assert await shop.level("archive") == 100
    async with shop.database.tenant(shop.id) as connection:
        sums = await connection.fetch(
            "SELECT kind, sum(changed) AS total, count(*) AS legs FROM admission.token_transactions "
            "WHERE kind = ANY($1::text[]) GROUP BY at, sequence, kind",
            list(LOAN_KINDS),
        )
        rows = await connection.fetch("SELECT * FROM admission.token_transactions ORDER BY at, sequence, leg")
        actions = await connection.fetch(
            "SELECT action FROM platform.audit_log WHERE action LIKE 'loan.%' ORDER BY occurred_at"
        )
    assert {row["kind"] for row in sums} == {"borrow", "repay", "interest"}
    assert all(row["total"] == 0 and row["legs"] >= 2 for row in sums)
    balances: dict[tuple[str, str], int] = {}
    for row in rows:
        place = row["bucket"], row["account"]
        balances[place] = (0 if row["opened"] else balances[place]) + row["refilled"] + row["adjusted"] + row["changed"]
        assert balances[place] == row["level"]
    for name, bucket in shop.buckets.items():
        assert balances[bucket, "liquid"] == await shop.level(name)
    assert [row["action"] for row in actions] == ["loan.granted", "loan.repay", "loan.repay"]


async def test_an_overdue_loan_defaults_once_blocks_others_and_is_written_off_by_who_may(
    shop: Shop, database: Database
) -> None:
    await shop.rule(repay_share="0.001")
    await shop.use("shop", 100)
    made = (await shop.borrow(20, seconds=1)).json()
    await shop.use("shop", 20)
    record = await overdue(shop)

    for _ in range(2):
        await shop.serve()
    defaulted = await shop.show(made["id"])
    refused = await shop.borrow(1)
    borrower = await make_key(database, shop.id, "token:borrow", "quota:read")
    path = f"/api/admission/loans/{made['id']}/write-off"
    forbidden = await shop.api.http.post(path, json={"reason": "no"}, headers={"authorization": f"Bearer {borrower}"})
    forgiven = await shop.api.post(f"loans/{made['id']}/write-off", {"reason": "an incident"})

    assert record and (defaulted["state"], defaulted["repaid"]) == ("defaulted", 0)
    assert refused.json().get("reason") == "defaulted", refused.text
    assert (forbidden.status_code, forgiven.status_code, forgiven.json()["state"]) == (403, 200, "written_off")
    async with database.tenant(shop.id) as connection:
        actions = await connection.fetch(
            "SELECT action, new_row FROM platform.audit_log WHERE action IN ('loan.defaulted', 'loan.write_off') "
            "ORDER BY occurred_at"
        )
    assert [row["action"] for row in actions] == ["loan.defaulted", "loan.write_off"]
    assert actions[1]["new_row"]["reason"] == "an incident"


async def overdue(shop: Shop) -> bool:
    """Let the open loans of the shop have been due a minute ago, in Redis and in the table."""
    key = keys_of(shop.id).loans + shop.buckets["shop"]
    data = await shop.api.redis.get(key)
    assert isinstance(data, bytes)
    values = msgspec.msgpack.decode(data)
    for loan in values[3]:
        loan[9] -= 10**8
        loan[10] -= 10**8
    await shop.api.redis.set(key, msgspec.msgpack.encode(values))
    return True


async def test_an_unused_loan_is_cancelled_and_a_used_one_is_not(shop: Shop) -> None:
    await shop.rule()
    await shop.use("shop", 90)
    first, second = (await shop.borrow(10)).json(), (await shop.borrow(10)).json()

    cancelled = (await shop.api.post(f"loans/{second['id']}/cancel", {})).json()
    await shop.use("shop", 5)
    refused = await shop.api.post(f"loans/{first['id']}/cancel", {})

    assert (cancelled["state"], cancelled["interest_paid"]) == ("cancelled", 0)
    assert refused.status_code == 409 and "used" in refused.json()["detail"]
    assert await shop.level("archive") == 90


async def test_rules_say_who_may_borrow_from_whom_and_the_configuration_is_never_exceeded(
    shop: Shop, database: Database
) -> None:
    none = await shop.borrow(1)
    assert none.status_code == 409 and none.json()["type"].endswith(":no_borrowing_rule")
    rule = await shop.rule(
        lends_from="application", lender_application_id=shop.applications["archive"], max_ratio="1.2", max_seconds=60
    )
    own = await shop.borrow(1, lender=None)
    beyond = await shop.borrow(21)
    long = await shop.borrow(1, seconds=61)
    changed = await shop.api.patch(f"borrowing-rules/{rule['id']}", {"max_ratio": "9", "max_seconds": 3600})
    async with database.as_system() as connection:
        await set_configuration(connection, "admission.max_borrow_ratio", 1.1)
        await set_configuration(connection, "admission.max_borrow_duration_seconds", 30)
    try:
        stricter, later = await shop.borrow(11), await shop.borrow(1, seconds=31)
    finally:
        async with database.as_system() as connection:
            await reset_configuration(connection, "admission.max_borrow_ratio")
            await reset_configuration(connection, "admission.max_borrow_duration_seconds")
    switched = (await shop.api.patch(f"borrowing-rules/{rule['id']}", {"is_active": False})).json()
    off = await shop.borrow(1)

    assert own.json()["type"] == off.json()["type"] == none.json()["type"] and changed.status_code == 200
    assert beyond.json()["reason"] == stricter.json()["reason"] == "beyond_ratio"
    assert "20 units more" in beyond.json()["detail"] and "10 units more" in stricter.json()["detail"]
    assert long.status_code == later.status_code == 422 and not switched["is_active"]
    assert [item["name"] for item in (await shop.api.get("borrowing-rules")).json()["items"]] == ["shop-borrows"]


async def test_what_is_wrong_with_a_question_is_said_by_field(shop: Shop) -> None:
    await shop.rule()
    bucket = shop.buckets["shop"]
    for body, field in (
        ({"borrower": "nobody", "units": 1}, "borrower"),
        ({"borrower": bucket, "units": 1, "lender": "nobody"}, "lender"),
        ({"borrower": bucket, "units": 1, "lender": bucket}, "lender"),
        ({"borrower": bucket, "units": 0}, "units"),
        ({"borrower": bucket, "units": 2**60}, "units"),
    ):
        answer = await shop.api.post("loans", body)
        assert answer.status_code in {404, 422} and field in answer.text, answer.text
    for fields, field in (
        ({"name": "a", "lends_from": "application"}, "lender_application_id"),
        ({"name": "a", "lends_from": "any", "max_ratio": "1"}, "max_ratio"),
        ({"name": "a", "lends_from": "any", "repay_share": "1.5"}, "repay_share"),
        ({"name": "shop-borrows", "lends_from": "any"}, "name"),
    ):
        answer = await shop.api.post("borrowing-rules", fields)
        assert answer.status_code in {409, 422} and field in answer.text, answer.text
    assert (await shop.api.get("loans/00000000-0000-0000-0000-000000000001")).status_code == 404


async def test_parties_are_the_buckets_that_refill_with_what_they_have(shop: Shop) -> None:
    await shop.use("shop", 90)

    found = (await shop.api.get("loans/parties")).json()

    assert [(item["subject"], item["capacity"], item["available"]) for item in found] == [
        ("archive", 100, 100), ("shop", 100, 10),
    ]  # fmt: skip


async def test_a_granted_loan_whose_record_was_lost_and_an_ended_one_are_recorded_by_the_worker(
    shop: Shop, database: Database
) -> None:
    await shop.rule()
    await shop.use("shop", 90)
    lost, ended = (await shop.borrow(10)).json(), (await shop.borrow(10)).json()
    async with database.as_system(organization_id=shop.id) as connection:
        await connection.execute("DELETE FROM admission.loans WHERE id = $1", UUID(lost["id"]))
    lending = Lending(Scripts(shop.api.redis), shop.engine.open_cell)
    await lending.repay(shop.id, shop.buckets["shop"], UUID(ended["id"]).hex, units=10**6, sequence=1)

    await shop.serve()

    assert (await shop.show(lost["id"]))["requested_by"] == loan_jobs.RECOVERED
    assert (await shop.show(ended["id"]))["state"] == "repaid"


async def test_loans_that_redis_lost_are_there_again_before_the_first_decision(shop: Shop, database: Database) -> None:
    await shop.rule(repay_share="1")
    await shop.use("shop", 100)
    made = (await shop.borrow(30)).json()
    await jobs.drain_cell(database, shop.api.redis, shop.id)
    await shop.api.redis.flushall()

    assert await shop.use("shop", 1) == "refused"
    refused = await shop.borrow(30)
    await shop.serve()

    assert refused.json()["reason"] in {"beyond_ratio", "lender_short", "too_many"}
    shown = await shop.show(made["id"])
    assert (shown["state"], shown["repaid"]) == ("active", 0)
    lent = await shop.api.redis.hgetall(keys_of(shop.id).accounts)  # type: ignore[misc]
    assert set(lent) == {name.encode() for name in shop.buckets.values()}


async def test_loans_are_listed_page_by_page_and_deleted_a_year_after_they_ended(
    shop: Shop, database: Database
) -> None:
    await shop.rule(most_loans=5, repay_share="0.1")
    await shop.use("shop", 90)
    ids = [(await shop.borrow(5)).json()["id"] for _ in range(3)]
    await shop.api.post(f"loans/{ids[2]}/cancel", {})

    first = (await shop.api.get("loans", limit=2)).json()
    second = (await shop.api.get("loans", limit=2, cursor=first["next_cursor"])).json()
    listed = {
        which: [item["id"] for item in (await shop.api.get("loans", which=which)).json()["items"]]
        for which in ("open", "ended")
    }
    now = shop.api.clock.now()
    kept = await loan_jobs.delete_old(database, now + timedelta(days=364))
    deleted = await loan_jobs.delete_old(database, now + timedelta(days=366))

    assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1] and second["next_cursor"] is None
    assert listed == {"open": ids[1::-1], "ended": ids[2:]} and (kept, deleted) == (0, 1)
