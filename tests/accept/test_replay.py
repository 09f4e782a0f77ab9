"""Recorded traffic replayed into a running node: the figures are those of the file, however often and however it is sent.

Looks for LLM traces and access logs below `llm_traces` and `api_access_logs` of the folder that NEXUS_ACCEPT_DATA names;
what a file is, its content tells. What is expected is computed here, from the file, without the product's code.
"""

from __future__ import annotations

import gzip
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import IO, Any

import pytest

from tests.races.node import Node

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FOLDER = os.environ.get("NEXUS_ACCEPT_DATA", "")
PROVIDER, _, MODEL = os.environ.get("NEXUS_ACCEPT_MODEL", "openai/gpt-4o").partition("/")
MAX_ROWS = int(os.environ.get("NEXUS_ACCEPT_ROWS", "100000"))
"""Of a file with more records a copy of its first ones is replayed."""
KNOWN = {"azure_llm_2023_conv_first_half": 9_683, "apache_semicomplete_first_6000": 6_000}
"""Calls in files that the issue of this house names."""
COLUMNS = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}
LOGGED = re.compile(r'^\S+ \S+ .+ \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "')
FIGURES = re.compile(
    r"(\d+) acknowledged \((\d+) new, (\d+) known before, (\d+) spooled\), (\d+) refused, (\d+) malformed"
)

pytestmark = pytest.mark.skipif(not FOLDER, reason="NEXUS_ACCEPT_DATA names no folder of data: make accept DATA=folder")


def unpacked(path: Path) -> IO[str]:
    with path.open("rb") as file:
        magic = file.read(4)
    opened = gzip.open if magic[:2] == b"\x1f\x8b" else zstd.open if magic == b"\x28\xb5\x2f\xfd" else open
    return opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="\n")  # type: ignore[operator, no-any-return]


def kind_of(path: Path) -> str:
    with unpacked(path) as file:
        first = file.readline(10_000)
    if {name.strip() for name in first.split(",")} >= COLUMNS:
        return "trace"
    return "log" if LOGGED.match(first) else "other"


def found(kind: str) -> list[Path]:
    folders = [Path(FOLDER) / name for name in ("llm_traces", "api_access_logs")] if FOLDER else []
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in files if kind_of(path) == kind]


TRACES, LOGS, OTHERS = found("trace"), found("log"), found("other")


def head_of(path: Path, folder: Path, *, header: int) -> Path:
    """The file itself, or a copy of its first records where there are very many."""
    with unpacked(path) as file:
        rows = sum(1 for line in file if line.strip()) - header
    if rows <= MAX_ROWS:
        return path
    print(f"{path.name}: {rows} records, of which the first {MAX_ROWS} are replayed")
    copy = folder / path.name.removesuffix(".gz").removesuffix(".zst")
    with unpacked(path) as file, copy.open("w", encoding="utf-8", newline="") as out:
        out.writelines(line for line, _ in zip(file, range(MAX_ROWS + header), strict=False))
    return copy


def in_every_form(path: Path, folder: Path) -> Iterator[Path]:
    """The same content plain and compressed in both ways, under names that do not tell."""
    with unpacked(path) as file:
        content = file.buffer.read()  # type: ignore[attr-defined]
    for name, packed in (("plain", content), ("gzip", gzip.compress(content)), ("zstd", zstd.compress(content))):
        other = folder / f"{name}.recording"
        other.write_bytes(packed)
        yield other


def figures(output: str) -> Counter[str]:
    found = FIGURES.match(output)
    assert found, output
    names = ("acknowledged", "new", "known before", "spooled", "refused", "malformed")
    return +Counter(dict(zip(names, map(int, found.groups()), strict=True)))


def difference(after: dict[str, Any], before: dict[str, Any]) -> dict[str, Decimal]:
    return {
        name: Decimal(after[name] or 0) - Decimal(before[name] or 0)
        for name in ("requests", "errors", "unpriced", "cost", "tokens_input", "tokens_output", "bytes_response")
    }


async def replay_in_every_way(
    node: Node, path: Path, folder: Path, *options: str, provider: str
) -> tuple[Counter[str], dict[str, Decimal]]:
    """Replay a file, then again in every form, shifted and not; returns what the first one said and added."""
    before = await node.total(provider=provider)
    first = node.command("replay", path, "--provider", provider, *options)
    said, once = figures(first.stdout), await node.total(provider=provider)
    print(f"{path.name}: {first.stdout.splitlines()[0]}")
    again = {**said, "new": 0, "known before": said["acknowledged"]}
    ways = [(path, ()), (path, ("--shift-to-now",)), *((form, ()) for form in in_every_form(path, folder))]
    for file, way in ways:
        done = node.command("replay", file, "--provider", provider, *options, *way)
        assert figures(done.stdout) == +Counter(again), (file, way)
        assert await node.total(provider=provider) == once
    assert first.stderr == ""
    assert first.returncode == (1 if said["refused"] or said["malformed"] else 0)
    return said, difference(once, before)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.name)
async def test_trace_costs_what_ten_lines_compute(node: Node, tmp_path: Path, path: Path) -> None:
    path = head_of(path, tmp_path, header=1)
    answer = await node.ask("/api/catalog/prices", provider=PROVIDER, model=MODEL, limit="500")
    prices = [price for price in answer["items"] if price["tier"] == "standard" and not price["region"]]
    assert prices, f"the price book has no price of {PROVIDER} {MODEL}: set NEXUS_ACCEPT_MODEL=provider/model"

    calls, tokens_in, tokens_out, cost = 0, 0, 0, Decimal(0)
    with unpacked(path) as file:
        names = [name.strip() for name in next(file).split(",")]
        for row in (dict(zip(names, line.split(","), strict=False)) for line in file if line.strip()):
            at = datetime.fromisoformat(row["TIMESTAMP"])
            each = price_of(prices, at if at.tzinfo else at.replace(tzinfo=UTC))
            a, b = int(row["ContextTokens"]), int(row["GeneratedTokens"])
            calls, tokens_in, tokens_out = calls + 1, tokens_in + a, tokens_out + b
            cost += (a * each["input"] + b * each["output"]).quantize(Decimal("1e-9"), ROUND_HALF_EVEN)
    said, added = await replay_in_every_way(node, path, tmp_path, "--model", MODEL, provider=PROVIDER)

    assert calls == min(KNOWN.get(path.stem, calls), MAX_ROWS)
    assert said == {"acknowledged": calls, "new": calls}
    assert added == {
        "requests": calls,
        "errors": 0,
        "unpriced": 0,
        "cost": cost,
        "tokens_input": tokens_in,
        "tokens_output": tokens_out,
        "bytes_response": 0,
    }
    print(f"{path.name}: {tokens_in} tokens in, {tokens_out} out, {cost} USD as {PROVIDER} {MODEL}")


def price_of(prices: list[dict[str, Any]], at: datetime) -> dict[str, Decimal]:
    """What a token costs at an instant, by kind."""
    (price,) = [
        price
        for price in prices
        if (price["valid_from"] is None or datetime.fromisoformat(price["valid_from"]) <= at)
        and (price["valid_to"] is None or at < datetime.fromisoformat(price["valid_to"]))
    ]
    assert not (
        price["variant"] or price["daily_from"] or any(part["context_above"] for part in price["components"])
    ), f"{PROVIDER} {MODEL} has several prices at once: set NEXUS_ACCEPT_MODEL to a model with a plain one"
    return {part["unit"]: Decimal(part["amount"]) / part["per"] for part in price["components"]}


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.name)
async def test_every_line_of_a_log_is_a_call(node: Node, tmp_path: Path, path: Path) -> None:
    path = head_of(path, tmp_path, header=0)
    with unpacked(path) as file:
        lines = [line for line in file if line.strip()]
    answered = [re.search(r'" (\d{3}) (\d+|-)(?: |$)', line.rstrip()) for line in lines]
    statuses = Counter(one[1] for one in answered if one)
    served = sum(int(one[2]) for one in answered if one and one[2] != "-")
    before = await by_status(node)
    said, added = await replay_in_every_way(node, path, tmp_path, provider="log")
    after = await by_status(node)

    odd = said["malformed"] + said["refused"]
    assert len(lines) == min(KNOWN.get(path.name.split(".")[0], len(lines)), MAX_ROWS)
    assert said["new"] + odd == len(lines)
    # What looks like an answered request is one.
    assert said["new"] >= statuses.total()
    assert added["requests"] == said["new"]
    if not odd:
        assert after - before == statuses
        assert added["bytes_response"] == served
        assert added["errors"] == sum(count for status, count in statuses.items() if int(status) >= 400)
    print(f"{path.name}: {len(lines)} lines, {len(lines) - len(set(lines))} of them repeat an earlier one, {odd} odd")


async def by_status(node: Node) -> Counter[str]:
    widest = {"from": "1990-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    answer = await node.ask("/api/metering/summary", group_by="status_code", provider="log", **widest)
    return Counter({str(group["status_code"]): int(group["requests"]) for group in answer["groups"]})


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.name)
async def test_file_of_another_kind_is_refused_and_leaves_nothing(node: Node, path: Path) -> None:
    before = await node.total()

    done = node.command("replay", path)

    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    if done.stderr:
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
    else:
        assert figures(done.stdout)["acknowledged"] == 0
    assert await node.total() == before


def test_there_are_recordings() -> None:
    assert TRACES, f"{FOLDER}/llm_traces holds no LLM trace (a CSV with the columns {', '.join(sorted(COLUMNS))})"
    assert LOGS, f"{FOLDER}/api_access_logs holds no access log of Apache or nginx"
