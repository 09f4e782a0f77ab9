"""Live streams: many browsers of one organization hold `/api/live` open while calls come in, as a wall of dashboards does.

Lag is from before a request with calls is sent until a stream holds the bytes that announce them; so it holds the commit,
and the quarter of a second by which announcements are gathered. Memory is what the web processes grew by, resident (RSS) and
of their own alone (USS), from when a few streams had been opened and closed until all were open and had heard something.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psutil

from bench.node import KEY, Node
from bench.records import bodies
from nexus.identity import sessions
from nexus.identity.authentication import COOKIE
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import SYSTEM_ACTOR
from nexus.platform.db.configuration import get_configuration

STREAMS = 1_000
QUIET_ROUNDS = 20
BUSY_SECONDS = 10.0
BUSY_EVERY_SECONDS = 0.1
KEY_CHANGES = 3
_CALLS = 10
_WARM = 100
_OPENING = 50
_CHECK_SECONDS = 60.0


class _Announced(msgspec.Struct):
    stored: int


_decode = msgspec.json.Decoder(_Announced).decode


class _Stream(asyncio.Protocol):
    """One browser's stream. Tells how many calls it heard of, and when."""

    def __init__(self, head: bytes, heard: Callable[[_Stream, int, float], None]) -> None:
        self._head = head
        self._heard = heard
        self._rest = b""
        self.is_open = asyncio.get_running_loop().create_future()
        self.ended_at: float | None = None
        self.seen = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """Read the events that came."""
        now = time.perf_counter()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b'data: {"stored"'):
                if not self.is_open.done():
                    self.is_open.set_result(None)
                count = _decode(line[6:]).stored
                if count:
                    self.seen += count
                    self._heard(self, count, now)
            elif line.startswith(b"HTTP/1.1 ") and b" 200 " not in line:
                self.is_open.set_exception(RuntimeError(f"the stream was refused: {line.decode()}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it ended."""
        self.ended_at = time.perf_counter()
        if not self.is_open.done():
            self.is_open.set_exception(RuntimeError("the stream ended before it began"))


@dataclass
class _Wall:
    """All streams, and the lags they had."""

    lags: list[float] = field(default_factory=list)
    sent: list[tuple[int, float]] = field(default_factory=list)
    """Calls sent up to and with each request, and when that began."""
    total: int = 0
    places: dict[_Stream, int] = field(default_factory=dict)
    missing: int = 0
    is_told: asyncio.Event = field(default_factory=asyncio.Event)
    streams: list[_Stream] = field(default_factory=list)

    def heard(self, stream: _Stream, count: int, now: float) -> None:
        """Note a lag for each request that a stream now knows all of, and whether all streams know everything."""
        place = self.places.get(stream, 0)
        while place < len(self.sent) and stream.seen >= self.sent[place][0]:
            self.lags.append(now - self.sent[place][1])
            place += 1
        self.places[stream] = place
        # More than were sent: Redis took an announcement but answered too late, so that it was made again.
        if stream.seen - count < self.total <= stream.seen:
            self.missing -= 1
            if self.missing == 0:
                self.is_told.set()

    async def all_told(self) -> None:
        """Wait until every stream heard of everything."""
        try:
            await asyncio.wait_for(self.is_told.wait(), _CHECK_SECONDS)
        except TimeoutError:
            ended = sum(stream.ended_at is not None for stream in self.streams)
            late = sorted(self.total - stream.seen for stream in self.streams if stream.seen < self.total)
            raise RuntimeError(f"{len(late)} streams miss calls ({late[:3]}…), {ended} have ended") from None

    def note(self, count: int) -> None:
        """Note that calls are being sent."""
        self.total += count
        self.sent.append((self.total, time.perf_counter()))
        self.missing = sum(stream.seen < self.total for stream in self.streams)
        if self.missing:
            self.is_told.clear()


async def measure(node: Node, *, streams: int = STREAMS) -> str:
    """Open the streams, send calls, and return the section of the report."""
    _raise_limit(streams)
    cookies = await _sessions(node, streams)
    processes = node.web_processes()
    wall = _Wall()
    requests = deque(bodies(1_000, _CALLS, seed=7))
    sender = await _Sender.open(node)
    await _open(node, cookies, _WARM, wall)
    await _rounds(wall, sender, requests, 3)
    await _close(wall)
    await sender.send(requests.popleft())
    await asyncio.sleep(2)
    before = _memory(processes)
    wall = _Wall()
    began = time.perf_counter()
    await _open(node, cookies, streams, wall)
    opening = time.perf_counter() - began
    await _rounds(wall, sender, requests, QUIET_ROUNDS)
    quiet, wall.lags = wall.lags, []
    cpu_before = _cpu(processes)
    began = time.perf_counter()
    sent_until = began + BUSY_SECONDS
    while time.perf_counter() < sent_until:
        wall.note(_CALLS)
        await sender.send(requests.popleft())
        await asyncio.sleep(BUSY_EVERY_SECONDS)
    await wall.all_told()
    busy, wall.lags = wall.lags, []
    cpu = (_cpu(processes) - cpu_before) / (time.perf_counter() - began)
    asked_again = await _while_keys_change(node, wall, sender, requests)
    after = _memory(processes)
    stopping = time.perf_counter()
    stop = asyncio.create_task(asyncio.to_thread(node.stop))
    while any(stream.ended_at is None for stream in wall.streams):
        if time.perf_counter() - stopping > _CHECK_SECONDS:
            raise RuntimeError("streams stay open after the node stopped")
        await asyncio.sleep(0.01)
    await stop
    closing = max(stream.ended_at or 0 for stream in wall.streams) - stopping
    each = {name: (after[name] - before[name]) / streams / 1000 for name in before}
    return (
        f"## Live streams\n\n{streams:,} streams of one organization, each of a session of its own, over {len(processes)} web "
        f"processes, opened in {opening:.1f} s; calls through `POST /v1/events`.\n\n"
        "| lag, ms | median | p95 | most |\n|---|---|---|---|\n"
        f"| one request of calls at a time, {QUIET_ROUNDS} times | {_figures(quiet)} |\n"
        f"| a request each {BUSY_EVERY_SECONDS * 1000:.0f} ms for {BUSY_SECONDS:.0f} s | {_figures(busy)} |\n"
        f"| while all streams are asked whether they still may, {KEY_CHANGES} times | {_figures(asked_again)} |\n\n"
        f"Memory a stream: **{each['rss']:.0f} kB** (RSS; their own, USS, {each['uss']:.0f} kB). The web processes took "
        f"{cpu:.2f} cores in the busy part. All streams had ended {closing:.1f} s after the node was told to stop."
    )


def _figures(lags: list[float]) -> str:
    ordered = sorted(lag * 1000 for lag in lags)
    return f"{statistics.median(ordered):.0f} | {ordered[int(len(ordered) * 0.95)]:.0f} | {ordered[-1]:.0f}"


def _raise_limit(streams: int) -> None:
    """Let this process open a socket for each stream."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < streams + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, streams + 1000), hard))


async def _sessions(node: Node, count: int) -> list[bytes]:
    """Open sessions of the first administrator, as signing in does; return their cookies. Each browser has its own."""
    database = await node.database()
    try:
        async with database.as_system() as connection:
            user_id = await connection.fetchval("SELECT id FROM identity.users ORDER BY created_at LIMIT 1")
            configuration = await get_configuration(connection)
            at = SYSTEM_CLOCK.now()
            opened = [
                await sessions.open_session(connection, user_id, SYSTEM_ACTOR, at, configuration) for _ in range(count)
            ]
    finally:
        await database.close()
    return [f"{COOKIE}={session.token}".encode() for session in opened]


async def _open(node: Node, cookies: list[bytes], count: int, wall: _Wall) -> None:
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(_OPENING)

    async def one(number: int) -> _Stream:
        cookie = cookies[number % len(cookies)]
        head = b"GET /api/live HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\ncookie: %b\r\n\r\n" % cookie
        async with gate:
            _, stream = await loop.create_connection(lambda: _Stream(head, wall.heard), "127.0.0.1", node.port)
            await asyncio.wait_for(stream.is_open, _CHECK_SECONDS)
        return stream

    wall.streams += await asyncio.gather(*(one(number) for number in range(count)))


async def _while_keys_change(node: Node, wall: _Wall, sender: _Sender, requests: deque[bytes]) -> list[float]:
    """Make access keys, after each of which every stream's session is looked up anew, and send calls right after."""
    for number in range(KEY_CHANGES):
        await node.post("/api/identity/access-keys", {"name": f"another-{number}", "scopes": ["events:write"]})
        for _ in range(5):
            wall.note(_CALLS)
            await sender.send(requests.popleft())
            await asyncio.sleep(0.25)
        await wall.all_told()
    lags, wall.lags = wall.lags, []
    return lags


async def _close(wall: _Wall) -> None:
    for stream in wall.streams:
        if stream.transport is not None:
            stream.transport.close()
    await asyncio.sleep(0)


async def _rounds(wall: _Wall, sender: _Sender, requests: deque[bytes], count: int) -> None:
    for _ in range(count):
        wall.note(_CALLS)
        await sender.send(requests.popleft())
        await wall.all_told()
        # What is told at once after a rest, and what waits for the next quarter of a second: both happen.
        await asyncio.sleep(0.13)


class _Sender:
    """Sends records over one connection, so that one process announces them, in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, node: Node) -> _Sender:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", node.port))

    async def send(self, body: bytes) -> None:
        """Send records and wait until they are stored."""
        self._writer.write(
            f"POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
        receipt = await self._reader.readexactly(length)
        if b" 200 " not in lines[0] or b'"stored":%d' % _CALLS not in receipt:
            raise RuntimeError(f"{lines[0].decode()}: {receipt[:300].decode()}")


def _memory(processes: list[psutil.Process]) -> dict[str, int]:
    found = [process.memory_full_info() for process in processes]
    return {"uss": sum(item.uss for item in found), "rss": sum(item.rss for item in found)}


def _cpu(processes: list[psutil.Process]) -> float:
    times: list[Any] = [process.cpu_times() for process in processes]
    return sum(item.user + item.system for item in times)
