"""Host programs: processes of their own that record calls, note the ids they were given, and end somehow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path
from uuid import UUID

from tests.races.node import ROOT, Node, until

_PROGRAM = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from nexus_client import Client

url, key, spool, ids, count, end, pause = sys.argv[2:9]
client = Client(
    url, key, spool_dir=spool, waits_when_full=True, longest_pause_seconds=0.5, timeout_seconds=5, batch_records=500
)
with open(ids, "w") as file:
    for number in range(int(count)):
        made = client.record("openai", 200, model="gpt-4o", response_time_ms=120, tokens={"input": 100, "output": 10})
        file.write(made + "\\n")
        if float(pause) and number % 50 == 0:
            time.sleep(float(pause))
    file.flush()
    if end == "killed":
        assert client.persist(60)
        print("persisted", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
print(client.stats, flush=True)
"""


class Program:
    """One host program."""

    def __init__(
        self, node: Node, folder: Path, *, count: int, end: str = "ends", pause_seconds: float = 0.0, key: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ids = folder / f"ids-{len(list(folder.iterdir()))}"
        self._ids.touch()
        arguments = [
            ROOT / "sdk" / "python" / "src", node.url, key or node.first_start()["access_key"], folder.parent / "spool",
            self._ids, count, end, pause_seconds,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_PROGRAM), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    async def wait(self, within_seconds: float = 120) -> str:
        """Wait for its end; returns what it said."""
        said, _ = await asyncio.to_thread(self.process.communicate, None, within_seconds)
        return str(said)

    def recorded(self) -> set[UUID]:
        """The ids it was given."""
        return {UUID(line) for line in self._ids.read_text().split()}


async def assert_all_there_once(node: Node, recorded: set[UUID], *, within_seconds: float = 120) -> None:
    """Wait until every record is stored; none of them twice, and the meter counts them so."""
    await until(node.spool_is_empty, "the node's spool is drained")

    async def is_there() -> bool:
        return recorded <= (await node.stored()).keys()

    await until(is_there, f"all of {len(recorded)} records are stored", within_seconds=within_seconds)
    stored = await node.stored()
    assert [name for name in recorded if stored[name] != 1] == []
    assert await node.counted() == stored.total() == len(stored)
