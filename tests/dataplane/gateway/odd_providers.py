"""Providers that misbehave, each in a way of its own: what a gateway meets sooner or later."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BOMB_BYTES = 400 * 2**20
"""What the bombs unpack to."""
_MEGABYTE = 2**20


def chunk(content: bytes) -> bytes:
    """One chunk of a chunked body."""
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


async def read_request(reader: asyncio.StreamReader) -> None:
    """Read one request, its body too."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.find(b"content-length: ")
    if at >= 0:
        await reader.readexactly(int(head[at + 16 : head.index(b"\r", at)]))


@contextlib.asynccontextmanager
async def raw_server(answer: Answer) -> AsyncIterator[str]:
    """A provider that speaks TCP only: each connection is given to `answer` once its request is read."""
    running: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await read_request(reader)
            await answer(reader, writer)
        writer.close()
        running.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(running):
            task.cancel()


async def _write(writer: asyncio.StreamWriter, content: bytes) -> None:
    writer.write(content)
    await writer.drain()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never answers."""
    await reader.read()


async def slow_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends its headers one byte at a time, without an end."""
    await _write(writer, b"HTTP/1.1 200 OK\r\nx-slow: ")
    while True:
        await _write(writer, b"y")
        await asyncio.sleep(0.02)


async def slow_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends an answer of known length one byte at a time."""
    await _write(writer, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{")
    while True:
        await _write(writer, b" ")
        await asyncio.sleep(0.02)


async def empty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes without a word."""


async def malformed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks no HTTP."""
    await _write(writer, b"220 mail.example ESMTP ready\r\n\r\n")


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Breaks off within an answer of known length."""
    await _write(writer, b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{"id":')


async def bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends what unpacks to a thousand times its size."""
    packed = await asyncio.to_thread(_packed, b'{"x":"', b"0" * _MEGABYTE)
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed)}"
    )
    await _write(writer, head.encode() + b"\r\n\r\n" + packed)


async def bomb_of_events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a stream of comments that unpacks to a thousand times its size, though plain bytes were asked for."""
    packed = await asyncio.to_thread(_packed, b"", (b": " + b"0" * 1021 + b"\n") * 1023 + b": " + b"0" * 1020 + b"\n\n")
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
    await _write(writer, head + chunk(packed) + b"0\r\n\r\n")


def _packed(first: bytes, megabyte: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    parts = [packer.compress(first)]
    parts += [packer.compress(megabyte) for _ in range(BOMB_BYTES // _MEGABYTE)]
    return b"".join([*parts, packer.flush()])


def breaking(event: bytes) -> Answer:
    """A stream that ends after one event, in the middle of a chunk."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _write(writer, STREAM_HEAD + chunk(event) + b"fff\r\ndata: {")

    return answer


def endless(event: bytes) -> Answer:
    """A stream that goes on for ever."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _write(writer, STREAM_HEAD)
        while True:
            await _write(writer, chunk(event))
            await asyncio.sleep(0.02)

    return answer


WITHOUT_A_STREAM: dict[str, tuple[Answer, int, dict[str, float]]] = {
    "silent": (silent, 504, {"first_byte_seconds": 0.5}),
    "slow head": (slow_head, 504, {"first_byte_seconds": 0.5}),
    "slow body": (slow_body, 504, {"total_seconds": 0.5}),
    "empty": (empty, 502, {}),
    "malformed": (malformed, 502, {}),
    "half an answer": (half, 502, {}),
}
"""What the client hears of them, the status, and how long the gateway is to wait for them."""
