"""Low buckets: noted once when they have been for a while, whoever looks; closed when they are full again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from nexus.admission.jobs import watch_cell
from nexus.admission.low_tokens import LowTokens
from nexus.contracts.limits import Call
from nexus.dataplane.decide.engine import Admission
from nexus.kit.ids import opaque_uuid, uuid7
from nexus.platform.db import Database
from tests.admission.conftest import Api
from tests.conftest import TestOrganization

MINUTE = timedelta(minutes=1)


async def test_a_bucket_that_is_low_for_a_while_is_noted_once_and_closed_when_it_is_not(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    limit = {"name": "tokens", "dimension": "tokens", "rate": "100", "per": "day"}
    await api.post("quotas", {"name": "all", "scope": "key", "limits": [limit], "reason": "try"})
    await api.limits.refresh()
    engine = Admission(api.redis, lambda: api.limits.table, timeout_seconds=5)
    for name, tokens in (("low", 60), ("empty", 95), ("well", 10)):
        await engine.decide(Call(organization_id=organization.id, key_id=opaque_uuid(name), tokens=tokens))
    workers = [LowTokens(), LowTokens()]

    async def look() -> list[tuple[str, str, bool]]:
        await asyncio.gather(
            *[watch_cell(database, api.redis, worker, organization.id, api.clock.now(), MINUTE) for worker in workers]
        )
        shown = (await api.get("low-token-events")).json()["items"]
        names = {str(opaque_uuid(name)): name for name in ("low", "empty", "well")}
        return sorted(
            (names[item["bucket"].partition(":")[2]], item["severity"], item["ended_at"] is None) for item in shown
        )

    at_once = await look()
    api.clock.advance(MINUTE)
    after = await look()
    again = await look()
    api.clock.advance(timedelta(hours=12))
    half_a_day = await look()
    still = (await api.get("low-token-events", open=True, limit=1)).json()["items"]
    await engine.stop()

    assert at_once == []
    noted = [("empty", "critical", True), ("empty", "warning", True), ("low", "warning", True)]
    assert after == again == noted, "two workers, looking twice, note each once"
    # Half of the capacity has come back: 55 of 100 and 90.
    assert half_a_day == [(name, severity, False) for name, severity, _ in noted]
    assert still == []


async def test_a_cell_that_belongs_to_no_organization_has_no_events(api: Api, database: Database) -> None:
    nobody, watch = uuid7(), LowTokens()
    begun, ended = watch.look(nobody, {"bucket": 0.1}, set(), api.clock.now(), timedelta(0))
    await watch_cell(database, api.redis, watch, nobody, api.clock.now(), timedelta(0))

    assert [item.severity for item in begun] == ["warning", "critical"] and ended == []


def test_a_moment_of_plenty_begins_the_wait_anew(api: Api) -> None:
    organization_id, watch, at = uuid7(), LowTokens(), api.clock.now()
    looks = [(0, 0.1), (30, 0.9), (60, 0.1), (90, 0.1), (120, 0.1)]

    begun = [
        bool(watch.look(organization_id, {"b": fill}, set(), at + timedelta(seconds=seconds), MINUTE)[0])
        for seconds, fill in looks
    ]

    assert begun == [False, False, False, False, True]
