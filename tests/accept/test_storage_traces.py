"""Recorded storage traffic, asked for through `/v1/admit`: what each tenant is admitted in each second is what exact sums say.

Reads block traces (`op_time`, `io_size`, `user_namespace`, `op_name` by name, in seconds) and disk traces (arrival in
nanoseconds, device, sector, sectors of 512 bytes, 0 to write and 1 to read), looked for in the folder that NEXUS_ACCEPT_DATA
names, and below it. The limiter's clock is the trace's.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import httpx
import pytest
import redis.asyncio

from nexus.contracts.keys import KeyEntry, KeyTable, key_hash
from nexus.contracts.limits import Limit, LimitTable, Rate
from nexus.dataplane.decide.asgi import ADMIT_PATH, AdmissionApp
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.model import Cell
from nexus.dataplane.decide.tables import LimitSnapshots
from nexus.platform.db import Database
from tests.conftest import TestOrganization

FOLDER = os.environ.get("NEXUS_ACCEPT_DATA", "")
BLOCKS = sorted(Path(FOLDER).rglob("*block_trace*.csv")) if FOLDER else []
DISKS = sorted(Path(FOLDER).rglob("*tpcc*.trace")) if FOLDER else []
SECOND = 1_000_000
KEY = "nx_" + "a" * 43
# base, quantum and bandwidth factor of the nine operations, as the design document gives them.
COSTS = {
    "read_small": ("1", 4096, "0.0001"), "read_medium": ("2", 65536, "0.0001"), "read_large": ("5", 2**20, "0.0001"),
    "write_small": ("2", 4096, "0.0002"), "write_medium": ("4", 65536, "0.0002"), "write_large": ("10", 2**20, "0.0002"),
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="NEXUS_ACCEPT_DATA names no folder: set it to one with recorded data"
)


@dataclass(frozen=True)
class Io:
    """One recorded operation."""

    at_us: int
    tenant: str
    operation: str
    size: int


def operation_of(is_read: bool, size: int) -> str:
    kind = "read" if is_read else "write"
    return f"{kind}_{'small' if size <= 4096 else 'medium' if size <= 65536 else 'large'}"


def blocks(path: Path) -> Iterator[Io]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            size = int(row["io_size"])
            operation = operation_of(row["op_name"].startswith("get"), size)
            yield Io(int(float(row["op_time"])) * SECOND, row["user_namespace"], operation, size)


def disks(path: Path) -> Iterator[Io]:
    for line in path.read_text().splitlines():
        at, device, _, sectors, kind = line.split()
        yield Io(
            1_700_000_000 * SECOND + int(at) // 1000,
            device,
            operation_of(kind == "1", int(sectors) * 512),
            int(sectors) * 512,
        )


def limits_of(organization_id: UUID, operations: int, bytes_: int) -> tuple[Limit, ...]:
    """Each application so many operations and bytes a second, and all of them together three times as many operations."""

    def bucket(number: int, name: str, dimension: str, scope: str, a_second: int) -> Limit:
        return Limit(
            id=UUID(int=number), name=name, organization_id=organization_id, scope=scope, subject=None,  # type: ignore[arg-type]
            dimension=dimension, method="token_bucket", capacity=2 * a_second, rate=Rate.of(a_second, per_us=SECOND),  # type: ignore[arg-type]
        )  # fmt: skip

    return (
        bucket(1, "iops", "operations", "application", operations * SECOND),
        bucket(2, "bandwidth", "bytes", "application", bytes_),
        bucket(3, "together", "operations", "organization", 3 * operations * SECOND),
    )


def exact_charge(io: Io) -> int:
    base, quantum, bandwidth = COSTS[io.operation]
    return ceil((Fraction(base) + Fraction(io.size, quantum) * Fraction(bandwidth)) * 10**6)


@pytest.mark.parametrize(
    ("path", "read", "operations", "bytes_"),
    [(path, blocks, 20, 20 * 2**20) for path in BLOCKS] + [(path, disks, 2000, 8 * 2**20) for path in DISKS],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
async def test_what_a_tenant_is_admitted_in_each_second_is_exact(
    path: Path, read: object, operations: int, bytes_: int, database: Database, organization: TestOrganization, redis_url: str
) -> None:  # fmt: skip
    trace = list(read(path))  # type: ignore[operator]
    client = redis.asyncio.Redis.from_url(redis_url)
    costs = LimitSnapshots(database)
    await costs.refresh()
    limits = limits_of(organization.id, operations, bytes_)
    table = LimitTable(1, MappingProxyType({organization.id: limits}), operations=costs.table.operations)
    engine = Admission(
        client, lambda: table, timeout_seconds=30, prelude="local now = tonumber(redis.call('GET', 'nx-trace:now'))"
    )
    key = KeyEntry(organization.id, organization.id, frozenset({"*"}))
    keys = KeyTable(1, MappingProxyType({key_hash(KEY): key}))
    oracle, admitted, exact = Cell(), Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    transport = httpx.ASGITransport(AdmissionApp(engine, lambda: keys))  # type: ignore[arg-type]

    async with httpx.AsyncClient(transport=transport, base_url="http://trace") as http:
        for io in trace:
            await client.set("nx-trace:now", io.at_us)
            question = {"application": io.tenant, "operation": io.operation, "size_bytes": io.size}
            answer = await http.post(ADMIT_PATH, json=question, headers={"authorization": f"Bearer {KEY}"})
            assert answer.status_code in {200, 429}, answer.text
            charge, second = exact_charge(io), (io.tenant, io.at_us // SECOND)
            if answer.status_code == 200:
                admitted[second] += charge
                assert answer.json()["limits"][0]["charged"] == f"{charge / 10**6:f}".rstrip("0").rstrip(".")
            asked = [
                (limits[0], f"1:{io.tenant}", charge),
                (limits[1], f"2:{io.tenant}", io.size),
                (limits[2], "3", charge),
            ]
            if oracle.decide(asked, io.at_us).outcome == "admitted":
                exact[second] += charge
    await engine.stop()
    await client.aclose()

    assert admitted == exact
    assert 0 < sum(admitted.values()) < sum(map(exact_charge, trace)), "the limits are to refuse some and admit some"
