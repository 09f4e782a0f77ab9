"""What is old goes by whole months, is counted first, and what is left still answers, or says that it cannot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from nexus.kit.ids import uuid7
from nexus.metering import jobs
from nexus.metering.errors import RangeNoLongerKept
from nexus.metering.jobs import Folder, drop_old_months, forget_seen_ids, rebuild_changed_days
from nexus.metering.types import Question
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.metering.records import account, ask, assert_answers, fold, record, store_batch, store_limit_set

OLD = datetime(2025, 1, 10, 7, 3, 20, tzinfo=UTC)
LATER = datetime(2026, 10, 1, tzinfo=UTC)


async def age(database: Database) -> None:
    """Make everything look as if it had come and been folded long ago."""
    async with database.as_system() as connection:
        for level in ("minute", "quarter_hour", "hour"):
            await connection.execute(f"UPDATE metering.rollups_{level} SET touched_at = bucket")


def rows_of(at: datetime, count: int = 30) -> list[dict[str, Any]]:
    return [
        record(at + timedelta(minutes=17 * n), received_at=at + timedelta(days=1), cost_nanos=n, user_ref=f"u{n % 3}")
        for n in range(count)
    ]


async def test_days_outlive_everything_and_finer_questions_are_refused(
    database: Database, organization: TestOrganization
) -> None:
    rows = rows_of(OLD)
    await store_batch(database, organization.id, rows)
    await fold(database)
    await age(database)

    lost = await drop_old_months(database, LATER)

    assert lost > len(rows)
    whole_days = Question(
        start=datetime(2025, 1, 10, tzinfo=UTC), end=datetime(2025, 1, 12, tzinfo=UTC), group_by=("user",)
    )
    assert_answers(await ask(database, organization.id, whole_days), account(rows, whole_days))
    with pytest.raises(RangeNoLongerKept) as refused:
        await ask(database, organization.id, Question(start=OLD, end=datetime(2025, 1, 12, tzinfo=UTC)))
    assert [fault.field for fault in refused.value.faults] == ["from"]
    assert await drop_old_months(database, LATER) == 0


async def test_minutes_that_are_gone_are_counted_from_raw_calls(
    database: Database, organization: TestOrganization
) -> None:
    at = LATER - timedelta(days=62)
    rows = rows_of(at)
    await store_batch(database, organization.id, rows)
    await fold(database)
    await age(database)
    await drop_old_months(database, LATER)

    question = Question(start=at + timedelta(minutes=20), end=at + timedelta(hours=5, minutes=1), group_by=("user",))
    assert_answers(await ask(database, organization.id, question), account(rows, question))
    async with database.as_system() as connection:
        horizons = {row["level"] for row in await connection.fetch("SELECT level FROM metering.rollup_horizons")}
    assert horizons == {"minute"}


async def test_what_came_late_is_kept_as_long_as_what_came_in_time(
    database: Database, organization: TestOrganization
) -> None:
    late = [row | {"received_at": LATER - timedelta(days=3)} for row in rows_of(OLD)]
    await store_batch(database, organization.id, late)
    await fold(database)

    assert await drop_old_months(database, LATER) == 0

    question = Question(start=OLD + timedelta(seconds=1), end=OLD + timedelta(hours=7))
    assert_answers(await ask(database, organization.id, question), account(late, question))


async def test_a_month_with_a_call_that_occurred_lately_stays(
    database: Database, organization: TestOrganization
) -> None:
    # The id was made long before the call.
    row = record(LATER - timedelta(days=5), call_id=uuid7(OLD), received_at=LATER - timedelta(days=5))
    await store_batch(database, organization.id, [row])

    await drop_old_months(database, LATER)

    async with database.tenant(organization.id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM metering.calls") == 1


async def test_the_limits_that_calls_of_a_month_name_go_with_that_month_alone(
    database: Database, organization: TestOrganization
) -> None:
    kept = LATER - timedelta(days=5)
    for at in (OLD, kept):
        await store_batch(database, organization.id, [record(at, received_at=at)])
        await store_limit_set(database, organization.id, at)

    await drop_old_months(database, LATER)

    async with database.tenant(organization.id) as connection:
        months = [row["month"] for row in await connection.fetch("SELECT month FROM metering.limit_sets")]
    assert [(month.year, month.month) for month in months] == [(kept.year, kept.month)]


async def test_ids_are_forgotten_after_their_horizon_only(
    database: Database, organization: TestOrganization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SEEN_IDS_BATCH", 3)
    now = datetime.now(UTC)
    old = [record(now - timedelta(days=36), call_id=uuid4(), received_at=now - timedelta(days=36)) for _ in range(8)]
    young = [record(now - timedelta(days=34), call_id=uuid4(), received_at=now - timedelta(days=34)) for _ in range(2)]
    await store_batch(database, organization.id, old + young)

    assert await forget_seen_ids(database) == 8

    moved = [
        row | dict.fromkeys(("occurred_at", "key_at", "received_at"), now - timedelta(days=1)) for row in (*old, *young)
    ]
    # Ten days later in the file, the same ids: the young ones are still known, the old ones no longer.
    assert sorted(await store_batch(database, organization.id, moved)) == [8, 9]


@pytest.mark.parametrize("unfolded", [0, 9])
async def test_days_follow_the_organizations_zone(
    database: Database, organization: TestOrganization, unfolded: int
) -> None:
    rows = rows_of(datetime(2026, 3, 27, 11, tzinfo=UTC), 200)
    await store_batch(database, organization.id, rows[unfolded:])
    await fold(database)
    await store_batch(database, organization.id, rows[:unfolded] or rows[:1])
    zone = ZoneInfo("Asia/Kathmandu")
    begin = datetime(2026, 3, 28, tzinfo=zone).astimezone(UTC)
    question = Question(start=begin, end=begin + timedelta(days=2), group_by=("user",), interval="1d", tz=zone.key)

    def point_of(at: datetime) -> str:
        local = at.astimezone(zone)
        day = datetime(local.year, local.month, local.day, tzinfo=zone).astimezone(UTC)
        return day.isoformat().replace("+00:00", "Z")

    async with database.as_system() as connection:
        await connection.execute(
            "UPDATE identity.organizations SET reporting_zone = $2 WHERE id = $1", organization.id, zone.key
        )
    assert_answers(await ask(database, organization.id, question), account(rows, question, point_of=point_of))
    assert await rebuild_changed_days(database) == 1
    assert_answers(await ask(database, organization.id, question), account(rows, question, point_of=point_of))
    await fold(database)
    assert_answers(await ask(database, organization.id, question), account(rows, question, point_of=point_of))
    assert await rebuild_changed_days(database) == 0
    async with database.as_system() as connection:
        buckets = await connection.fetch("SELECT DISTINCT bucket FROM metering.rollups_day")
    assert all(row["bucket"].astimezone(zone).hour == 0 for row in buckets)
    wide = Question(start=datetime(2026, 3, 1, tzinfo=UTC), end=datetime(2026, 5, 1, tzinfo=UTC), group_by=("user",))
    assert_answers(await ask(database, organization.id, wide), account(rows, wide))


async def test_folding_waits_for_company_but_not_for_long(database: Database, organization: TestOrganization) -> None:
    now = 100.0
    folder = Folder(monotonic=lambda: now)
    await store_batch(database, organization.id, rows_of(OLD, 5))
    assert await folder(database) == 5

    await store_batch(database, organization.id, rows_of(OLD + timedelta(days=1), 4))
    now += 1.0
    assert await folder(database) == 0
    now += 1.5
    assert await folder(database) == 4
    assert await folder(database) == 0


async def test_folding_rests_but_not_in_a_backlog(
    database: Database, organization: TestOrganization, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(0, 1000, 10))
    monkeypatch.setattr(jobs, "FOLD_ROWS", 2)
    folder = Folder(monotonic=lambda: float(next(times)))
    monkeypatch.setattr(jobs, "FULL_JOURNAL_ROWS", 1)
    monkeypatch.setattr(jobs, "LONGEST_REST_SECONDS", 15.0)
    monkeypatch.setattr(jobs, "BACKLOG_ROWS", 5)
    await store_batch(database, organization.id, rows_of(OLD, 8))

    # Each look at the clock is ten seconds later: two looks for a fold, one where it still rests.
    assert [await folder(database) for _ in range(6)] == [2, 2, 2, 0, 2, 0]
