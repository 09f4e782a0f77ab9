"""A whole node for tests that kill: `nexus up` in a folder of its own, and senders that never give up a batch."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import aiohttp
import asyncpg
import msgspec
import psutil

from nexus.entry.supervisor import ProcessEntry, read_processes
from nexus.kit.ids import opaque_uuid, uuid7
from nexus.platform.db.embedded import EmbeddedPostgres
from tests.races.prepared import copy

ROOT = Path(__file__).parents[2]
Condition = Callable[[], Awaitable[Any] | Any]


async def until(condition: Condition, what: str, *, within_seconds: float = 240) -> Any:
    """Wait until something is true and return it; the limit only ends a test that hangs."""
    async with asyncio.timeout(within_seconds) as limit:
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            if limit.expired():
                break
            await asyncio.sleep(0.05)
    raise AssertionError(f"in {within_seconds} seconds it did not come to: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Node:
    """One `nexus up`."""

    data_dir: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    admin_url: str | None = None
    """The superuser's login, where PostgreSQL is not the embedded one."""
    prepared: Path | None = None
    """The data directory that its own begins as a copy of; None: its first start makes everything."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it writes to standard error."""
        return self.data_dir.with_suffix(".log")

    @property
    def output(self) -> Path:
        """What it writes to standard output."""
        return self.data_dir.with_suffix(".out")

    @property
    def processes_file(self) -> Path:
        return self.data_dir / "run" / "processes.json"

    def variables(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
        return {
            **clean,
            "NEXUS_DATA_DIR": str(self.data_dir),
            "NEXUS_PORT": str(self.port),
            "NEXUS_LOG_FORMAT": "json",
            **self.environment,
        }

    def first_start(self) -> dict[str, str]:
        return msgspec.json.decode((self.data_dir / "first-start.json").read_bytes(), type=dict[str, str])

    def processes(self) -> list[ProcessEntry]:
        return read_processes(self.processes_file)

    def pids(self, role: str) -> list[int]:
        return [entry.pid for entry in self.processes() if entry.role == role]

    def start(self, **options: Any) -> None:
        """Begin; `options` are those of `subprocess.Popen`."""
        if self.prepared is not None and not self.data_dir.exists():
            copy(self.prepared, self.data_dir)
        with self.log.open("ab") as log, self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nexus", "up"],
                cwd=ROOT,
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                **options,
            )

    def command(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command as its operator would, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "nexus", *map(str, arguments)],
            cwd=ROOT,
            env=self.variables() | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    async def health(self) -> dict[str, Any] | None:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client,
                client.get(f"{self.url}/health/ready") as answer,
            ):
                return msgspec.json.decode(await answer.read(), type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def is_ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"nexus up ended: {self.log.read_text()[-3000:]}")
        found = await self.health()
        return found is not None and found["status"] == "ready"

    async def wait_ready(self) -> None:
        await until(self.is_ready, "the node is ready")

    async def killed_and_replaced(self, role: str) -> None:
        """Kill one process of a role and wait until another one runs and the node is ready again."""
        pid = self.pids(role)[-1]
        count = len(self.pids(role))
        os.kill(pid, signal.SIGKILL)
        await until(
            lambda: pid not in self.pids(role) and len(self.pids(role)) == count, f"another {role} in place of {pid}"
        )
        await self.wait_ready()

    async def kill_supervisor(self) -> list[int]:
        """Kill the supervisor; returns the other processes, which must end by themselves."""
        assert self.process is not None
        others = [entry.pid for entry in self.processes() if entry.role != "supervisor"]
        self.process.kill()
        self.process.wait()
        return others

    async def kill_everything(self) -> None:
        """Kill all processes at once, the supervisor first so that it cannot start any again."""
        assert self.process is not None
        tree = psutil.Process(self.process.pid).children(recursive=True)
        for process in [psutil.Process(self.process.pid), *tree]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def postgres_processes(self) -> list[psutil.Process]:
        """The server and its children, the server first, so that one that is being started is seen."""
        postmaster = psutil.Process(self.pids("postgres")[0])
        return [postmaster, *postmaster.children(recursive=True)]

    async def stop(self) -> int:
        """Stop cleanly; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 90)

    def sweep(self) -> None:
        """Leave nothing running, however a test ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(40)
            if self.process.poll() is None:
                for process in [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()

    async def admin(self) -> asyncpg.Connection[Any]:
        url = self.admin_url or EmbeddedPostgres(self.data_dir).url("postgres", "nexus")
        return await asyncpg.connect(url, statement_cache_size=0)

    async def stored(self) -> Counter[UUID]:
        """How often each id is stored."""
        connection = await self.admin()
        try:
            rows = await connection.fetch("SELECT id, count(*) AS times FROM metering.calls GROUP BY id")
        finally:
            await connection.close()
        return Counter({row["id"]: row["times"] for row in rows})

    async def spool_is_empty(self) -> bool:
        found = await self.health()
        return found is not None and found["parts"]["spool"] == {"status": "up", "detail": ""}

    async def ask(self, path: str, **query: str) -> dict[str, Any]:
        """What the API answers to the first start's key."""
        headers = {"authorization": f"Bearer {self.first_start()['access_key']}"}
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{self.url}{path}", params=query, headers=headers) as answer,
        ):
            content = await answer.read()
            assert answer.status == 200, content
            return msgspec.json.decode(content, type=dict[str, Any])

    async def total(self, **filters: str) -> dict[str, Any]:
        """The meter's figures over all time."""
        found = await self.ask(
            "/api/metering/summary", **{"from": "1990-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}, **filters
        )
        return dict(found["total"])

    async def counted(self) -> int:
        """How many requests the meter says there were."""
        return int((await self.total())["requests"])


BATCH = 20


class Senders:
    """Four senders. Each sends a batch, with the same ids, until it is acknowledged, and only then the next."""

    def __init__(self, node: Node, count: int = 4) -> None:
        self._node = node
        self._tasks: list[asyncio.Task[None]] = []
        self._count = count
        self.sent: set[UUID] = set()
        self.acknowledged: dict[UUID, str] = {}
        self.batches: Counter[str] = Counter()
        """Batches acknowledged, by durability."""
        self.statuses: Counter[int] = Counter()

    async def __aenter__(self) -> Self:
        key = self._node.first_start()["access_key"]
        self._tasks = [asyncio.create_task(self._send(number, key)) for number in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    async def progress(self, batches: int = 4, durability: str | None = None) -> None:
        """Wait until so many more batches are acknowledged (in this way)."""

        def count() -> int:
            return self.batches.total() if durability is None else self.batches[durability]

        target = count() + batches
        await until(lambda: count() >= target or self._fallen(), f"{batches} more batches acknowledged")

    def _fallen(self) -> bool:
        for task in self._tasks:
            if task.done():
                task.result()
        return False

    async def _send(self, number: int, key: str) -> None:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=30)
        serial = 0
        while True:
            names = [
                f"order {number} {serial} {position}" if position % 4 == 0 else str(uuid7())
                for position in range(BATCH)
            ]
            ids = [UUID(name) if len(name) == 36 else opaque_uuid(name) for name in names]
            body = msgspec.json.encode([_record(name) for name in names])
            self.sent.update(ids)
            serial += 1
            while True:
                try:
                    # A connection of its own each time: after a kill the next one reaches whoever serves now.
                    async with (
                        aiohttp.ClientSession(timeout=timeout) as client,
                        client.post(f"{self._node.url}/v1/events", data=body, headers=headers) as answer,
                    ):
                        self.statuses[answer.status] += 1
                        if answer.status in {200, 202}:
                            receipt = await answer.json()
                            assert receipt["accepted"] == BATCH, receipt
                            self.acknowledged.update(dict.fromkeys(ids, receipt["durability"]))
                            self.batches[receipt["durability"]] += 1
                            break
                        assert answer.status in {429, 503}, (answer.status, await answer.text())
                except (aiohttp.ClientError, TimeoutError, OSError):
                    pass
                await asyncio.sleep(0.05)


def _record(name: str) -> dict[str, object]:
    return {
        "type": "api_call",
        "id": name,
        "provider": "openai",
        "model": "gpt-4o",
        "status_code": 200,
        "response_time_ms": 120,
        "tokens": {"input": 100, "output": 10},
    }


async def assert_exactly_once(node: Node, senders: Senders) -> None:
    """Every acknowledged record is there once, nothing is there twice, and the meter counts what is there."""
    await until(node.spool_is_empty, "the spool is drained")
    # What was on its way when its sender ended may still be stored: compare what stood still meanwhile.
    stored, counted = await node.stored(), await node.counted()
    while (after := await node.stored()) != stored:
        stored, counted = after, await node.counted()
    lost = set(senders.acknowledged) - set(stored)
    doubled = [name for name, times in stored.items() if times > 1]
    strange = set(stored) - senders.sent
    assert (len(lost), len(doubled), len(strange)) == (0, 0, 0)
    assert counted == len(stored)
