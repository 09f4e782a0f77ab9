"""Ingest over HTTP against raw binary COPY of the same rows into the same table, turn by turn.

Over HTTP a record is decoded, checked, resolved, priced, made durable, stored once and summed; COPY only stores. COPY
runs on one connection, as superuser, in pieces of the same size as the requests, each its own transaction.
"""

from __future__ import annotations

import asyncio
import io
import statistics
import time
from typing import Any

import asyncpg

from bench.node import KEY, Node
from bench.records import bodies

BATCH = 1_000
SENDERS = 8


async def measure(node: Node, *, rounds: int, rows: int) -> str:
    """Run the rounds, one of them to warm up, and return the section of the report."""
    admin = await node.admin()
    over_http: list[float] = []
    raw: list[float] = []
    for number in range(rounds + 1):
        await _empty(admin)
        seconds = await _send(node, bodies(rows // BATCH, BATCH, seed=number))
        stored = await admin.fetchval("SELECT count(*) FROM metering.calls")
        if stored != rows // BATCH * BATCH:
            raise RuntimeError(f"{stored} of {rows} rows are stored")
        pieces = await _pieces(admin)
        await _empty(admin)
        raw_seconds = await _copy(admin, pieces)
        if number:
            over_http.append(stored / seconds)
            raw.append(stored / raw_seconds)
    await _empty(admin)
    await admin.close()
    ratios = [ours / theirs for ours, theirs in zip(over_http, raw, strict=True)]
    text = (
        f"## Ingest\n\n`POST /v1/events`, batches of {BATCH:,}, {SENDERS} connections, acknowledged when committed, rollups on; "
        f"raw: binary COPY of the same {rows:,} rows into the same table. {rounds} rounds, turn by turn."
    )
    lines = [
        "| | rows a second (median) | least | most |\n|---|---|---|---|",
        f"| over HTTP | {_figures(over_http)} |",
        f"| raw COPY | {_figures(raw)} |",
        f"\n**Ratio: {statistics.median(ratios):.2f}** (each round: {', '.join(f'{ratio:.2f}' for ratio in ratios)})",
    ]
    return text + "\n\n" + "\n".join(lines)


def _figures(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f}"


async def _empty(admin: asyncpg.Connection[Any]) -> None:
    """Wait until the journal is folded, so that no work of one turn falls into the other; then empty the table."""
    while await admin.fetchval("SELECT EXISTS (SELECT FROM metering.rollup_journal)"):
        await asyncio.sleep(0.2)
    await admin.execute("TRUNCATE metering.calls")
    await admin.execute("CHECKPOINT")


async def _send(node: Node, requests: list[bytes]) -> float:
    """Send the bodies over connections that stay open; returns seconds from first byte to last acknowledgement."""
    head = (
        f"POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\n"
        "content-type: application/json\r\ncontent-length: "
    ).encode()
    waiting = [b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in requests]

    async def sender() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port, limit=2**20)
        while waiting:
            writer.write(waiting.pop())
            answer = await reader.readuntil(b"\r\n\r\n")
            lines = answer.lower().split(b"\r\n")
            length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
            receipt = await reader.readexactly(length)
            if b" 200 " not in lines[0] or b'"stored":%d' % BATCH not in receipt:
                raise RuntimeError(f"{lines[0].decode()}: {receipt[:500].decode()}")
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return time.perf_counter() - began


async def _pieces(admin: asyncpg.Connection[Any]) -> list[bytes]:
    """Read the stored rows back as COPY streams of one batch each."""
    pieces: list[bytes] = []
    total = await admin.fetchval("SELECT count(*) FROM metering.calls")
    await admin.execute(
        "CREATE TEMPORARY TABLE copied AS SELECT row_number() OVER (ORDER BY received_at, id) AS place, c AS row "
        "FROM metering.calls AS c"
    )
    await admin.execute("CREATE INDEX ON copied (place)")
    for first in range(1, total + 1, BATCH):
        stream = io.BytesIO()
        statement = f"SELECT (row).* FROM copied WHERE place BETWEEN {first} AND {first + BATCH - 1} ORDER BY place"
        await admin.copy_from_query(statement, output=stream, format="binary")
        pieces.append(stream.getvalue())
    await admin.execute("DROP TABLE copied")
    return pieces


async def _copy(admin: asyncpg.Connection[Any], pieces: list[bytes]) -> float:
    began = time.perf_counter()
    for piece in pieces:
        await admin.copy_to_table("calls", schema_name="metering", source=io.BytesIO(piece), format="binary")
    return time.perf_counter() - began
