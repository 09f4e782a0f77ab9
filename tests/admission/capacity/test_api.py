"""Shared capacities over HTTP: whoever configures the installation makes and changes them, a member sees its own share alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from nexus.admission.capacity.jobs import Rebalancer
from nexus.contracts.limits import Call
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.headers import rate_limit_headers
from nexus.platform.db import Database
from tests.admission.conftest import Api, opened
from tests.conftest import TestOrganization

PATH = "/api/admission/shared-capacities"
STORE = {"name": "ceph-1", "dimension": "requests", "scope": "organization", "rate": "1000", "burst": "500"}
Both = tuple[TestOrganization, TestOrganization]


@pytest.fixture
async def both(database: Database, two_organizations: Both, redis_url: str) -> AsyncIterator[tuple[Api, Api]]:
    first, second = two_organizations
    async with opened(database, first, redis_url) as one, opened(database, second, redis_url) as other:
        yield one, other


async def ask(api: Api, method: str, path: str = "", body: dict[str, Any] | None = None) -> httpx.Response:
    return await api.http.request(method, PATH + path, json=body, headers={"authorization": f"Bearer {api.key}"})


async def made(api: Api, *members: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = await ask(api, "POST", body={**STORE, "members": members, **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_members_are_granted_shares_and_each_sees_its_own_alone(
    both: tuple[Api, Api], database: Database, two_organizations: Both
) -> None:
    one, _ = both
    capacity = await made(
        one, {"organization": "acme", "guaranteed": "200"}, {"organization": "globex", "guaranteed": "10"}
    )
    worker = Rebalancer(one.redis)
    assert await worker.turn(database) == 2

    listed = (await ask(one, "GET")).json()["items"]
    seen = []
    for api in both:
        await api.limits.refresh()
        (limit,) = (await api.get("active-limits")).json()
        seen.append(limit)

    assert [item["id"] for item in listed] == [capacity["id"]]
    assert {item["slug"]: (item["guaranteed"], item["rate"], item["state"]) for item in listed[0]["members"]} == {
        "acme": ("200", "500", "granted"), "globex": ("10", "500", "granted"),
    }  # fmt: skip
    assert [(item["name"], item["rate_per_second"], item["guaranteed_per_second"]) for item in seen] == [
        ("ceph-1", 500, 200), ("ceph-1", 500, 10),
    ]  # fmt: skip
    buckets = (await one.get("buckets")).json()
    assert [item["share"] for item in buckets] == [{"per_second": 500, "guaranteed_per_second": 200}]
    assert "1000" not in str([seen, buckets]), "what the others could have is nobody's business"
    assert await worker.turn(database) == 0, "and then nothing is to be done"


async def test_a_share_is_asked_named_and_told_as_any_other_limit(both: tuple[Api, Api], database: Database) -> None:
    one, _ = both
    await made(one, {"organization": "acme", "guaranteed": "20", "most": "100"}, burst="50")
    await Rebalancer(one.redis).turn(database)
    await one.limits.refresh()
    engine = Admission(one.redis, lambda: one.limits.table, timeout_seconds=30)
    organization_id = next(iter(one.limits.table.limits))
    await one.get("active-limits")

    first = await engine.decide(Call(organization_id=organization_id))
    larger = await engine.decide(Call(organization_id=organization_id, requests=60))
    await engine.stop()

    (standing,) = first.standings
    headers = dict(rate_limit_headers(first))
    assert (first.outcome, standing.limit.name) == ("refused", "ceph-1"), "it begins empty"
    assert headers[b"ratelimit-policy"] == b'"ceph-1";q=5;w=1'
    assert (larger.outcome, larger.refused_by and larger.refused_by.name) == ("impossible", "ceph-1")


async def test_a_call_that_only_a_larger_share_could_admit_may_come_again(
    both: tuple[Api, Api], database: Database
) -> None:
    one, _ = both
    await made(
        one, {"organization": "acme", "guaranteed": "20"}, {"organization": "globex", "guaranteed": "20"}, burst="50"
    )
    await Rebalancer(one.redis).turn(database)
    await one.limits.refresh()
    engine = Admission(one.redis, lambda: one.limits.table, timeout_seconds=30)
    organization_id = next(iter(one.limits.table.limits))

    decision = await engine.decide(Call(organization_id=organization_id, requests=40))
    await engine.stop()

    assert (decision.outcome, decision.retry_us > 0) == ("refused", True)


async def test_without_a_grant_in_redis_the_failure_policy_decides(both: tuple[Api, Api], database: Database) -> None:
    one, _ = both
    await made(one, {"organization": "acme", "guaranteed": "20"})
    await Rebalancer(one.redis).turn(database)
    await one.limits.refresh()
    await one.redis.flushall()
    engine = Admission(one.redis, lambda: one.limits.table, timeout_seconds=30)
    organization_id = next(iter(one.limits.table.limits))

    decision = await engine.decide(Call(organization_id=organization_id))
    await engine.stop()

    assert (decision.outcome, decision.decided_by) == ("unavailable", "fallback")


async def test_what_cannot_be_promised_is_refused_by_field(both: tuple[Api, Api]) -> None:
    one, _ = both
    capacity = await made(one, {"organization": "acme", "guaranteed": "700"})
    path = f"/{capacity['id']}"

    answers = [
        (await ask(one, "PUT", f"{path}/members/globex", {"guaranteed": "301"}), 409, "guaranteed"),
        (await ask(one, "PATCH", path, {"rate": "699"}), 409, "rate"),
        (await ask(one, "PUT", f"{path}/members/globex", {"guaranteed": "10", "most": "9"}), 422, "most"),
        (await ask(one, "PUT", f"{path}/members/nobody", {"guaranteed": "10"}), 422, "organization"),
        (await ask(one, "PATCH", path, {"burst": "0"}), 422, "burst"),
        (await ask(one, "POST", body=STORE), 409, "name"),
        (await ask(one, "POST", body={**STORE, "name": "b", "subject": "x"}), 422, "subject"),
        (await ask(one, "POST", body={**STORE, "name": "b", "rate": "0.0001"}), 422, "rate"),
        (await ask(one, "POST", body={**STORE, "name": "b", "members": [{"organization": "acme", "guaranteed": "1001"}]}),
         409, "members.0.guaranteed"),
    ]  # fmt: skip

    for answer, status, field in answers:
        assert (answer.status_code, [fault["field"] for fault in answer.json()["errors"]]) == (status, [field]), (
            answer.text
        )


async def test_what_is_lowered_taken_out_and_removed_is_given_back(
    both: tuple[Api, Api], database: Database, two_organizations: Both
) -> None:
    one, other = both
    capacity = await made(
        one, {"organization": "acme", "guaranteed": "100"}, {"organization": "globex", "guaranteed": "100"}
    )
    path, now = f"/{capacity['id']}", [0.0]
    worker = Rebalancer(one.redis, clock=lambda: now[0])

    async def settle() -> dict[str, Any]:
        for _ in range(6):
            await worker.turn(database)
            now[0] += 1
        found: dict[str, Any] = (await ask(one, "GET", path)).json()
        return found

    await settle()
    lowered = (await ask(one, "PATCH", path, {"rate": "300"})).json()
    assert lowered["is_lowered"]
    assert lowered["granted"] == "1000"
    after = await settle()
    assert (after["is_lowered"], after["granted"]) == (False, "300")

    assert (await ask(one, "DELETE", f"{path}/members/globex")).status_code == 204
    assert (await ask(one, "DELETE", f"{path}/members/globex")).status_code == 404
    (alone,) = (await settle())["members"]
    assert (alone["slug"], alone["rate"]) == ("acme", "300")
    await other.limits.refresh()
    assert two_organizations[1].id not in other.limits.table.limits, "it is no limit of who is no member"

    assert (await ask(one, "DELETE", path)).status_code == 204
    assert (await ask(one, "GET", path)).status_code == 404
    await settle()
    assert await made(one), "its name is free"
    assert await one.redis.keys("nx:*:b:*") == []
