"""Quotas as immutable versions: published, scheduled, for a time, rolled back, compared; and in force in the data plane."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from nexus.contracts.limits import Call, Limit
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from tests.admission.conftest import Api, make_key
from tests.conftest import TestOrganization

IOPS = {"name": "app-iops", "dimension": "operations", "rate": "100", "burst": "150", "burst_seconds": 60}
MONTHLY = {
    "name": "spend", "dimension": "money", "method": "fixed_window", "amount": "250.50", "currency": "USD",
    "period": "month", "zone": "Europe/Zurich",
}  # fmt: skip


async def make(api: Api, *limits: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {
        "name": "shop",
        "scope": "application",
        "subject": "shop",
        "limits": list(limits),
        "reason": "first",
        **more,
    }
    answer = await api.post("quotas", body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def in_force(api: Api, organization: TestOrganization) -> list[Limit]:
    assert await api.limits.refresh()
    return list(api.limits.table.limits.get(organization.id, ()))


async def test_a_quota_comes_into_force_as_it_was_written(api: Api, organization: TestOrganization) -> None:
    made = await make(api, IOPS, MONTHLY)

    iops, money = await in_force(api, organization)

    assert made["current"]["version"] == 1 and made["current"]["is_in_force"]
    # capacity = (burst - rate) x burst_seconds, in micro-operations
    assert (iops.capacity, iops.rate.numerator, iops.rate.denominator) == (3_000_000_000, 100, 1)  # type: ignore[union-attr]
    assert (money.capacity, money.scale, money.period, money.zone) == (250_500_000_000, 1, "month", "Europe/Zurich")
    assert (iops.failure, money.failure) == ("local", "closed")
    call = Call(organization_id=organization.id, application="shop", currency="USD")
    assert [limit.name for limit, _ in api.limits.table.of(call)] == ["app-iops", "spend"]
    assert api.limits.table.of(Call(organization_id=organization.id, application="other")) == []


async def test_a_version_takes_over_and_the_earlier_one_ends_there(api: Api, organization: TestOrganization) -> None:
    quota = await make(api, IOPS)
    api.clock.advance(timedelta(hours=1))

    published = await api.post(
        f"quotas/{quota['id']}/versions", {"limits": [{**IOPS, "rate": "120"}], "reason": "more"}
    )
    listed = (await api.get(f"quotas/{quota['id']}/versions")).json()["items"]
    limits = await in_force(api, organization)

    assert published.status_code == 201 and published.json()["version"] == 2
    assert [item["version"] for item in listed] == [2, 1]
    assert listed[1]["valid_to"] == listed[0]["valid_from"] and listed[0]["valid_to"] is None
    assert listed[0]["reason"] == "more" and listed[0]["author"]
    assert [limit.version for limit in limits] == [2]


async def test_what_is_scheduled_comes_into_force_by_itself_and_what_is_for_a_time_ends(
    api: Api, organization: TestOrganization
) -> None:
    quota = await make(api, IOPS)
    begins, ends = api.clock.now() + timedelta(hours=1), api.clock.now() + timedelta(hours=2)
    answer = await api.post(
        f"quotas/{quota['id']}/versions",
        {
            "limits": [{**IOPS, "rate": "140"}],
            "reason": "sale",
            "valid_from": begins.isoformat(),
            "valid_to": ends.isoformat(),
        },
    )
    rates = [(await in_force(api, organization))[0].rate]
    for _ in range(2):
        api.clock.advance(timedelta(hours=1))
        rates.append((await in_force(api, organization))[0].rate)

    assert answer.status_code == 201 and not answer.json()["is_in_force"]
    assert [rate.numerator for rate in rates if rate] == [100, 140, 100]
    assert (await in_force(api, organization))[0].version == 3, "what goes on afterwards is a version of its own"


async def test_a_scheduled_version_that_another_overtakes_is_withdrawn(api: Api) -> None:
    quota = await make(api, IOPS)
    later = (api.clock.now() + timedelta(days=1)).isoformat()
    await api.post(f"quotas/{quota['id']}/versions", {"limits": [], "reason": "end", "valid_from": later})

    await api.post(f"quotas/{quota['id']}/versions", {"limits": [IOPS], "reason": "no, stay"})

    listed = (await api.get(f"quotas/{quota['id']}/versions")).json()["items"]
    assert [(item["version"], item["is_withdrawn"], item["is_in_force"]) for item in listed] == [
        (3, False, True), (2, True, False), (1, True, False),
    ]  # fmt: skip


async def test_rolling_back_publishes_the_earlier_limits_again(api: Api, organization: TestOrganization) -> None:
    quota = await make(api, IOPS, MONTHLY)
    api.clock.advance(timedelta(minutes=1))
    await api.post(
        f"quotas/{quota['id']}/versions", {"limits": [{**IOPS, "rate": "1", "burst": "1"}], "reason": "oops"}
    )
    api.clock.advance(timedelta(minutes=1))

    difference = (await api.get(f"quotas/{quota['id']}/difference", first=1, second=2)).json()
    back = await api.post(f"quotas/{quota['id']}/roll-back", {"version": 1, "reason": "too little"})

    assert back.json()["version"] == 3 and back.json()["rolled_back_to"] == 1
    assert [(change["limit"], change["change"]) for change in difference["changes"]] == [
        ("app-iops", "changed"), ("spend", "removed"),
    ]  # fmt: skip
    assert difference["changes"][0]["after"] == {"burst": "1", "rate": "1"}
    assert [(limit.name, limit.version) for limit in await in_force(api, organization)] == [
        ("app-iops", 3),
        ("spend", 3),
    ]


@pytest.mark.parametrize(
    ("limit", "field"),
    [
        ({"name": "x", "dimension": "requests"}, "limits.0.rate"),
        ({"name": "x", "dimension": "money", "rate": "1"}, "limits.0.dimension"),
        ({"name": "x", "dimension": "requests", "method": "fixed_window", "amount": "5"}, "limits.0.period"),
        ({"name": "x", "dimension": "requests", "method": "fixed_window", "amount": "5", "period": "day", "zone": "Mars/Base"},
         "limits.0.zone"),
        ({"name": "x", "dimension": "requests", "rate": "10", "burst": "5"}, "limits.0.rate"),
        ({"name": "x", "dimension": "requests", "rate": "0"}, "limits.0.rate"),
        ({"name": "x", "dimension": "requests", "rate": "0.00000000001"}, "limits.0.rate"),
        ({"name": "x", "dimension": "bytes", "rate": "99999999999999999999"}, "limits.0.rate"),
        ({"name": "x", "dimension": "money", "method": "fixed_window", "amount": "99999999999999", "period": "day",
          "currency": "USD"}, "limits.0.amount"),
        ({"name": "x", "dimension": "requests", "rate": "-1"}, "limits.0.rate"),
    ],
)  # fmt: skip
async def test_a_limit_that_means_nothing_is_refused_by_field(api: Api, limit: dict[str, Any], field: str) -> None:
    answer = await api.post("quotas", {"name": "shop", "scope": "organization", "limits": [limit], "reason": "try"})

    assert answer.status_code == 422, answer.text
    assert field in [fault["field"] for fault in answer.json()["errors"]]


async def test_a_preview_says_what_would_change_and_changes_nothing(api: Api) -> None:
    quota = await make(api, IOPS, MONTHLY)
    begins = (api.clock.now() + timedelta(hours=1)).isoformat()
    scheduled = {"limits": [MONTHLY], "reason": "later", "valid_from": begins}
    await api.post(f"quotas/{quota['id']}/versions", scheduled)
    changed = [{**IOPS, "rate": "120"}, MONTHLY]

    now = (await api.post("quotas/preview", {"quota_id": quota["id"], "limits": changed})).json()
    later = (
        await api.post("quotas/preview", {"quota_id": quota["id"], "limits": changed, "valid_from": begins})
    ).json()
    fresh = (await api.post("quotas/preview", {"limits": [IOPS]})).json()
    wrong = await api.post("quotas/preview", {"limits": [{**IOPS, "rate": "200"}]})

    assert now["against_version"] == 1
    assert now["changes"] == [
        {"limit": "app-iops", "change": "changed", "before": {"rate": "100"}, "after": {"rate": "120"}}
    ]
    assert (later["against_version"], [item["change"] for item in later["changes"]]) == (2, ["added"])
    assert fresh["against_version"] is None and fresh["changes"][0]["after"]["burst"] == "150"
    assert wrong.status_code == 422 and wrong.json()["errors"][0]["field"] == "limits.0.rate"
    assert (await api.post("quotas/preview", {"quota_id": str(uuid7()), "limits": []})).status_code == 404
    found = (await api.get("quotas")).json()["items"][0]
    assert found["current"]["version"] == 1 and found["scheduled"]["version"] == 2
    assert (await api.get(f"quotas/{quota['id']}/versions")).json()["items"][0]["reason"] == "later"


async def test_the_past_is_not_written_again(api: Api) -> None:
    quota = await make(api, IOPS)

    earlier = (api.clock.now() - timedelta(hours=1)).isoformat()
    answer = await api.post(
        f"quotas/{quota['id']}/versions", {"limits": [], "reason": "rewrite", "valid_from": earlier}
    )
    unknown = await api.post(f"quotas/{uuid7()}/versions", {"limits": [], "reason": "x"})

    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == "valid_from"
    assert unknown.status_code == 404
    assert (await api.post("quotas", {"name": "shop", "scope": "key", "limits": [], "reason": "x"})).status_code == 409


async def test_the_database_itself_refuses_two_versions_at_one_time_without_an_extension(
    api: Api, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    quota = await make(api, IOPS)

    with pytest.raises(asyncpg.ExclusionViolationError):
        await admin_connection.execute(
            """
            INSERT INTO admission.quota_versions (organization_id, id, quota_id, version, validity, limits, reason, author)
            VALUES ($1, $2, $3, 2, tstzrange(now() + interval '1 day', NULL), '[]', 'by hand', 'nobody')
            """,
            organization.id, uuid7(), quota["id"],
        )  # fmt: skip
    assert await admin_connection.fetchval("SELECT count(*) FROM pg_extension WHERE extname = 'btree_gist'") == 0


async def test_a_version_cannot_be_changed_by_the_service(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    await make(api, IOPS)

    for statement in (
        "UPDATE admission.quota_versions SET limits = '[]'",
        "UPDATE admission.quota_versions SET reason = 'another'",
        "DELETE FROM admission.quota_versions",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.tenant(organization.id) as connection:
                await connection.execute(statement)


async def test_a_key_s_own_rate_is_a_limit(api: Api, database: Database, organization: TestOrganization) -> None:
    await make_key(database, organization.id, "calls:admit", rate_limit_per_minute=30)

    (limit,) = await in_force(api, organization)

    assert (limit.scope, limit.capacity, limit.dimension) == ("key", 30, "requests")


async def test_operations_cost_what_the_shipped_types_and_the_application_s_own_rules_say(
    api: Api, organization: TestOrganization
) -> None:
    cluster = (await api.post("clusters", {"name": "ceph-1", "region": "eu", "max_capacity": 5000})).json()
    application = (await api.post("applications", {"name": "shop", "cluster_id": cluster["id"]})).json()
    question = {"operation": "read_small", "size_bytes": 8192, "application": "shop"}
    await api.limits.refresh()
    before = (await api.post("operation-types/charge", question)).json()

    rule = {"application_id": application["id"], "operation": "read_small", "c_base": "0.5"}
    made = await api.post("cost-rules", rule)
    again = await api.post("cost-rules", rule)
    await api.limits.refresh()
    after = (await api.post("operation-types/charge", question)).json()
    others = (await api.post("operation-types/charge", {**question, "application": "other"})).json()

    assert len((await api.get("operation-types")).json()["items"]) == 9
    assert before == {
        "operations": "1.0002", "micro_operations": 1_000_200, "bytes": 8192,
        "c_base": "1", "unit_quantum": 4096, "c_bw": "0.0001", "whole_quanta": False,
    }  # fmt: skip
    assert made.status_code == 201 and again.status_code == 409
    assert (after["operations"], after["c_base"]) == ("0.5002", "0.5") and others == before
    assert (await api.post("operation-types/charge", {"operation": "fly"})).status_code == 404
    assert api.limits.table.clusters == {(organization.id, "shop"): "ceph-1"}


async def test_what_is_changed_is_changed_and_what_is_left_out_stays(api: Api) -> None:
    cluster = (await api.post("clusters", {"name": "ceph-1", "region": "eu"})).json()
    application = (await api.post("applications", {"name": "shop"})).json()

    changed = (await api.patch(f"clusters/{cluster['id']}", {"health_status": "degraded"})).json()
    joined = (await api.patch(f"applications/{application['id']}", {"cluster_id": cluster["id"]})).json()

    assert (changed["health_status"], changed["region"]) == ("degraded", "eu")
    assert joined["cluster_id"] == cluster["id"] and joined["is_active"]
    assert (await api.patch(f"applications/{application['id']}", {"cluster_id": str(uuid7())})).status_code == 404
    assert (await api.patch(f"clusters/{uuid7()}", {})).status_code == 404
