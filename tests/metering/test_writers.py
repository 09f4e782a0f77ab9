"""Several writers with the same records, while others fold and read: no deadlock, no difference, no moment of doubt."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest

from nexus.kit.ids import uuid7
from nexus.metering.types import Question
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.metering.records import Record, account, ask, assert_answers, fold, record, store_batch, store_mixed, unique

START = datetime(2026, 5, 31, 23, 30, tzinfo=UTC)


def some_records(seed: int, count: int) -> list[Record]:
    dice = random.Random(seed)
    made = []
    for number in range(count):
        # Across the boundary of a month, so across partitions.
        at = START + timedelta(seconds=dice.randrange(3600))
        call_id = uuid4() if number % 3 == 0 else uuid7(at + timedelta(minutes=dice.randrange(-40, 40)))
        made.append(
            record(
                at,
                call_id=call_id,
                model=dice.choice(["m1", "m2"]),
                user_ref=dice.choice(["ada", "bob", ""]),
                cost_nanos=dice.randrange(10**9),
                response_time_us=dice.randrange(10**7),
            )
        )
    return made


async def test_four_writers_with_overlapping_batches_store_each_record_once(
    database: Database, two_organizations: tuple[TestOrganization, TestOrganization]
) -> None:
    pool = some_records(1, 300)
    owners = [item.id for item in two_organizations]
    sent = [(owner, row) for owner in owners for row in pool]
    stored = 0
    stop = False

    async def write(seed: int) -> int:
        dice = random.Random(seed)
        kept = 0
        for _ in range(12):
            batch = dice.sample(sent, 120)
            kept += len(batch) - len(await store_mixed(database, batch))
        return kept

    async def fold_on() -> None:
        while not stop:
            await fold(database, 50)
            await asyncio.sleep(0)

    async def read_on() -> None:
        last = 0
        while not stop:
            answer = await ask(database, owners[0], Question(start=START, end=START + timedelta(days=1)))
            # What was answered once never goes away again.
            assert answer["total"]["requests"] >= last
            last = answer["total"]["requests"]

    others = [asyncio.create_task(fold_on()), asyncio.create_task(read_on())]
    stored = sum(await asyncio.gather(*(write(seed) for seed in range(4))))
    stored += len(sent) - len(await store_mixed(database, sent))
    stop = True
    await asyncio.gather(*others)

    assert stored == len(sent)
    question = Question(start=START, end=START + timedelta(days=1), group_by=("model", "user"))
    for owner in owners:
        async with database.tenant(owner) as connection:
            assert await connection.fetchval("SELECT count(*) FROM metering.calls") == len(pool)
        found = await ask(database, owner, question)
        # Whichever copy came first is the one that counts; all copies are alike here.
        assert_answers(found, account(unique(pool), question))


async def test_folding_at_any_moment_changes_no_answer(database: Database, organization: TestOrganization) -> None:
    rows = some_records(2, 400)
    questions = [
        Question(start=START + timedelta(minutes=3, seconds=7), end=START + timedelta(minutes=51), group_by=group)
        for group in [(), ("model",), ("user", "provider")]
    ]
    await store_batch(database, organization.id, rows)
    done = False

    async def fold_slowly() -> None:
        nonlocal done
        while await fold(database, 7) > 0:
            await asyncio.sleep(0)
        done = True

    folding = asyncio.create_task(fold_slowly())
    asked = 0
    while not done:
        for question in questions:
            assert_answers(await ask(database, organization.id, question), account(rows, question))
            asked += 1
    await folding
    for question in questions:
        assert_answers(await ask(database, organization.id, question), account(rows, question))
    assert asked > 3


async def test_two_folders_never_count_twice(database: Database, organization: TestOrganization) -> None:
    rows = some_records(3, 200)
    await store_batch(database, organization.id, rows)

    async def fold_all() -> int:
        moved = 0
        while (found := await fold(database, 11)) != 0:
            moved += max(found, 0)
            await asyncio.sleep(0)
        return moved

    moved = sum(await asyncio.gather(*(fold_all() for _ in range(3))))

    question = Question(start=START, end=START + timedelta(days=1), group_by=("model",))
    assert moved > 0
    assert_answers(await ask(database, organization.id, question), account(rows, question))


async def test_a_writer_that_fails_leaves_neither_rows_nor_sums(
    database: Database, organization: TestOrganization
) -> None:
    rows = some_records(4, 20)
    await store_batch(database, organization.id, rows[:10])

    class Killed(Exception):
        pass

    with pytest.raises(Killed):
        async with database.as_writer([organization.id]) as connection:
            await connection.execute("SELECT metering.stage_calls_v1()")
            staged = [row | {"organization_id": organization.id, "ordinal": n} for n, row in enumerate(rows)]
            await connection.execute(
                "INSERT INTO pg_temp.staged_calls"
                " SELECT * FROM jsonb_populate_recordset(NULL::pg_temp.staged_calls, $1::jsonb)",
                msgspec.to_builtins(staged),
            )
            await connection.fetchval("SELECT metering.store_calls_v1()")
            raise Killed

    question = Question(start=START, end=START + timedelta(days=1), group_by=("model",))
    assert_answers(await ask(database, organization.id, question), account(rows[:10], question))
    # And what was rolled back can be sent again.
    assert sorted(await store_batch(database, organization.id, rows)) == list(range(10))
    assert_answers(await ask(database, organization.id, question), account(rows, question))
