"""`nexus replay` into a running node: what is counted, what is told, and that a second time changes nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nexus.metering import replay as sending
from nexus.metering.recordings import open_recording
from tests.races.node import Node, free_port

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LOG = '203.0.113.9 - - [{at:%d}/Mar/2026:{at:%H:%M:%S} +0000] "GET /a/{number} HTTP/1.1" {status} 100 "-" "test"\n'
START = datetime(2026, 3, 14, 9, tzinfo=UTC)
WIDEST = {"from": "1990-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Node]:
    # It takes less at once than a replay sends of itself.
    node = Node(
        tmp_path_factory.mktemp("replay") / "node",
        environment={"NEXUS_WORKERS": "1", "NEXUS_INGEST_MAX_RECORDS": "300", "NEXUS_INGEST_MAX_RECORD_BYTES": "4000"},
        prepared=prepared,
    )
    node.start()
    try:
        asyncio.run(node.wait_ready())
        yield node
    finally:
        node.sweep()


def figures(output: str) -> dict[str, int]:
    names = ("acknowledged", "new", "known before", "spooled", "refused", "malformed")
    found = re.match(
        r"(\d+) acknowledged \((\d+) new, (\d+) known before, (\d+) spooled\), (\d+) refused, (\d+) malformed", output
    )
    assert found, output
    return {name: int(number) for name, number in zip(names, found.groups(), strict=True) if number != "0"}


def write_log(path: Path, lines: int = 5, repeats: int = 1) -> Path:
    content = "".join(
        LOG.format(at=START + timedelta(seconds=number), number=number, status=200) * repeats for number in range(lines)
    )
    path.write_text(content)
    return path


async def test_trace_is_counted_and_priced_once_however_often_it_is_replayed(node: Node, tmp_path: Path) -> None:
    calls = [(100 + number, 7 * number) for number in range(700)]
    rows = [f"2026-03-14 09:{number // 60:02}:{number % 60:02}.1234567,{a},{b}" for number, (a, b) in enumerate(calls)]
    path = tmp_path / "trace.csv.zst"
    path.write_bytes(zstd.compress("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]).encode()))
    command = ("replay", path, "--provider", "openai", "--model", "gpt-4o")

    first = node.command(*command)
    once = await node.total(provider="openai")
    again, shifted = node.command(*command), node.command(*command, "--shift-to-now")
    unpacked = tmp_path / "other name"
    unpacked.write_bytes(zstd.decompress(path.read_bytes()))
    plain = node.command("replay", unpacked, *command[2:])

    assert (first.returncode, first.stderr) == (0, "")
    assert figures(first.stdout) == {"acknowledged": 700, "new": 700}
    for other in (again, shifted, plain):
        assert other.returncode == 0
        assert figures(other.stdout) == {"acknowledged": 700, "known before": 700}
    assert await node.total(provider="openai") == once
    assert (once["requests"], once["unpriced"]) == (700, 0)
    assert once["tokens_input"] == sum(a for a, _ in calls)
    assert once["tokens_output"] == sum(b for _, b in calls)
    # 2.50 and 10.00 USD a million.
    assert Decimal(once["cost"]) == sum(Decimal(a) * 5 / 2 + b * 10 for a, b in calls) / 10**6


async def test_first_replay_may_be_the_shifted_one(node: Node, tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.log")
    before = datetime.now(UTC)

    shifted = node.command("replay", path, "--provider", "moved", "--shift-to-now")
    plain = node.command("replay", path, "--provider", "moved")

    assert figures(shifted.stdout) == {"acknowledged": 5, "new": 5}
    assert figures(plain.stdout) == {"acknowledged": 5, "known before": 5}
    found = await node.ask("/api/metering/calls", provider="moved", **WIDEST)
    times = sorted(datetime.fromisoformat(call["timestamp"]) for call in found["items"])
    assert before - timedelta(seconds=1) <= times[-1] <= datetime.now(UTC)
    assert [later - times[0] for later in times] == [timedelta(seconds=number) for number in range(5)]


async def test_lines_that_repeat_are_counted_each(node: Node, tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.log", lines=40, repeats=20)

    done = node.command("replay", path, "--provider", "repeats", "--batch-size", "7", "--concurrency", "8")

    assert figures(done.stdout) == {"acknowledged": 800, "new": 800}
    assert (await node.total(provider="repeats"))["requests"] == 800


async def test_odd_lines_are_named_and_the_exit_code_says_so(node: Node, tmp_path: Path) -> None:
    call = {"provider": "odd", "status_code": 200}
    rows: list[Any] = [
        {**call, "id": "first"},
        "no JSON",
        {**call, "status_code": "200"},
        {**call, "metadata": {"text": "x" * 5000}},
        {**call, "timestamp": "2026-03-14T09:00:00"},
        {**call, "id": "first"},
        call,
    ]
    path = tmp_path / "calls.ndjson.gz"
    content = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(content.encode()))

    done = node.command("replay", path)

    assert done.returncode == 1
    assert figures(done.stdout) == {"acknowledged": 3, "new": 2, "known before": 1, "refused": 3, "malformed": 1}
    told = {line.split(":")[0].strip() for line in done.stdout.splitlines()[1:]}
    assert told == {"line 2", "line 3", "line 4", "line 5"}
    assert "line 3: refused: status_code: " in done.stdout
    assert (await node.total(provider="odd"))["requests"] == 2


def test_of_very_many_odd_lines_the_first_are_named_and_the_others_counted(node: Node, tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.log", lines=2)
    path.write_text(path.read_text() + "nonsense\n" * 500)

    done = node.command("replay", path, "--provider", "many")

    assert done.returncode == 1
    assert figures(done.stdout) == {"acknowledged": 2, "new": 2, "malformed": 500}
    assert "line 3: it is no line of an access log" in done.stdout
    assert "and 480 more" in done.stdout


async def test_time_that_cannot_be_moved_is_named(node: Node, tmp_path: Path) -> None:
    call = {"provider": "far", "status_code": 200}
    rows = [{**call, "timestamp": f"{year}-01-01T00:00:00Z"} for year in ("2026", "9999")]
    path = tmp_path / "calls.ndjson"
    path.write_text("\n".join(json.dumps(row) for row in rows))

    done = node.command("replay", path, "--shift-to-now")

    assert done.returncode == 1
    assert figures(done.stdout) == {"acknowledged": 1, "new": 1, "malformed": 1}
    assert "line 1: its time cannot be moved so far" in done.stdout


async def test_rate_spreads_the_records_and_loses_none(node: Node, tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.log", lines=30)
    loop = asyncio.get_running_loop()
    began = loop.time()

    done = await sending.replay(
        open_recording(path, provider="slow"),
        sending.Target(node.url, node.first_start()["access_key"], batch_size=10, rate=50),
    )

    # The last batch is due 20 records after the first, however slow the machine is.
    assert loop.time() - began >= 20 / 50
    assert (done.stored, done.refused, done.malformed) == (30, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--key", "nx_" + "0" * 40], "Nexus answered 401"),
        (["--url", "http://127.0.0.1:{closed}/docs/"], "stays away"),
        (["--url", "{url}/docs"], "Nexus answered 404"),
        (["--rate", "0"], "--rate"),
        (["--batch-size", "0"], "--batch-size"),
        (["--format", "azure-llm-trace"], "TIMESTAMP, ContextTokens, GeneratedTokens"),
    ],
)
def test_what_keeps_a_replay_from_working_is_one_line(
    node: Node, tmp_path: Path, arguments: list[str], told: str
) -> None:
    path = write_log(tmp_path / "a.log")
    closed = free_port()

    done = node.command(
        "replay", path, "--give-up-after", "0", *(text.format(url=node.url, closed=closed) for text in arguments)
    )

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert told in done.stderr


def test_without_a_key_the_remedy_is_named(node: Node, tmp_path: Path) -> None:
    done = node.command("replay", write_log(tmp_path / "a.log"), NEXUS_DATA_DIR=str(tmp_path / "none"))

    assert done.returncode == 1
    assert "NEXUS_ACCESS_KEY" in done.stderr
    assert not (tmp_path / "none").exists()
