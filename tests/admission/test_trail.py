"""The trail: in PostgreSQL each transaction stands once, and what stands there is what Redis has."""

from __future__ import annotations

import asyncio
from types import MappingProxyType

import redis.asyncio

from nexus.admission import jobs
from nexus.contracts.limits import Call, Limit, LimitTable, Rate
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.scripts import BucketState, keys_of
from nexus.dataplane.decide.tables import LimitSnapshots
from nexus.kit.ids import opaque_uuid
from nexus.platform.db import Database
from tests.admission.conftest import Api
from tests.conftest import TestOrganization

DAY = 86_400_000_000


def limits_of(organization: TestOrganization) -> tuple[Limit, Limit]:
    common = {"organization_id": organization.id, "scope": "organization", "subject": None}
    tokens = Limit(
        id=opaque_uuid("tokens"), name="tokens", dimension="tokens", method="token_bucket", capacity=1000,
        rate=Rate.of(1000, per_us=DAY), **common,  # type: ignore[arg-type]
    )  # fmt: skip
    money = Limit(
        id=opaque_uuid("money"), name="money", dimension="money", method="fixed_window", capacity=10**9, period="year",
        currency="USD", **common,  # type: ignore[arg-type]
    )  # fmt: skip
    return tokens, money


def engine_of(client: redis.asyncio.Redis, organization: TestOrganization) -> Admission:
    table = LimitTable(1, MappingProxyType({organization.id: limits_of(organization)}))
    return Admission(client, lambda: table, timeout_seconds=5)


async def use(engine: Admission, organization: TestOrganization, times: int = 10) -> None:
    call = Call(organization_id=organization.id, tokens=20, money=10**7, currency="USD")
    for number in range(times):
        decision = await engine.decide(call, hold_seconds=60)
        if number % 3 == 0:
            await engine.release(organization.id, decision.hold_id)
        elif number % 3 == 1:
            await engine.settle(organization.id, decision.hold_id, {"tokens": 25, "money": 1})
    await asyncio.sleep(0.05)


async def test_the_trail_is_stored_once_and_its_replay_is_the_state(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    engine = engine_of(api.redis, organization)
    await use(engine, organization)
    trail = keys_of(organization.id).trail

    first = await asyncio.gather(*(jobs.drain(api.redis)(database) for _ in range(3)))
    await use(engine, organization, 3)
    await jobs.drain(api.redis)(database)
    await engine.stop()

    assert sum(first) >= 17 and await api.redis.xlen(trail) == 0
    async with database.tenant(organization.id) as connection:
        rows = await connection.fetch("SELECT * FROM admission.token_transactions ORDER BY at, sequence, leg")
    levels: dict[str, int] = {}
    for row in rows:
        level = (0 if row["opened"] else levels[row["bucket"]]) + row["refilled"] + row["adjusted"] + row["changed"]
        assert level == row["level"]
        levels[row["bucket"]] = level
    assert {row["kind"] for row in rows} == {"charge", "release", "settle"}
    for bucket, level in levels.items():
        data = await api.redis.get(keys_of(organization.id).buckets + bucket)
        assert data is not None and BucketState.unpack(data).level == level


async def test_an_entry_that_is_drained_again_is_stored_once(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    engine = engine_of(api.redis, organization)
    await use(engine, organization)
    keys = keys_of(organization.id)
    kept = await api.redis.dump(keys.trail)
    assert kept is not None
    await jobs.drain_cell(database, api.redis, organization.id)

    await api.redis.delete(keys.trail)
    await api.redis.restore(keys.trail, 0, kept)
    again = await jobs.drain_cell(database, api.redis, organization.id)
    await engine.stop()

    async with database.tenant(organization.id) as connection:
        count = await connection.fetchval("SELECT count(*) FROM admission.token_transactions")
        entries = await connection.fetchval("SELECT count(DISTINCT (at, sequence)) FROM admission.token_transactions")
    assert entries == again and count == 2 * again


async def test_money_that_redis_lost_is_rebuilt_before_the_first_decision(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    engine = engine_of(api.redis, organization)
    call = Call(organization_id=organization.id, money=3 * 10**8, currency="USD")
    assert [(await engine.decide(call)).outcome for _ in range(4)] == ["admitted"] * 3 + ["refused"]
    await jobs.drain_cell(database, api.redis, organization.id)
    await engine.stop()
    await api.redis.flushall()

    snapshots = LimitSnapshots(database)
    snapshots.table = LimitTable(1, MappingProxyType({organization.id: limits_of(organization)[1:]}))
    successor = Admission(api.redis, lambda: snapshots.table, restore=snapshots.history, timeout_seconds=5)
    outcomes = [
        (await successor.decide(Call(organization_id=organization.id, money=money, currency="USD"))).outcome
        for money in (2 * 10**8, 10**8, 1)
    ]
    await successor.stop()

    assert outcomes == ["refused", "admitted", "refused"]


async def test_buckets_are_shown_with_their_fill_and_transactions_page_by_page(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    quota = {
        "name": "all", "scope": "key", "reason": "try",
        "limits": [{"name": "tokens", "dimension": "tokens", "rate": "100", "per": "day"}],
    }  # fmt: skip
    await api.post("quotas", quota)
    await api.limits.refresh()
    engine = Admission(api.redis, lambda: api.limits.table, timeout_seconds=5)
    me, other = opaque_uuid("me"), opaque_uuid("other")
    await engine.decide(Call(organization_id=organization.id, key_id=me, tokens=85))
    await engine.decide(Call(organization_id=organization.id, key_id=other, tokens=10))
    await asyncio.sleep(0.05)
    await jobs.drain(api.redis)(database)
    await engine.stop()

    shown = (await api.get("buckets")).json()
    critical = (await api.get("buckets", status="critical")).json()
    first = (await api.get("token-transactions", limit=1)).json()
    second = (await api.get("token-transactions", limit=1, cursor=first["next_cursor"])).json()

    assert [(item["subject"], item["available"], item["status"]) for item in shown] == [
        (str(me), 15, "critical"), (str(other), 90, "healthy"),
    ]  # fmt: skip
    assert len(critical) == 1
    assert {first["items"][0]["changed"], second["items"][0]["changed"]} == {-85, -10}
    assert second["next_cursor"] is None
