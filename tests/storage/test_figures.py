"""Figures of storage equal a recomputation over the windows that were sent, folded or not; limits stand beside them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from nexus.admission import jobs as admission_jobs
from nexus.contracts.limits import Call
from nexus.dataplane.decide.engine import Admission
from nexus.kit.ids import uuid7
from nexus.kit.latency import RELATIVE_ERROR
from nexus.platform.db import Database
from nexus.storage import jobs
from tests.admission.conftest import Api as AdmissionApi
from tests.admission.conftest import api as admission_api
from tests.conftest import TestOrganization
from tests.mcp.conftest import NOW, Api, Taker, api, take

__all__ = ["admission_api", "api", "take"]
START = NOW - timedelta(days=3, hours=5, minutes=7, seconds=11)
COUNTS = ("read_ops", "write_ops", "error_count", "bytes_read", "bytes_written")
NAMES = ("application", "cluster", "operation")


def made(seed: int, count: int, start: datetime = START, end: datetime = NOW) -> list[dict[str, Any]]:
    """Windows of all kinds, at times that fall anywhere."""
    pick = random.Random(seed)
    records = []
    for _ in range(count):
        at = start + (end - start) * pick.random()
        record: dict[str, Any] = {
            "type": "storage",
            "id": str(uuid7(at)) if pick.random() < 0.7 else f"w-{pick.getrandbits(60)}",
            "timestamp": at.isoformat(),
            "application": pick.choice(["shop", "blog", "batch"]),
            "cluster": pick.choice(["east", "west"]),
            "operation": pick.choice(["read_small", "write_large"]),
            **{name: pick.randrange(10_000) for name in COUNTS if pick.random() < 0.9 or name == "read_ops"},
        }
        if pick.random() < 0.8:
            record["window_seconds"] = pick.choice([0.5, 1, 10, 60])
        if pick.random() < 0.8:
            record |= {
                "avg_latency_ms": round(pick.lognormvariate(1, 1), 3),
                "p95_latency_ms": 9.0,
                "p99_latency_ms": 12.5,
            }
        if pick.random() < 0.3:
            record |= {
                "peak_throughput_bytes_per_second": pick.randrange(50_000) + 0.5,
                "connection_count": pick.randrange(9),
            }
        records.append(record)
    return records


def assert_figures(found: dict[str, Any], records: Iterable[dict[str, Any]], seconds: float) -> None:
    rows = list(records)
    sums = {name: sum(row.get(name, 0) for row in rows) for name in COUNTS}
    assert {name: found[name] for name in COUNTS} == sums and found["windows"] == len(rows)
    assert found["operations"] == sums["read_ops"] + sums["write_ops"]
    assert found["iops"] == pytest.approx(found["operations"] / seconds, abs=0.001)
    assert found["bytes_per_second"] == pytest.approx((sums["bytes_read"] + sums["bytes_written"]) / seconds, abs=0.001)
    timed = [row for row in rows if "window_seconds" in row]
    iops = [(row.get("read_ops", 0) + row.get("write_ops", 0)) / row["window_seconds"] for row in timed]
    speeds = [(row.get("bytes_read", 0) + row.get("bytes_written", 0)) / row["window_seconds"] for row in timed]
    speeds += [row["peak_throughput_bytes_per_second"] for row in rows if "peak_throughput_bytes_per_second" in row]
    assert found["peak_iops"] == (pytest.approx(max(iops), abs=0.001) if iops else None)
    assert found["peak_bytes_per_second"] == (pytest.approx(max(speeds), abs=0.001) if speeds else None)
    known = [
        (row["avg_latency_ms"], row.get("read_ops", 0) + row.get("write_ops", 0))
        for row in rows
        if "avg_latency_ms" in row
    ]
    operations = sum(count for _, count in known)
    mean = sum(round(ms * 1000) * count for ms, count in known) / operations / 1000 if operations else None
    assert found["latency_avg_ms"] == (None if mean is None else pytest.approx(mean, abs=0.001))
    assert found["highest_p99_latency_ms"] == (12.5 if known else None)
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        if known:
            latencies = sorted(ms for ms, _ in known)
            exact = latencies[max(1, -int(-(q * len(latencies) - 1e-9) // 1)) - 1]
            assert found[f"window_latency_{name}_ms"] == pytest.approx(exact, rel=RELATIVE_ERROR + 1e-6, abs=0.002)


def within(records: Iterable[dict[str, Any]], start: datetime, end: datetime) -> list[dict[str, Any]]:
    return [row for row in records if start <= datetime.fromisoformat(row["timestamp"]) < end]


async def ask(api: Api, path: str, start: datetime, end: datetime, **more: Any) -> httpx.Response:
    asked = {"from": start.isoformat(), "to": end.isoformat(), **more}
    return await api.http.get(f"/api/storage/{path}", params=asked, headers={"authorization": f"Bearer {api.key}"})


async def fold(database: Database) -> int:
    total = 0
    while moved := await jobs.fold(database):
        total += moved
    return total


@pytest.mark.parametrize("is_folded", ["not", "half", "all"])
async def test_figures_are_those_of_the_windows(
    take: Taker, api: Api, database: Database, organization: TestOrganization, is_folded: str
) -> None:
    records = made(7, 600)
    for first in range(0, len(records), 150):
        await take(organization.id, records[first : first + 150])
        if is_folded == "half" and first == 300:
            assert await fold(database) > 0
    # Sent again, with another time: nothing changes.
    again = await take(organization.id, [row | {"timestamp": NOW.isoformat()} for row in records[100:200]])
    assert (again.stored, again.duplicates) == (0, 100)
    if is_folded == "all":
        await fold(database)

    ranges = [
        (START, NOW),
        (START + timedelta(hours=7, microseconds=1), NOW - timedelta(hours=3, seconds=7)),
        (NOW - timedelta(minutes=31), NOW),
    ]
    for start, end in ranges:
        mine = within(records, start, end)
        seconds = (end - start).total_seconds()
        for names in (("application",), ("operation",), NAMES):
            body = (await ask(api, "summary", start, end, group_by=",".join(names), limit=500)).json()
            assert_figures(body["total"], mine, seconds)
            groups = {tuple(item[name] for name in names): item for item in body["items"]}
            assert set(groups) == {tuple(row[name] for name in names) for row in mine} and len(groups) == body["groups"]
            for key, item in groups.items():
                assert_figures(item, [row for row in mine if tuple(row[name] for name in names) == key], seconds)
        operations = [item["operations"] for item in (await ask(api, "summary", start, end)).json()["items"]]
        assert operations == sorted(operations, reverse=True)


@pytest.mark.parametrize(("interval", "tz"), [("1h", "UTC"), ("1d", "Asia/Kolkata"), ("1m", "UTC")])
async def test_points_of_a_series_are_those_of_their_windows(
    take: Taker, api: Api, database: Database, organization: TestOrganization, interval: str, tz: str
) -> None:
    start = NOW - timedelta(hours=5, seconds=7) if interval == "1m" else START
    records = made(11, 300, start)
    await take(organization.id, records)
    await fold(database)
    body = (await ask(api, "series", start, NOW, interval=interval, tz=tz, application="shop")).json()

    mine = [row for row in within(records, start, NOW) if row["application"] == "shop"]
    assert_figures(body["total"], mine, (NOW - start).total_seconds())
    step = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}[interval]
    assert sum(point["windows"] for point in body["points"]) == len(mine) > 50
    for point in body["points"]:
        low = datetime.fromisoformat(point["at"])
        high = min(low + step, NOW)
        assert_figures(point, within(mine, low, high), (high - max(low, start)).total_seconds())


async def test_a_window_is_kept_and_shown_as_it_was_sent_and_what_says_nothing_is_refused(
    take: Taker, api: Api, organization: TestOrganization
) -> None:
    sent = {
        "type": "storage", "id": str(uuid7(NOW)), "timestamp": NOW.isoformat(), "application": "shop", "cluster": "east",
        "operation": "read_small", "environment": "staging", "window_seconds": 10, "read_ops": 5, "write_ops": 1,
        "error_count": 2, "bytes_read": 100, "bytes_written": 20, "avg_latency_ms": 1.5, "p95_latency_ms": 2.5,
        "p99_latency_ms": 3.5,
        "peak_throughput_bytes_per_second": 99.5, "connection_count": 4, "tags": {"team": "a"},
        "metadata": {"note": "password=hunter2hunter2"},
    }  # fmt: skip
    receipt = await take(
        organization.id, [sent, {"type": "storage"}, {"type": "storage", "read_ops": -1, "window_seconds": 0}]
    )
    assert receipt.stored == 1
    faults = {refused.index: {fault.field for fault in refused.errors} for refused in receipt.refused}
    assert faults[1] >= {"read_ops"} and faults[2] >= {"read_ops", "window_seconds"}
    await take(organization.id, [{"type": "storage", "id": f"more-{number}", "write_ops": 0} for number in range(3)])

    later = NOW + timedelta(seconds=1)
    page = (await ask(api, "windows", NOW, later, limit=3)).json()
    rest = (await ask(api, "windows", NOW, later, limit=3, cursor=page["next_cursor"])).json()
    assert rest["next_cursor"] is None and len(page["items"]) + len(rest["items"]) == 4
    (shown,) = (item for item in page["items"] + rest["items"] if item["application"] == "shop")
    known = {name: value for name, value in sent.items() if name not in {"type", "metadata", "timestamp"}}
    assert {name: shown[name] for name in known} == known and shown["avg_throughput_bytes_per_second"] == 12.0
    assert "hunter2" not in str(shown) and datetime.fromisoformat(shown["timestamp"]) == NOW
    for path, parameters in (
        ("summary", {"group_by": "host"}), ("summary", {"sort": "x"}), ("series", {}), ("series", {"interval": "2h"}),
        ("windows", {"limit": "0"}), ("summary", {"nothing": "1"}), ("limits", {"application": "shop"}),
    ):  # fmt: skip
        assert (await ask(api, path, NOW, later, **parameters)).status_code in {403, 422}


async def test_limits_of_applications_stand_beside_what_they_were_admitted(
    admission_api: AdmissionApi, database: Database, organization: TestOrganization
) -> None:
    for name, scope in (("each", "application"), ("all", "organization")):
        limits = [
            {"name": f"{name}-iops", "dimension": "operations", "rate": "500", "per": "second"},
            {"name": f"{name}-bandwidth", "dimension": "bytes", "rate": "1000000", "per": "second"},
            {"name": f"{name}-tokens", "dimension": "tokens", "rate": "10", "per": "day"},
        ]
        made = await admission_api.post("quotas", {"name": name, "scope": scope, "reason": "try", "limits": limits})
        assert made.status_code == 201, made.text
    await admission_api.limits.refresh()
    engine = Admission(admission_api.redis, lambda: admission_api.limits.table, timeout_seconds=5)
    for _ in range(3):
        await engine.decide(Call(organization_id=organization.id, application="shop", bytes=400))
    await asyncio.sleep(0.05)
    await admission_jobs.drain_cell(database, admission_api.redis, organization.id)
    await engine.stop()

    now = datetime.now(UTC) + timedelta(seconds=5)
    headers = {"authorization": f"Bearer {admission_api.key}"}
    asked = {"from": (now - timedelta(hours=1)).isoformat(), "to": now.isoformat()}
    body = (await admission_api.http.get("/api/storage/limits", params=asked, headers=headers)).json()
    found = {item["dimension"]: (item["name"], item["application"], item["per_second"]) for item in body["limits"]}
    assert found == {"operations": ("each-iops", None, 500.0), "bytes": ("each-bandwidth", None, 1_000_000.0)}
    units = {(item["application"], item["dimension"]): item["units"] for item in body["admitted"]}
    assert units["shop", "bytes"] == 1200
    assert all(application == "shop" for application, _ in units)
    year = {"from": (now - timedelta(days=300)).isoformat(), "to": now.isoformat()}
    assert (await admission_api.http.get("/api/storage/limits", params=year, headers=headers)).json()[
        "admitted"
    ] is None
