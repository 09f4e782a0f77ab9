"""Points are counted once and exactly: in any order, sent twice, through several nodes, counted already or waiting."""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from nexus.kit.histograms import Exponential, of_samples
from nexus.metrics import jobs
from nexus.metrics.types import PERIODS, begin
from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.issues.conftest import Taker, make_ingest
from tests.metrics.conftest import NOW, Api, fold, point

BOUNDS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]
START = datetime.fromisoformat("2026-04-02T20:00:00Z")
END = START + timedelta(hours=3)


def explicit(values: list[float]) -> dict[str, Any]:
    counts = [sum(low < value <= high for value in values) for low, high in pairwise([-math.inf, *BOUNDS, math.inf])]
    return {"buckets": {"bounds": BOUNDS, "counts": counts}, "sum": math.fsum(values)}


def exponential(values: list[float], scale: int) -> dict[str, Any]:
    bins = of_samples(values, scale)
    first, last = min(bins.positive), max(bins.positive)
    counts = [bins.positive.get(index, 0) for index in range(first, last + 1)]
    return {
        "exponential": {"scale": bins.scale, "positive": {"offset": first, "counts": counts}},
        "sum": math.fsum(values),
    }


def rank(values: list[float], q: float) -> float:
    """The element that percentile_disc picks."""
    return sorted(values)[max(1, math.ceil(q * len(values) - 1e-9)) - 1]


def per_minute(seed: int) -> dict[datetime, list[float]]:
    """Samples of three hours, minute by minute."""
    pick = random.Random(seed)
    return {
        START + timedelta(minutes=minute): [
            pick.lognormvariate(-2.0 + minute / 90, 1.0) for _ in range(pick.randrange(1, 9))
        ]
        for minute in range(180)
    }


@pytest.mark.parametrize("is_folded", ["not", "half", "all"])
async def test_minute_points_of_a_histogram_give_the_percentiles_of_the_samples_within_their_buckets(
    take: Taker, api: Api, database: Database, is_folded: str
) -> None:
    minutes = per_minute(1)
    everything = [value for values in minutes.values() for value in values]
    forms = {
        "explicit": lambda values, _: explicit(values) | {"min": min(values), "max": max(values)},
        "exponential": lambda values, place: exponential(values, (6, 4, 5)[place % 3]),
        "single": lambda values, _: {"values": values},
    }
    records = [
        point(f"latency.{name}", "histogram", at, unit="s", **made(values, place))
        for place, (at, values) in enumerate(minutes.items())
        for name, made in forms.items()
    ]
    random.Random(2).shuffle(records)
    for first in range(0, len(records), 100):
        await take(*records[first : first + 100])
        if is_folded == "half" and first == 200:
            assert await fold(database) == 300
    # A point that is there changes nothing, whatever it says now.
    twice = await take(*(record | {"sum": 9.0e9} for record in records[:50] if "values" not in record))
    if is_folded == "all":
        await fold(database)

    assert twice.stored == 0 and twice.duplicates and twice.duplicates > 10
    widths = {"explicit": 2.51, "exponential": 2**0.25 + 1e-9, "single": 2**0.25 + 1e-9}
    for name in forms:
        (group,) = await api.groups(f"latency.{name}", "1h", START, END)
        by_hour = {datetime.fromisoformat(one["at"]): one for one in group["points"]}
        assert list(by_hour) == [START + timedelta(hours=hour) for hour in range(3)]
        for at, told in [*by_hour.items(), (None, group["whole"])]:
            raw = (
                everything
                if at is None
                else [v for m, vs in minutes.items() if begin(m, PERIODS["1h"]) == at for v in vs]
            )
            assert told["count"] == len(raw)
            assert told["sum"] == pytest.approx(math.fsum(raw))
            for label, q in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
                low, high = told["within"][label]
                assert low <= rank(raw, q) <= high, (name, at, label)
                assert low <= told[label] <= high
                assert high / low <= widths[name]
        if name != "exponential":
            assert (group["whole"]["min"], group["whole"]["max"]) == (min(everything), max(everything))


def counted(points: list[tuple[datetime, float, datetime]]) -> dict[datetime, float]:
    """What a counter that began anew now and then added at each of its points; the first counts whole."""
    before, since, added = 0.0, None, {}
    for at, value, began in sorted(points):
        added[at] = value - before if began == since else value
        before, since = value, began
    return added


@pytest.mark.parametrize("seed", range(3))
async def test_cumulative_points_add_what_they_grew_by_in_whatever_order_they_come(
    take: Taker, api: Api, database: Database, seed: int
) -> None:
    pick = random.Random(seed)
    total, began, points, records = 0, START, [], []
    for step in range(150):
        at = START + timedelta(seconds=67 * step + pick.randrange(60))
        if pick.random() < 0.06:
            # The program began anew.
            total, began = 0, at - timedelta(seconds=3)
        total += pick.randrange(9)
        points.append((at, float(total), began))
        more = {"value": total, "temporality": "cumulative", "start_timestamp": began.isoformat()}
        records.append(point("jobs.done", "counter", at, labels={"queue": "mail"}, **more))
    expected = counted(points)
    pick.shuffle(records)
    for first in range(0, 150, 10):
        await take(*records[first : first + 10], records[pick.randrange(first + 1)])
        if pick.random() < 0.4:
            await fold(database)

    for period, length in PERIODS.items():
        (group,) = await api.groups("jobs.done", period, START, END)
        sums: dict[datetime, float] = defaultdict(float)
        for at, more in expected.items():
            sums[begin(at, length)] += more
        told = {datetime.fromisoformat(one["at"]): one["increase"] for one in group["points"]}
        assert told == sums, period
        assert group["whole"]["increase"] == sum(expected.values())


async def test_cumulative_histograms_count_each_value_once_in_any_order(
    take: Taker, api: Api, database: Database
) -> None:
    minutes = per_minute(3)
    pick = random.Random(4)
    so_far: list[float] = []
    records: list[dict[str, Any]] = []
    for place, (at, values) in enumerate(minutes.items()):
        so_far += values
        common = {"unit": "s", "temporality": "cumulative", "start_timestamp": START.isoformat()}
        # As SDKs do it, the scale goes down as the range of values grows.
        records.append(point("c.exponential", "histogram", at, **common, **exponential(so_far, 6 - place // 60)))
        records.append(point("c.explicit", "histogram", at, **common, **explicit(so_far)))
    pick.shuffle(records)
    for first in range(0, len(records), 60):
        await take(*records[first : first + 60])
        if first % 120:
            await fold(database)

    everything = [value for values in minutes.values() for value in values]
    for name in ("c.exponential", "c.explicit"):
        (group,) = await api.groups(name, "15m", START, END)
        for told in group["points"]:
            at = datetime.fromisoformat(told["at"])
            raw = [v for m, vs in minutes.items() if begin(m, PERIODS["15m"]) == at for v in vs]
            low, high = told["within"]["p95"]
            assert told["count"] == len(raw)
            assert low <= rank(raw, 0.95) and (high is None or rank(raw, 0.95) <= high)
        assert group["whole"]["count"] == len(everything)
        assert group["whole"]["min"] is None


async def test_the_first_cumulative_point_counts_only_where_it_says_since_when(take: Taker, api: Api) -> None:
    for minute, value in ((2, 107), (1, 104), (0, 100)):
        at = START + timedelta(minutes=minute)
        await take(point("unknown", "counter", at, value=value, temporality="cumulative"))

    (group,) = await api.groups("unknown", "1m", START, END)

    assert [one["increase"] for one in group["points"]] == [0, 4, 3]


async def test_gauges_tell_average_extremes_and_the_newest_and_add_up_across_series(
    take: Taker, api: Api, database: Database
) -> None:
    for instance, offset in (("a", 0), ("b", 100)):
        for second in (50, 10, 30):
            at = START + timedelta(seconds=second)
            await take(point("queue", "gauge", at, value=offset + second, unit="{job}", instance=instance))
        await fold(database)

    (whole,) = await api.groups("queue", "1m", START, END)
    apart = {one["labels"]["instance"]: one for one in await api.groups("queue", "1d", START, END, group_by="instance")}

    (told,) = whole["points"]
    assert told == {
        "at": "2026-04-02T20:00:00Z", "avg": 80.0, "min": 10.0, "max": 150.0, "last": 150.0, "sum": 200.0,
    }  # fmt: skip
    assert apart["a"]["whole"] == {"avg": 30.0, "min": 10.0, "max": 50.0, "last": 50.0, "sum": 50.0}
    assert apart["b"]["whole"]["last"] == 150.0


async def test_summaries_tell_counts_and_of_one_series_the_newest_quantiles(take: Taker, api: Api) -> None:
    for minute in (1, 0):
        at = START + timedelta(minutes=minute)
        quantiles = [{"quantile": 0.99, "value": 9.0 + minute}, {"quantile": 0.5, "value": 2.0}]
        await take(
            *(
                point("rpc", "summary", at, count=10, sum=25.0, quantiles=quantiles, instance=instance)
                for instance in "ab"
            )
        )

    (both,) = await api.groups("rpc", "1h", START, END)
    (one,) = await api.groups("rpc", "1h", START, END, instance="a")

    assert (both["whole"]["count"], both["whole"]["avg"], both["whole"]["quantiles"]) == (40, 2.5, None)
    assert one["points"][0]["quantiles"] == {"0.5": 2.0, "0.99": 10.0}


async def test_several_nodes_and_folders_at_once_count_each_point_once(
    tmp_path: Path, database: Database, organization: TestOrganization, api: Api, admin_connection: asyncpg.Connection
) -> None:
    nodes = [make_ingest(database, tmp_path / str(number)) for number in range(3)]
    for node in nodes:
        node.writer.start()
    takers = [Taker(node, organization.id) for node in nodes]
    pick = random.Random(5)
    records, totals = [], [0] * 4
    for step in range(120):
        worker = step % 4
        totals[worker] += pick.randrange(100)
        at = START + timedelta(seconds=20 * step)
        more = {"value": totals[worker], "temporality": "cumulative", "start_timestamp": START.isoformat()}
        records.append(point("work", "counter", at, instance=str(worker), **more))
    parts = [records[first::4] for first in range(4)]
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
    before = await api.groups("work", "1h", START, END, group_by="instance")
    await fold(database)

    assert sum(receipt.stored or 0 for receipt in receipts) == 120
    told = await api.groups("work", "1h", START, END, group_by="instance")
    assert told == before
    assert {one["labels"]["instance"]: one["whole"]["increase"] for one in told} == {
        str(number): total for number, total in enumerate(totals)
    }
    stored = await admin_connection.fetchrow(
        "SELECT (SELECT sum(sum) FROM metrics.days) AS days, (SELECT sum(sum) FROM metrics.minutes) AS minutes,"
        " (SELECT sum(sum) FROM metrics.totals) AS totals, (SELECT sum(points) FROM metrics.totals) AS points"
    )
    assert stored is not None
    assert tuple(stored) == (sum(totals), sum(totals), sum(totals), 120)


async def test_folding_that_is_cut_off_changes_nothing(
    take: Taker, api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await take(*(point("work", "counter", START + timedelta(seconds=n), value=n) for n in range(50)))
    before = await api.groups("work", "1m", START, END)

    async def cut_off(*_: Any) -> None:
        raise ConnectionError("the worker is gone")

    with monkeypatch.context() as patched:
        patched.setattr(jobs.store, "write_sums", cut_off)
        with pytest.raises(ConnectionError):
            await jobs.fold(database)

    assert await api.groups("work", "1m", START, END) == before
    assert before[0]["whole"]["increase"] == sum(range(50))
    assert await fold(database) == 50
    assert await api.groups("work", "1m", START, END) == before


async def test_old_points_and_sums_are_dropped_by_month_and_days_stay(
    take: Taker, api: Api, database: Database, admin_connection: asyncpg.Connection
) -> None:
    old = START - timedelta(days=200)
    await take(point("work", "counter", old, value=5), point("work", "counter", START, value=7))
    await fold(database)

    assert await jobs.drop_old(database, NOW) >= 2

    left = [
        await admin_connection.fetchval(f"SELECT count(*) FROM metrics.{table}")
        for table in ("points", "minutes", "quarter_hours", "hours", "days")
    ]
    assert left == [1, 1, 2, 2, 2]
    (group,) = await api.groups("work", "1w", old, END)
    assert group["whole"]["increase"] == 12


def test_exponential_samples_are_put_where_they_belong() -> None:
    assert of_samples([1.0, 2.0, 4.0, 4.1, 0.0, -3.0], 0) == Exponential(0, 1, 0.0, {-1: 1, 0: 1, 1: 1, 2: 1}, {1: 1})
