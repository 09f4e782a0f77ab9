"""100,000 records from four programs, Nexus killed and started again in the middle: all there, exactly once."""

from __future__ import annotations

from pathlib import Path

from nexus_client import Client

from tests.races.node import Node, until
from tests.sdk.programs import Program, assert_all_there_once

EACH = 25_000


async def test_nothing_is_lost_or_doubled_while_nexus_is_killed(node: Node, tmp_path: Path) -> None:
    before = (await node.stored()).total()
    programs = [Program(node, tmp_path / "ids", count=EACH, pause_seconds=0.02) for _ in range(4)]

    async def stored(count: int) -> bool:
        return (await node.stored()).total() >= before + count

    await until(lambda: stored(EACH // 2), "the first records came")
    await node.killed_and_replaced("web")
    await until(lambda: stored(EACH), "more records came")
    await node.kill_everything()
    node.start()
    await until(node.is_ready, "the node is ready again", within_seconds=300)
    said = [await program.wait(600) for program in programs]
    recorded = set.union(*(program.recorded() for program in programs))

    assert len(recorded) == 4 * EACH, said
    with Client(node.url, node.first_start()["access_key"], spool_dir=tmp_path / "spool") as client:
        client.recover()
        await assert_all_there_once(node, recorded, within_seconds=300)
