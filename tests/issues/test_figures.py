"""Errors of one cause are one issue, counted exactly: in any order, sent twice, by several at once, folded or not."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from nexus.issues import jobs
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.issues.conftest import NOW, Api, Taker, error, fold, make_ingest, recounted

STACK = 'Traceback (most recent call last):\n  File "/app/{}/db.py", line {}, in connect\n    dial()\nOSError: no'


def refused(pick: random.Random, at: datetime) -> dict[str, Any]:
    """An error of the one cause, whatever its port, UUID, number and column."""
    message = (
        f"connection {uuid4()} to db-{pick.randrange(90)}.internal:{pick.randrange(1, 65536)} refused"
        f" after {pick.randrange(10**6)} ms at line {pick.randrange(999)}, column {pick.randrange(99)}"
    )
    stack = STACK.format(pick.randrange(9), pick.randrange(999))
    return error(
        at, message, stack_trace=stack, error_type="OSError", environment=pick.choice(["production", "staging"])
    )


def made(seed: int, count: int) -> list[dict[str, Any]]:
    """Errors of two causes at times that fall anywhere, some with ids that carry no time."""
    pick = random.Random(seed)
    records = []
    for number in range(count):
        at = NOW - timedelta(seconds=pick.randrange(40 * 3600), microseconds=pick.randrange(10**6))
        record = refused(pick, at) if number % 3 else error(at, f"order {pick.randrange(10**9)} is gone", level="fatal")
        if pick.random() < 0.3:
            record["id"] = f"e-{seed}-{number}"
        records.append(record)
    return records


def expected(records: list[dict[str, Any]], word: str) -> tuple[int, datetime, datetime]:
    times = [datetime.fromisoformat(item["timestamp"]) for item in records if word in item["message"]]
    return len(times), min(times), max(times)


def shown(issue: dict[str, Any]) -> tuple[int, datetime, datetime]:
    first, last = (datetime.fromisoformat(issue[name]) for name in ("first_seen", "last_seen"))
    return issue["occurrences"], first, last


@pytest.mark.parametrize("is_folded", ["not", "half", "all"])
async def test_errors_of_one_cause_are_one_issue_and_two_causes_stay_two(
    take: Taker, api: Api, database: Database, admin_connection: asyncpg.Connection, is_folded: str
) -> None:
    records = made(1, 240)
    for first in range(0, len(records), 60):
        await take(*records[first : first + 60])
        if is_folded == "half" and first == 60:
            assert await fold(database) > 0
    # Sent again, at another time: nothing changes.
    again = await take(*(record | {"timestamp": NOW.isoformat()} for record in records[50:150]))
    if is_folded == "all":
        await fold(database)

    issues = {item["title"].split()[0]: item for item in await api.issues()}
    assert again.duplicates == 100
    assert set(issues) == {"connection", "order"}
    for word, issue in issues.items():
        assert shown(issue) == expected(records, word)
        page = await api("GET", issue["id"])
        (cause,) = page["causes"]
        assert shown(cause) == expected(records, word)
        start = NOW - timedelta(days=3)
        points = (await api("GET", f"{issue['id']}/series", from_=start.isoformat(), interval="1d"))["points"]
        assert sum(point["errors"] for point in points) == issue["occurrences"]
        day_ago = NOW.replace(minute=0) - timedelta(hours=23)
        recent = [r for r in records if word in r["message"] and datetime.fromisoformat(r["timestamp"]) >= day_ago]
        assert sum(issue["trend"]) == len(recent)
    assert issues["order"]["level"] == "fatal"
    assert {UUID(issue["id"]): shown(issue) for issue in issues.values()} == await recounted(admin_connection)
    everything = await api(
        "GET", "series", from_=(NOW - timedelta(days=3)).isoformat(), interval="1d", group_by="level"
    )
    by_level: dict[str, int] = {}
    for point in everything["points"]:
        by_level[point["level"]] = by_level.get(point["level"], 0) + point["errors"]
    assert by_level == {"fatal": 80, "error": 160}


async def test_several_nodes_at_once_make_one_issue_and_count_each_error_once(
    tmp_path: Path, database: Database, organization: TestOrganization, api: Api, admin_connection: asyncpg.Connection
) -> None:
    nodes = [make_ingest(database, tmp_path / str(number)) for number in range(3)]
    for node in nodes:
        node.writer.start()
    takers = [Taker(node, organization.id) for node in nodes]
    records = made(2, 120)
    parts = [records[first : first + 30] for first in range(0, 120, 30)]
    done = asyncio.Event()

    async def keep_folding() -> None:
        while not done.is_set():
            await jobs.fold(database)

    folding = [asyncio.create_task(keep_folding()) for _ in range(2)]
    # Each part through each node, in another order.
    work = [taker(*parts[(step + number) % 4]) for step in range(4) for number, taker in enumerate(takers)]
    receipts = await asyncio.gather(*work)
    done.set()
    await asyncio.gather(*folding)
    for node in nodes:
        await node.stop()
    await fold(database)

    assert sum(receipt.stored or 0 for receipt in receipts) == 120
    issues = await api.issues()
    assert sorted(issue["occurrences"] for issue in issues) == [40, 80]
    assert {UUID(issue["id"]): shown(issue) for issue in issues} == await recounted(admin_connection)


async def test_folding_that_is_cut_off_changes_nothing(
    take: Taker, api: Api, database: Database, admin_connection: asyncpg.Connection
) -> None:
    await take(*made(3, 60))
    before = await api.issues()

    async def crash() -> None:
        async with database.as_system() as connection:
            assert await connection.fetchval("SELECT issues.fold_v1(20)") == 20
            raise ConnectionError("the worker is gone")

    with pytest.raises(ConnectionError):
        await crash()
    assert await api.issues() == before
    await fold(database)

    assert sorted(item["occurrences"] for item in await api.issues()) == [20, 40]
    assert await admin_connection.fetchval("SELECT count(*) FROM issues.journal") == 0
    assert await admin_connection.fetchval("SELECT sum(occurrences) FROM issues.hours") == 60


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
async def test_first_and_newest_samples_of_a_cause_are_kept_in_any_order_of_arrival(
    take: Taker, api: Api, database: Database, order: str
) -> None:
    records = [
        error(NOW - timedelta(minutes=number), f"order {number} is gone", stack_trace="x") for number in range(90)
    ]
    first, newest = records[-5:], records[:25]
    arriving = list(reversed(records)) if order == "forward" else list(records)
    if order == "shuffled":
        random.Random(4).shuffle(arriving)
    for begin in range(0, 90, 30):
        await take(*arriving[begin : begin + 30])
        await fold(database)

    (issue,) = await api.issues()
    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await api("GET", f"{issue['id']}/samples", limit=7, **cursor)
        ids += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert issue["occurrences"] == 90
    assert ids == [record["id"] for record in newest + first]


async def test_issue_says_what_its_newest_error_says_and_where_it_was_seen(
    take: Taker, api: Api, database: Database
) -> None:
    old = error(
        NOW - timedelta(hours=2), "no 1", service="web", service_version="1.0.0.1", severity=2, category="database",
        impact_level="low", environment="staging", user="ann", fingerprint=["x"],
    )  # fmt: skip
    new = error(
        NOW - timedelta(hours=1), "other text", service="web", service_version="1.0.0.2", level="fatal",
        category="external_api", impact_level="critical", end_user="bob", fingerprint=["x"],
    )  # fmt: skip
    for record in (new, old):
        await take(record)
        await fold(database)

    (issue,) = await api.issues()
    page = await api("GET", issue["id"])

    said = {
        name: issue[name]
        for name in ("level", "severity", "category", "impact_level", "environment", "service_version")
    }
    assert said == {
        "level": "fatal", "severity": 5, "category": "external_api", "impact_level": "critical",
        "environment": "production", "service_version": "1.0.0.2",
    }  # fmt: skip
    assert {item["value"] for item in page["facets"]["environment"]} == {"production", "staging"}
    assert [item["value"] for item in page["facets"]["service_version"]] == ["1.0.0.1", "1.0.0.2"]
    assert page["met"] == 2
    assert page["causes"][0]["rule"] == "explicit"


async def test_errors_of_one_message_in_two_services_are_two_and_in_two_environments_one(take: Taker, api: Api) -> None:
    for number, (service, environment) in enumerate(
        [("web", "staging"), ("web", "production"), ("mail", "production")]
    ):
        await take(error(NOW - timedelta(minutes=number), "it broke", service=service, environment=environment))

    assert sorted((item["service"], item["occurrences"]) for item in await api.issues()) == [("mail", 1), ("web", 2)]


async def test_what_is_past_its_time_goes_and_counts_stay(
    take: Taker, api: Api, database: Database, admin_connection: asyncpg.Connection
) -> None:
    old = NOW - timedelta(days=300)
    await take(error(old, user="ann"), error(NOW, user="bob"))
    await fold(database)

    assert await jobs.drop_old(database, NOW) >= 3

    (issue,) = await api.issues()
    page = await api("GET", issue["id"])
    assert (issue["occurrences"], page["met"]) == (2, 1)
    assert datetime.fromisoformat(issue["first_seen"]) == old
    samples = await api("GET", f"{issue['id']}/samples")
    assert [item["user"] for item in samples["items"]] == ["bob"]
    assert await admin_connection.fetchval("SELECT count(*) FROM issues.occurrences") == 1
