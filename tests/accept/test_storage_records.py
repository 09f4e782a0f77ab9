"""Recorded storage traffic sent into a running node as records: operations and bytes of each tenant are those of the file.

Reads block traces (`op_time`, `io_size`, `user_namespace`, `op_name`), cache traces (`op_time`, `op`, `op_count`, `size`,
`usecase`; by name, as the order differs) and disk traces (arrival in nanoseconds, device, sector, sectors of 512 bytes, 0 to
write and 1 to read), below the folder that NEXUS_ACCEPT_DATA names; what a file is, its content tells. Operations of one second,
tenant and kind make one record. What is expected is computed here, from the file.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.races.node import Node

FOLDER = os.environ.get("NEXUS_ACCEPT_DATA", "")
MOST_LINES = 50_000
BATCH = 1_000
SECTOR = 512

pytestmark = pytest.mark.skipif(not FOLDER, reason="NEXUS_ACCEPT_DATA names no folder of data: make accept DATA=folder")


class Io(NamedTuple):
    """One recorded line."""

    second: int
    tenant: str
    operation: str
    is_read: bool
    count: int
    size: int


def of_table(path: Path) -> Iterator[Io]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        columns = set(rows.fieldnames or ())
        for _, row in zip(range(MOST_LINES), rows, strict=False):
            if columns >= {"op_time", "io_size", "user_namespace", "op_name"}:
                name, size, tenant, count = (
                    row["op_name"],
                    row["io_size"],
                    row["user_namespace"],
                    row.get("op_count") or "1",
                )
            elif columns >= {"op_time", "op", "op_count", "size", "usecase"}:
                name, size, tenant, count = row["op"], row["size"], row["usecase"], row["op_count"]
            else:
                return
            yield Io(int(float(row["op_time"])), tenant, name, name.lower().startswith("get"), int(count), int(size))


def of_disk(path: Path) -> Iterator[Io]:
    with path.open(encoding="utf-8") as file:
        for _, line in zip(range(MOST_LINES), file, strict=False):
            parts = line.split()
            if len(parts) != 5 or not all(part.isdigit() for part in parts):
                return
            at, device, _, sectors, kind = parts
            yield Io(
                int(at) // 10**9,
                f"device-{device}",
                "read" if kind == "1" else "write",
                kind == "1",
                1,
                int(sectors) * SECTOR,
            )


def recorded(path: Path) -> list[Io]:
    """The operations in a file; none where it holds something else."""
    return list(of_table(path) if path.suffix == ".csv" else of_disk(path))


FILES = [
    path for path in sorted(Path(FOLDER).rglob("*")) if path.suffix in {".csv", ".trace"} and recorded(path)
] if FOLDER else []  # fmt: skip


def windows(path: Path, trace: list[Io], end: datetime) -> list[dict[str, Any]]:
    """One record for each second, tenant and kind of operation, moved in whole so that the last second is `end`."""
    last = max(io.second for io in trace)
    found: dict[tuple[int, str, str], dict[str, Any]] = {}
    for io in trace:
        key = (io.second, io.tenant, io.operation)
        at = end - timedelta(seconds=last - io.second)
        record = found.setdefault(
            key,
            {"type": "storage", "id": f"{path.name}/{len(found)}", "timestamp": at.isoformat(), "window_seconds": 1,
             "application": f"{path.stem}/{io.tenant}", "cluster": path.stem, "operation": io.operation, "read_ops": 0,
             "write_ops": 0, "bytes_read": 0, "bytes_written": 0},
        )  # fmt: skip
        record["read_ops" if io.is_read else "write_ops"] += io.count
        record["bytes_read" if io.is_read else "bytes_written"] += io.size
    return list(found.values())


def test_some_recordings_are_there() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_figures_of_recorded_traffic_are_those_of_the_file(node: Node, path: Path) -> None:
    trace = recorded(path)
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    sent = windows(path, trace, end)
    headers = {"authorization": f"Bearer {node.first_start()['access_key']}"}
    async with aiohttp.ClientSession(headers=headers) as client:
        for is_again in (False, True):
            stored = 0
            for first in range(0, len(sent), BATCH):
                async with client.post(f"{node.url}/v1/events", json=sent[first : first + BATCH]) as answer:
                    receipt = await answer.json()
                    assert receipt["refused"] == [], receipt
                    stored += receipt["stored"]
            assert stored == (0 if is_again else len(sent))

    expected: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for io in trace:
        mine = expected[f"{path.stem}/{io.tenant}"]
        mine["read_ops" if io.is_read else "write_ops"] += io.count
        mine["bytes_read" if io.is_read else "bytes_written"] += io.size
    length = max(io.second for io in trace) - min(io.second for io in trace)
    span = {
        "from": (end - timedelta(seconds=length, minutes=1)).isoformat(), "to": (end + timedelta(seconds=1)).isoformat(),
        "cluster": path.stem,
    }  # fmt: skip
    body = await node.ask("/api/storage/summary", **span, group_by="application", limit="500")
    assert body["groups"] == len(expected)
    names = ("read_ops", "write_ops", "bytes_read", "bytes_written")
    for item in body["items"]:
        mine = expected[item["application"]]
        assert {name: item[name] for name in names} == {name: mine[name] for name in names}, item["application"]
        own = [record for record in sent if record["application"] == item["application"]]
        assert item["peak_iops"] == max(record["read_ops"] + record["write_ops"] for record in own)
        assert item["peak_bytes_per_second"] == max(record["bytes_read"] + record["bytes_written"] for record in own)
    total = body["total"]
    assert {name: total[name] for name in names} == {name: sum(of[name] for of in expected.values()) for name in names}
    assert total["iops"] == pytest.approx(sum(io.count for io in trace) / body["seconds"], abs=0.001)
    if length < 86_400:
        points = (await node.ask("/api/storage/series", **span, interval="1m"))["points"]
        minutes: dict[datetime, int] = defaultdict(int)
        for record in sent:
            at = datetime.fromisoformat(record["timestamp"]).replace(second=0)
            minutes[at] += record["bytes_read"] + record["bytes_written"]
        found = {datetime.fromisoformat(point["at"]): point["bytes_read"] + point["bytes_written"] for point in points}
        assert found == minutes
