"""Every figure equals a recomputation over the raw records, whatever was sent in whatever order, folded or not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nexus.kit.ids import uuid7
from nexus.metering.types import Filter, Question
from nexus.platform.db import Database
from tests.metering.records import (
    KEYS,
    Record,
    account,
    ask,
    assert_answers,
    fold,
    record,
    records,
    store_batch,
    store_mixed,
    unique,
)

START = datetime(2026, 3, 27, 22, tzinfo=UTC)
END = datetime(2026, 3, 31, 3, tzinfo=UTC)
"""Holds the night in which clocks in Europe go forward."""

database_property = settings(
    max_examples=settings.default.max_examples // 3,
    deadline=None,
    # Shrinking asks the database thousands of times; the failing example is printed as it is.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

GROUPS = st.sampled_from(
    [
        (), ("provider",), ("model",), ("provider", "model"), ("endpoint", "status_code"), ("region", "method"),
        ("key",), ("application", "provider"), ("user",), ("user", "model"), ("tag:team",), ("tag:feature", "provider"),
        ("currency",), ("currency", "model"), ("user", "key"), ("endpoint", "tag:team"),
    ]
)  # fmt: skip
FILTERS = st.sampled_from(
    [
        (), (), (Filter("provider", ("exa",)),), (Filter("status_code", (500, 0)),), (Filter("key", (KEYS[0],)),),
        (Filter("user", ("ada", "")),), (Filter("tag:team", ("x", "")),), (Filter("currency", ("EUR",)),),
        (Filter("model", ("m1",)), Filter("endpoint", ("/v1/a",))), (Filter("key", (None,)),),
    ]
)  # fmt: skip


async def organization_in(database: Database, zone: str = "UTC") -> UUID:
    made = uuid7()
    async with database.as_system() as connection:
        await connection.execute(
            "INSERT INTO identity.organizations (id, name, slug, reporting_zone) VALUES ($1, 'x', $2, $3)",
            made,
            f"o-{made}",
            zone,
        )
    return made


@st.composite
def ranges(draw: st.DrawFn) -> tuple[datetime, datetime]:
    """Ranges whose ends fall anywhere: on days, hours, minutes or in the middle of a second."""
    span = int((END - START) / timedelta(microseconds=1))
    step = draw(st.sampled_from([1, 1_000_000, 60_000_000, 900_000_000, 3_600_000_000, 86_400_000_000]))
    first, last = sorted((draw(st.integers(0, span)), draw(st.integers(1, span + 10**9))))
    epoch = datetime(2026, 1, 1, tzinfo=UTC)

    def on_step(micros: int) -> datetime:
        at = START + timedelta(microseconds=micros)
        return at - (at - epoch) % timedelta(microseconds=step)

    low, high = on_step(first), on_step(last)
    return low, max(high, low + timedelta(microseconds=step))


@database_property
@given(data=st.data(), rows=records(START, END), zone=st.sampled_from(["UTC", "Asia/Kathmandu", "Europe/Berlin"]))
async def test_every_figure_equals_the_raw_records(
    database: Database, data: st.DataObject, rows: list[Record], zone: str
) -> None:
    owner = await organization_in(database, zone)
    cut = data.draw(st.integers(0, len(rows)), label="folded after")
    await store_batch(database, owner, rows[:cut] or rows)
    await fold(database, data.draw(st.sampled_from([1, 3, 1000]), label="fold size"))
    await store_batch(database, owner, rows)

    for _ in range(4):
        start, end = data.draw(ranges(), label="range")
        question = Question(start=start, end=end, group_by=data.draw(GROUPS), filters=data.draw(FILTERS))
        if question.end - question.start > timedelta(hours=24) and _is_uncovered(question):
            continue
        assert_answers(await ask(database, owner, question), account(unique(rows), question))


def _is_uncovered(question: Question) -> bool:
    from nexus.metering.plan import covering_set

    return covering_set(question.dimensions) is None


@database_property
@given(data=st.data(), rows=records(START, END))
async def test_exact_percentiles_are_those_of_the_raw_records(
    database: Database, data: st.DataObject, rows: list[Record]
) -> None:
    owner = await organization_in(database)
    await store_batch(database, owner, rows)
    start = START + timedelta(hours=data.draw(st.integers(0, 60)))

    question = Question(
        start=start, end=start + timedelta(hours=24), group_by=data.draw(GROUPS), filters=data.draw(FILTERS), exact=True
    )

    answer = await ask(database, owner, question)
    assert answer["latency_error_bound"] == 0
    assert_answers(answer, account(unique(rows), question), exact=True)


ZONES = [
    "UTC", "Asia/Kathmandu", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe",
    "Pacific/Chatham", "America/St_Johns", "Africa/Cairo",
]  # fmt: skip


@database_property
@given(
    data=st.data(),
    rows=records(START, END),
    zone=st.sampled_from(ZONES),
    kept=st.sampled_from(ZONES),
    interval=st.sampled_from(["1d", "1h", "15m", "5m", "1w", "1mo"]),
)
async def test_series_in_any_zone_equal_the_raw_records(
    database: Database, data: st.DataObject, rows: list[Record], zone: str, kept: str, interval: str
) -> None:
    owner = await organization_in(database, kept)
    await store_batch(database, owner, rows)
    await fold(database, data.draw(st.sampled_from([5, 1000])))
    start, end = (START, END) if interval != "5m" else (START, START + timedelta(days=2))
    question = Question(
        start=start,
        end=end,
        interval=interval,
        tz=zone,
        group_by=data.draw(st.sampled_from([(), ("model",), ("user",)])),
    )

    answer = await ask(database, owner, question)

    def point_of(at: datetime) -> str:
        local = at.astimezone(ZoneInfo(zone))
        if interval in {"1d", "1w", "1mo"}:
            back = {"1d": 0, "1w": local.weekday(), "1mo": local.day - 1}[interval]
            day = local.date() - timedelta(days=back)
            begun = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        else:
            minutes = {"1h": 60, "15m": 15, "5m": 5}[interval]
            offset = start.astimezone(ZoneInfo(zone)).utcoffset() or timedelta(0)
            begun = at - (at - datetime(1970, 1, 1, tzinfo=UTC) + offset) % timedelta(minutes=minutes)
        return begun.isoformat().replace("+00:00", "Z")

    assert_answers(answer, account(unique(rows), question, point_of=point_of))


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("America/Havana", date(2026, 11, 1)),  # midnight comes twice
        ("America/Sao_Paulo", date(2018, 11, 4)),  # midnight is skipped
        ("America/St_Johns", date(2010, 11, 7)),  # one minute after midnight the clocks go back to the day before
        ("Pacific/Apia", date(2011, 12, 31)),  # the day before does not exist
        ("Europe/Berlin", date(2026, 10, 25)),  # 25 hours
    ],
)
async def test_days_are_contiguous_where_clocks_turn_at_midnight(database: Database, zone: str, day: date) -> None:
    owner = await organization_in(database, zone)
    begins = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    after = day + timedelta(days=1)
    ends = datetime(after.year, after.month, after.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    minutes = [begins + timedelta(minutes=15 * number) for number in range(-100, 200)]
    await store_batch(database, owner, [record(at) for at in minutes])
    await fold(database)

    question = Question(start=begins - timedelta(days=1), end=ends + timedelta(days=1), interval="1d", tz=zone)
    answer = await ask(database, owner, question)

    points = {row["at"]: row["requests"] for row in answer["points"]}
    assert points[begins.isoformat().replace("+00:00", "Z")] == sum(begins <= at < ends for at in minutes)
    assert sum(points.values()) == sum(question.start <= at < question.end for at in minutes)


@database_property
@given(data=st.data(), rows=records(START, END, max_size=12))
async def test_a_record_counts_once_in_any_order_with_any_timestamp(
    database: Database, data: st.DataObject, rows: list[Record]
) -> None:
    owner = await organization_in(database)
    moved = [
        row
        | {"occurred_at": row["occurred_at"] + timedelta(days=shift)}
        | ({"key_at": row["occurred_at"] + timedelta(days=shift)} if row["is_opaque"] else {})
        for row, shift in data.draw(
            st.lists(st.tuples(st.sampled_from(rows), st.sampled_from([-45, -1, 0, 1])), max_size=20)
        )
    ]
    sent = data.draw(st.permutations(rows + moved))
    size = data.draw(st.integers(1, len(sent)))
    duplicates = 0
    for index in range(0, len(sent), size):
        batch = sent[index : index + size]
        seen_before = {row["id"] for row in sent[:index]}
        found = await store_batch(database, owner, batch)
        expected = [
            place
            for place, row in enumerate(batch)
            if row["id"] in seen_before or row["id"] in {earlier["id"] for earlier in batch[:place]}
        ]
        assert sorted(found) == expected
        duplicates += len(found)

    question = Question(start=START - timedelta(days=60), end=END + timedelta(days=10), group_by=("provider", "model"))
    answer = await ask(database, owner, question)
    assert_answers(answer, account(unique(sent), question))
    assert duplicates == len(sent) - len(unique(sent))


@database_property
@given(data=st.data(), rows=records(START, END, max_size=20))
async def test_two_organizations_in_one_batch_stay_apart(
    database: Database, data: st.DataObject, rows: list[Record]
) -> None:
    owners = [await organization_in(database), await organization_in(database, "Asia/Tokyo")]
    # The same id may come from both: they are two records.
    sent = [(data.draw(st.sampled_from(owners)), row) for row in rows] + [(owners[1], row) for row in rows[:3]]
    await store_mixed(database, sent)
    if data.draw(st.booleans()):
        await fold(database)

    question = Question(start=START, end=END, group_by=("model", "user"))
    for owner in owners:
        mine = unique(row for who, row in sent if who == owner)
        assert_answers(await ask(database, owner, question), account(mine, question))


async def test_the_sum_of_days_is_the_range(database: Database) -> None:
    owner = await organization_in(database, "Asia/Kathmandu")
    await store_batch(database, owner, [record(START + timedelta(minutes=7 * n), cost_nanos=n) for n in range(500)])
    await fold(database, 300)
    begin = datetime(2026, 3, 28, tzinfo=ZoneInfo("Asia/Kathmandu"))

    whole = await ask(database, owner, Question(start=begin, end=begin + timedelta(days=2)))
    days = [
        (await ask(database, owner, Question(start=begin + timedelta(days=n), end=begin + timedelta(days=n + 1))))[
            "total"
        ]
        for n in range(2)
    ]

    assert sum(day["requests"] for day in days) == whole["total"]["requests"] > 300
    assert sum(float(day["cost"]) for day in days) == pytest.approx(float(whole["total"]["cost"]), abs=0)


async def test_sums_beyond_every_integer_are_answered(database: Database) -> None:
    owner = await organization_in(database)
    huge = {
        "request_bytes": 2**43,
        "cost_nanos": 10**16,
        "input_tokens": 10**9,
        "response_time_us": 30 * 86_400 * 10**6,
    }
    rows = [record(START + timedelta(seconds=n), **huge) for n in range(1200)]
    await store_batch(database, owner, rows)
    await fold(database)

    question = Question(start=START, end=END)
    assert_answers(await ask(database, owner, question), account(rows, question))
