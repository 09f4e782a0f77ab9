"""The gateway against a bare proxy: the same client, the same sandbox, turn by turn, in one run.

The bare proxy is an aiohttp server with an aiohttp client, which forwards a body and streams the answer, and does nothing
else: no keys, no usage, no records. The gateway runs as the product does, with recording and pricing on; each call it
answered is counted in PostgreSQL afterwards. Proxy and gateway have one process each.
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
from typing import Any

import psutil
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

from bench.node import KEY, Node, free_port

BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Say in one sentence what a gateway is."}]}'
STREAM_BODY = BODY[:-1] + b',"stream":true}'
MANY = 1_000


async def measure(node: Node, *, rounds: int, seconds: float) -> str:
    """Measure rates, added time and memory, and return the section of the report."""
    async with _child("sandbox") as (sandbox_url, _), _child("proxy", sandbox_url) as (proxy_url, proxy):
        await node.add_credential("openai", sandbox_url)
        targets = {"bare proxy": f"{proxy_url}/v1", "gateway": f"{node.url}/gw/openai/v1"}
        for url in (f"{sandbox_url}/v1", *targets.values()):
            await _until_ready(url)
        answered = 1
        rates: dict[str, list[float]] = {name: [] for name in targets}
        for number in range(rounds + 1):
            for name, url in targets.items():
                count, took = await _load(url, connections=32, seconds=seconds)
                answered += count if name == "gateway" else 0
                if number:
                    rates[name].append(count / took)
        alone: dict[str, list[float]] = {name: [] for name in [*targets, "sandbox"]}
        first: dict[str, list[float]] = {name: [] for name in [*targets, "sandbox"]}
        for _ in range(3):
            for name, url in [*targets.items(), ("sandbox", f"{sandbox_url}/v1")]:
                alone[name] += await _alone(url, BODY, 400)
                first[name] += await _alone(url, STREAM_BODY, 200, first_byte=True)
                answered += 600 if name == "gateway" else 0
        memory = {}
        for name, url in targets.items():
            process = psutil.Process(proxy.pid) if name == "bare proxy" else node.web_process()
            memory[name] = await _many_slow_streams(url, process)
            answered += MANY if name == "gateway" else 0
        stored = await _stored(node, answered)
    ratios = [ours / bare for ours, bare in zip(rates["gateway"], rates["bare proxy"], strict=True)]
    added = {name: statistics.median(times) - statistics.median(alone["sandbox"]) for name, times in alone.items()}
    early = {name: statistics.median(times) - statistics.median(first["sandbox"]) for name, times in first.items()}
    what = (
        "## Gateway\n\nOpenAI chat against `nexus sandbox` on the same machine, recording and pricing on, one process each; "
        f"{rounds} rounds of {seconds:.0f} s, turn by turn.\n"
    )
    columns = (
        "| | requests a second, 32 connections (median) | least | most | added at one connection, p50 ms | added to the first "
        f"streamed byte, p50 ms | memory for {MANY:,} slow streams, MB |\n|---|---|---|---|---|---|---|"
    )
    lines = [what, columns]
    lines += [
        f"| {name} | {statistics.median(rates[name]):,.0f} | {min(rates[name]):,.0f} | {max(rates[name]):,.0f} | "
        f"{added[name] * 1000:.2f} | {early[name] * 1000:.2f} | {memory[name]:.0f} |"
        for name in targets
    ]
    lines.append(
        f"\n**Ratio: {statistics.median(ratios):.2f}** (each round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}). "
        f"Calls answered by the gateway: {answered:,}; records stored: {stored:,}."
    )
    if stored != answered:
        raise RuntimeError(f"{stored} of {answered} calls are recorded")
    return "\n".join(lines)


def _request(body: bytes, path: str, host: str, **headers: str) -> bytes:
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {path}/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _place(url: str) -> tuple[str, int, str]:
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    return name, int(port), "/" + path


async def _answer(reader: asyncio.StreamReader) -> None:
    """Read one answer, of a known length or in chunks. As little client as can be: it shares the cores."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b" 200 " not in head[:16]:
        raise RuntimeError(f"the answer is {head[:60]!r}")
    at = head.find(b"content-length: ")
    if at >= 0:
        await reader.readexactly(int(head[at + 16 : head.index(b"\r", at)]))
        return
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        await reader.readexactly(size + 2)
        if not size:
            return


async def _load(url: str, *, connections: int, seconds: float) -> tuple[int, float]:
    host, port, path = _place(url)
    request = _request(BODY, path, f"{host}:{port}")
    end = time.perf_counter() + seconds
    count = 0

    async def one() -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection(host, port)
        while time.perf_counter() < end:
            writer.write(request)
            await _answer(reader)
            count += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return count, time.perf_counter() - began


async def _alone(url: str, body: bytes, times: int, *, first_byte: bool = False) -> list[float]:
    host, port, path = _place(url)
    request = _request(body, path, f"{host}:{port}")
    reader, writer = await asyncio.open_connection(host, port)
    found: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        writer.write(request)
        if first_byte:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readuntil(b"\n\n")
            found.append(time.perf_counter() - began)
            assert b"chunked" in head
            await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            await _answer(reader)
            found.append(time.perf_counter() - began)
    writer.close()
    return found


async def _many_slow_streams(url: str, process: psutil.Process) -> float:
    """Hold streams open at once; returns by how many megabytes the process grew."""
    host, port, path = _place(url)
    request = _request(STREAM_BODY, path, f"{host}:{port}", x_sandbox_chunks="20", x_sandbox_chunk_ms="500")
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


async def _until_ready(url: str) -> None:
    host, port, path = _place(url)
    for _ in range(100):
        with contextlib.suppress(OSError, RuntimeError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(_request(BODY, path, f"{host}:{port}"))
            await _answer(reader)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} does not answer")


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
