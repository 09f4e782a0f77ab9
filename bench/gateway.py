"""The gateway against a bare proxy and LiteLLM's: the same client, the same sandbox, turn by turn, in one run.

The bare proxy is an aiohttp server with an aiohttp client, which forwards a body and streams the answer, and does nothing
else: no keys, no usage, no records. The gateway runs as the product does, with recording and pricing on; each call it
answered is counted in PostgreSQL afterwards. Proxies and gateway have one process each. Beside it the same gateway serves an
organization with twelve limits that every call is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

from bench import litellm_proxy
from bench.node import KEY, Node, free_port

BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Say in one sentence what a gateway is."}]}'
STREAM_BODY = BODY[:-1] + b',"stream":true}'
MANY = 1_000
LIMITS: list[dict[str, object]] = [
    {"name": "requests", "dimension": "requests", "rate": "1000000"},
    {
        "name": "requests-a-day",
        "dimension": "requests",
        "method": "fixed_window",
        "amount": "1000000000",
        "period": "day",
    },
    {"name": "tokens", "dimension": "tokens", "rate": "1000000000", "per": "minute"},
    {"name": "bytes", "dimension": "bytes", "rate": "1000000000"},
    {"name": "in-flight", "dimension": "concurrency", "method": "concurrency", "amount": "100000"},
    {
        "name": "budget",
        "dimension": "money",
        "method": "fixed_window",
        "amount": "1000000",
        "period": "month",
        "currency": "USD",
    },
]
"""For the organization as a whole and for each of its keys: none is ever reached, and each is asked for every call."""
_READY_SECONDS = 90


@dataclass
class Target:
    """One of those that are compared."""

    name: str
    url: str
    key: str = KEY
    is_ours: bool = False
    is_slow: bool = False
    """Measured in fewer rounds and calls: more would add time to the bench, and nothing to the answer."""
    rates: dict[int, float] = field(default_factory=dict)
    """Requests a second, by round."""
    alone: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    memory: float | None = None
    process: psutil.Process | None = None
    processor: dict[int, float] = field(default_factory=dict)
    """Seconds of processor time of its process for each call, by round."""
    others_seconds: Callable[[], float] | None = None
    """Tells the processor time that other processes took which work for it."""
    others: dict[int, float] = field(default_factory=dict)
    """Seconds of theirs for each call, by round."""
    answered: int = 0
    refused: int = 0
    """Calls refused because the limiter did not answer in time, and a limit of money waits for it."""

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates.values())

    def ratios(self, other: Target) -> list[float]:
        """Rates by those of another, round by round."""
        return [self.rates[number] / other.rates[number] for number in sorted(self.rates.keys() & other.rates.keys())]


async def measure(node: Node, *, rounds: int, seconds: float, folder: Path) -> str:
    """Measure rates, added time and memory, and return the section of the report."""
    async with contextlib.AsyncExitStack() as stack:
        sandbox_url, _ = await stack.enter_async_context(_child("sandbox"))
        proxy_url, proxy = await stack.enter_async_context(_child("proxy", sandbox_url))
        await node.add_credential("openai", sandbox_url)
        sandbox = Target("sandbox", f"{sandbox_url}/v1")
        bare = Target("bare proxy", f"{proxy_url}/v1")
        gateway = Target("gateway", f"{node.url}/gw/openai/v1", is_ours=True)
        limited_key = await node.add_limited_organization("openai", sandbox_url, LIMITS)
        limited = Target(f"gateway, {len(LIMITS) * 2} limits in force", gateway.url, limited_key, is_ours=True)
        targets = [bare, gateway, limited]
        bare.process = psutil.Process(proxy.pid)
        gateway.process = limited.process = node.web_process()
        gateway.others_seconds = limited.others_seconds = node.others_seconds
        peers, said = await _litellm(stack, sandbox_url, folder)
        for target in [sandbox, *targets]:
            await _until_ready(target)
        for peer in peers:
            try:
                await _until_ready(peer)
                targets.append(peer)
            except RuntimeError as error:
                said = f"{peer.name} is not measured: {error}."
        await _until_limited(limited)
        for number in range(rounds + 1):
            for target in targets:
                # The first round is to warm up; of a slow one two are measured.
                if target.is_slow and number not in {0, 1, rounds}:
                    continue
                before, others_before = _processor_seconds(target), _others_seconds(target)
                count, took = await _load(target, connections=32, seconds=seconds if number else seconds / 4)
                if number:
                    target.rates[number] = count / took
                    target.processor[number] = (_processor_seconds(target) - before) / max(1, count)
                    target.others[number] = (_others_seconds(target) - others_before) / max(1, count)
        for _ in range(3):
            for target in [*targets, sandbox]:
                await _alone(target, BODY, 40 if target.is_slow else 400, target.alone)
                await _alone(target, STREAM_BODY, 20 if target.is_slow else 200, target.first, first_byte=True)
        for target in (bare, gateway):
            target.memory = await _many_slow_streams(target)
        answered = sum(target.answered for target in targets if target.is_ours)
        stored = await _stored(node, answered)
    if stored != answered:
        raise RuntimeError(f"{stored} of {answered} calls are recorded")
    return _section(targets, sandbox, rounds=rounds, seconds=seconds, stored=stored, said=said)


async def _litellm(stack: contextlib.AsyncExitStack, sandbox_url: str, folder: Path) -> tuple[list[Target], str]:
    """Install LiteLLM and start it both ways; says why not where that fails."""
    try:
        installed = await asyncio.to_thread(litellm_proxy.install)
    except litellm_proxy.NotInstalledError as error:
        return [], f"LiteLLM is not measured: {error}."
    targets: list[Target] = []
    for more, writes_costs in (("", False), (", costs written to a file", True)):
        own = folder / f"litellm-{len(targets)}"
        url, process = await stack.enter_async_context(
            litellm_proxy.serving(installed, sandbox_url, own, writes_costs=writes_costs)
        )
        name = f"LiteLLM proxy {installed.version}{more}"
        targets.append(Target(name, url, litellm_proxy.KEY, is_slow=True, process=psutil.Process(process.pid)))
    return targets, ""


def _section(targets: list[Target], sandbox: Target, *, rounds: int, seconds: float, stored: int, said: str) -> str:
    def added(target: Target, times: str) -> float:
        own: list[float] = getattr(target, times)
        return (statistics.median(own) - statistics.median(getattr(sandbox, times))) * 1000

    what = (
        "OpenAI chat against `nexus sandbox` on the same machine, recording and pricing on, one process each; "
        f"{rounds} rounds of {seconds:.0f} s, turn by turn. LiteLLM (in two of the rounds) as its documentation has it: "
        "`litellm --config` with a `master_key`, one worker, its own defaults, no database; without one it records nothing, so "
        "it is measured as it is, and with its documentation's callback that writes the cost of each call to a file. Processor "
        "time is that of the process that serves, and behind the plus that of worker, PostgreSQL and Redis, which store calls.\n"
    )
    columns = (
        "| | requests a second, 32 connections (median) | least | most | processor time for each call, µs | "
        "added at one connection, p50 ms | added to the first "
        f"streamed byte, p50 ms | memory for {MANY:,} slow streams, MB |"
    )
    lines = ["## Gateway\n", what, columns, "|---|---|---|---|---|---|---|---|"]
    lines += [
        f"| {item.name} | {item.rate:,.0f} | {min(item.rates.values()):,.0f} | {max(item.rates.values()):,.0f} | "
        f"{_micros(item)} | "
        f"{added(item, 'alone'):.2f} | {added(item, 'first'):.2f} | {'' if item.memory is None else f'{item.memory:.0f}'} |"
        for item in targets
    ]
    bare, gateway, limited, *peers = targets
    lines.append("")
    lines += [
        f"**{one.name} : {other.name} = {statistics.median(found):.{digits}f}** "
        f"(each round: {', '.join(f'{ratio:.{digits}f}' for ratio in found)}).  "
        for one, other, digits in [(gateway, bare, 2), (limited, gateway, 2), *((gateway, peer, 0) for peer in peers)]
        for found in [one.ratios(other)]
    ]
    if limited.refused:
        lines.append(f"{limited.refused:,} calls were refused as the limiter did not answer in time.  ")
    if said:
        lines.append(said + "  ")
    lines.append(f"Each of the {stored:,} calls that the gateway answered is stored once.")
    return "\n".join(lines)


def _request(target: Target, body: bytes, **headers: str) -> bytes:
    host, port, path = _place(target.url)
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path}/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {target.key}\r\n"
        f"content-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _place(url: str) -> tuple[str, int, str]:
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    return name, int(port), "/" + path


async def _answer(reader: asyncio.StreamReader) -> bool:
    """Read one answer, of a known length or in chunks; tells whether it is one, or the limiter's "not now".

    As little client as can be: it shares the cores.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    is_answer = b" 200 " in head[:16]
    if not is_answer and b"limiter_unavailable" not in head:
        raise RuntimeError(f"the answer is {head[:400]!r}")
    at = head.find(b"content-length: ")
    if at >= 0:
        await reader.readexactly(int(head[at + 16 : head.index(b"\r", at)]))
        return is_answer
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        await reader.readexactly(size + 2)
        if not size:
            return is_answer


def _micros(target: Target) -> str:
    """Write the processor time of one call: its process's, and that of others where there are any."""
    text = f"{statistics.median(target.processor.values()) * 1e6:,.0f}"
    if target.others_seconds is None:
        return text
    return f"{text} + {statistics.median(target.others.values()) * 1e6:,.0f}"


def _others_seconds(target: Target) -> float:
    return 0.0 if target.others_seconds is None else target.others_seconds()


def _processor_seconds(target: Target) -> float:
    if target.process is None:
        return 0.0
    times = target.process.cpu_times()
    return float(times.user + times.system)


async def _load(target: Target, *, connections: int, seconds: float) -> tuple[int, float]:
    host, port, _ = _place(target.url)
    request = _request(target, BODY)
    end = time.perf_counter() + seconds
    count = 0

    async def one() -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection(host, port)
        while time.perf_counter() < end:
            writer.write(request)
            if await _answer(reader):
                count += 1
            else:
                target.refused += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    target.answered += count
    return count, time.perf_counter() - began


async def _alone(target: Target, body: bytes, times: int, found: list[float], *, first_byte: bool = False) -> None:
    host, port, _ = _place(target.url)
    request = _request(target, body)
    reader, writer = await asyncio.open_connection(host, port)
    for _ in range(times):
        began = time.perf_counter()
        writer.write(request)
        if first_byte:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"limiter_unavailable" in head:
                await reader.readuntil(b"}}")
                target.refused += 1
                continue
            await reader.readuntil(b"\n\n")
            found.append(time.perf_counter() - began)
            if b"chunked" not in head:
                raise RuntimeError(f"{target.name} does not stream: {head[:400]!r}")
            await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            if not await _answer(reader):
                target.refused += 1
                continue
            found.append(time.perf_counter() - began)
        target.answered += 1
    writer.close()


async def _many_slow_streams(target: Target) -> float:
    """Hold streams open at once; returns by how many megabytes the process grew."""
    process = target.process
    assert process is not None
    host, port, _ = _place(target.url)
    request = _request(target, STREAM_BODY, x_sandbox_chunks="20", x_sandbox_chunk_ms="500")
    before = process.memory_info().rss
    gate = asyncio.Semaphore(64)
    peak = before

    async def one() -> None:
        async with gate:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(request)
            await reader.readuntil(b"\n\n")
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(one() for _ in range(MANY)))
    watching.cancel()
    target.answered += MANY
    return (peak - before) / 1e6


async def _stored(node: Node, expected: int) -> int:
    admin = await node.admin()
    stored = 0
    for _ in range(600):
        stored = await admin.fetchval(
            "SELECT count(*) FROM metering.calls WHERE provider = 'openai' AND cost IS NOT NULL"
        )
        if stored >= expected:
            break
        await asyncio.sleep(0.1)
    await admin.close()
    return stored


async def _until_ready(target: Target) -> None:
    """Wait for a first answer; LiteLLM takes its time."""
    host, port, _ = _place(target.url)
    trouble: Exception | None = None
    for _ in range(_READY_SECONDS * 10):
        try:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(_request(target, BODY))
            is_answer = await _answer(reader)
            writer.close()
            if is_answer:
                target.answered += 1
                return
        except (OSError, RuntimeError, asyncio.IncompleteReadError) as error:
            trouble = error
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{target.name} does not answer: {trouble}")


async def _until_limited(target: Target) -> None:
    """Wait until answers tell of limits: measured before, it would be the gateway without any."""
    host, port, _ = _place(target.url)
    for _ in range(100):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(_request(target, BODY))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        writer.close()
        target.answered += 1
        if b"\r\nratelimit" in head:
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"no limits are in force for {target.name}")


@contextlib.asynccontextmanager
async def _child(kind: str, *arguments: str) -> AsyncIterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.gateway", kind, str(port), *arguments], env=os.environ)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(10)


def _bare_proxy(port: int, upstream: str) -> None:
    """Serve the baseline."""
    import uvloop

    uvloop.install()

    async def make() -> web.Application:
        session = ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar(), connector=TCPConnector(limit=0))

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = {
                name: value for name, value in request.headers.items() if name.lower() not in {"host", "content-length"}
            }
            async with session.request(
                request.method, upstream + request.path_qs, headers=headers, data=await request.read()
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() != "transfer-encoding"}
                if answer.content_length is not None:
                    return web.Response(status=answer.status, headers=kept, body=await answer.read())
                passed = web.StreamResponse(status=answer.status, headers=kept)
                await passed.prepare(request)
                async for chunk in answer.content.iter_any():
                    await passed.write(chunk)
                await passed.write_eof()
                return passed

        async def close(app: web.Application) -> None:
            await session.close()

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        app.on_cleanup.append(close)
        return app

    web.run_app(make(), host="127.0.0.1", port=port, print=None, access_log=None)


def _main(arguments: list[str]) -> None:
    kinds: dict[str, Callable[..., Any]] = {"proxy": _bare_proxy, "sandbox": _sandbox}
    kind, port, *rest = arguments
    kinds[kind](int(port), *rest)


def _sandbox(port: int) -> Awaitable[None] | None:
    import uvloop

    from nexus.sandbox.app import serve

    uvloop.run(serve("127.0.0.1", port))
    return None


if __name__ == "__main__":
    _main(sys.argv[1:])
