"""Versions published and rolled back while several processes decide; how long each takes to be in force in all of them."""

from __future__ import annotations

import time
from typing import Any

from nexus.dataplane.decide.scripts import BucketState, keys_of
from nexus.platform.db.pool import DatabaseUrls
from tests.admission.conftest import Api
from tests.admission.deciders import deciders, tell_all, until_all
from tests.conftest import TestOrganization

PROCESSES = 4
CAPACITY = 1_000_000
_HELD, _TOOK = 500, 100


async def publish_under_load(
    api: Api, redis_url: str, urls: DatabaseUrls, organization: TestOrganization, *, turns: int
) -> list[float]:
    """Double the capacity and roll that back, so many times; returns seconds until no process decides by the version before."""
    limit = {"name": "tokens", "dimension": "tokens", "rate": "1", "per": "day", "capacity": str(CAPACITY)}
    doubled = {"limits": [{**limit, "capacity": str(2 * CAPACITY)}], "reason": "more"}
    quota = await api.post("quotas", {"name": "all", "scope": "organization", "limits": [limit], "reason": "first"})
    path = f"quotas/{quota.json()['id']}"
    published: dict[int, float] = {}
    call = {"tokens": 1}
    async with deciders(PROCESSES, redis_url, urls, organization.id) as processes:

        async def everywhere(version: int) -> None:
            def is_there(counted: dict[str, Any]) -> bool:
                return bool(counted["versions"].get(str(version), (0, 0, 0))[2] > 20)

            await until_all(processes, is_there)

        held = await processes[0].tell("rush", calls=1, at_once=1, call={"tokens": _HELD}, hold=300.0)
        await tell_all(processes, "load", call=call)
        await everywhere(1)
        for turn in range(turns):
            for version, way, body in (
                (2 * turn + 2, "versions", doubled),
                (2 * turn + 3, "roll-back", {"version": 1, "reason": "less"}),
            ):
                assert (await api.post(f"{path}/{way}", body)).status_code == 201
                published[version] = time.time()
                await everywhere(version)
        counted = await tell_all(processes, "stop")
        settled = await processes[-1].tell("settle", holds=held["holds"], actual={"tokens": _TOOK})

    assert [set(item["outcomes"]) for item in counted] == [{"admitted"}] * PROCESSES, "a decision failed"
    assert settled["statuses"] == {"ended": 1}
    await api.limits.refresh()
    (known,) = api.limits.table.limits[organization.id]
    data = await api.redis.get(keys_of(organization.id).buckets + known.id.hex)
    assert isinstance(data, bytes)
    state = BucketState.unpack(data)
    spent, made_doubled = _TOOK, 0
    for item in counted:
        for version, (_, _, count) in item["versions"].items():
            if int(version) % 2:
                spent += count
            else:
                made_doubled += count
    assert (state.version, state.leased, state.held) == (2 * turns + 1, 0, 0), "all leases came back"
    # In units of the first version: a charge under the doubled capacity is half as much of the fill. What a process with the
    # older version charged after another had brought the bucket to the newer counts by the newer, and each change
    # rounds down to whole units.
    slack = _HELD + 2 * turns * (PROCESSES * 50 + 1)
    assert CAPACITY - spent - made_doubled <= state.level <= CAPACITY - spent - made_doubled // 2 + slack
    return [max(item["versions"][str(version - 1)][1] for item in counted) - at for version, at in published.items()]
