"""However a client misbehaves, it gets a clear end, the provider is spared what it need not see, and the gateway stays well."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import aiohttp
import psutil
import pytest

from nexus.dataplane.gateway import request as gateway_request
from nexus.platform.web import server
from tests.dataplane.gateway.conftest import Node, bearer
from tests.dataplane.gateway.echo import Echo
from tests.dataplane.gateway.test_more_clients import reached
from tests.dataplane.gateway.test_odd_providers import assert_well, client_of, lead_to

BODY = {"model": "sandbox-1", "messages": [{"role": "user", "content": "hello"}]}
HOST_AND_KEY = "host: x\r\nauthorization: Bearer {key}\r\n"


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as found:
        yield found


async def connect(node: Node) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]))


async def head_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        return await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("slug", "path"), [("openai", "v1/chat/completions"), ("anthropic", "v1/messages"), ("google", "v1beta/x:generate")]
)
async def test_a_body_that_drips_or_stops_is_408_in_its_provider_s_words(
    node: Node, slug: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_request, "BODY_IDLE_SECONDS", 0.2)
    if slug == "google":
        await reached(node, slug)
    reader, writer = await connect(node)
    writer.write(
        (f"POST /gw/{slug}/{path} HTTP/1.1\r\n" + HOST_AND_KEY.format(key=node.key)).encode()
        + b"content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    )

    head = (await head_of(reader)).lower()
    async with asyncio.timeout(60):
        length = head.partition(b"content-length: ")[2].partition(b"\r")[0]
        body = json.loads(await reader.readexactly(int(length)))
    writer.close()

    assert b" 408 " in head and b"x-nexus-error: request_timeout" in head
    told = body["error"]
    assert told.get("type") == "timeout_error" or told["status"] == "DEADLINE_EXCEEDED"
    assert node.sandbox.seen == [] and await node.calls(0) == []


async def test_a_client_that_leaves_within_its_body_costs_nothing(node: Node) -> None:
    for _ in range(20):
        _, writer = await connect(node)
        writer.write(
            b"POST /gw/openai/v1/chat/completions HTTP/1.1\r\n" + HOST_AND_KEY.format(key=node.key).encode()
            + b'content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"model":'
        )  # fmt: skip
        await writer.drain()
        writer.close()

    await assert_well(node, "openai", client_of("openai", node))
    # Two calls of the check, nothing of those who left.
    assert len(await node.calls(2)) == 2


async def test_an_empty_body_and_one_that_is_no_json_are_the_provider_s_to_refuse(
    node: Node, client: aiohttp.ClientSession
) -> None:
    bodies = [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"model": 5, "stream": "maybe"}']
    found = []
    for content in bodies:
        headers = bearer(node) | {"content-type": "application/json"}
        async with client.post(f"{node.url}/gw/openai/v1/chat/completions", data=content, headers=headers) as answer:
            found.append((answer.status, answer.headers.get("x-nexus-error")))
            await answer.read()

    # What the provider says is passed on: here it takes an empty body for an empty object.
    assert found == [(200, None), (400, None), (400, None), (400, None), (200, None)]
    assert [seen[3] for seen in node.sandbox.seen] == bodies
    await node.calls(5)


NO_HTTP = {
    "version": "GET / HTTP/9.9\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00",
    "two lengths": "POST /gw/openai/x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "length and chunks": "POST /gw/openai/x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
    "0\r\n\r\nGET /gw/openai/y HTTP/1.1\r\nhost: x\r\n\r\n",
    "chunk size": "POST /gw/openai/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "large header": "GET /gw/openai/x HTTP/1.1\r\nhost: x\r\nx-a: " + "y" * 2_000_000 + "\r\n\r\n",
    "space in name": "GET /gw/openai/x HTTP/1.1\r\nhost: x\r\nx-a : b\r\n\r\n",
}


async def test_what_is_no_http_ends_the_connection_and_reaches_no_provider(node: Node) -> None:
    found: dict[str, bytes] = {}
    for name, lines in NO_HTTP.items():
        reader, writer = await connect(node)
        try:
            writer.write(lines.encode("latin-1").replace(b"host: x\r\n", HOST_AND_KEY.format(key=node.key).encode()))
            await writer.drain()
            writer.write_eof()
            async with asyncio.timeout(60):
                found[name] = await reader.read()
        except ConnectionError:
            found[name] = b""
        writer.close()

    assert {name: got[:40] for name, got in found.items() if got and got.split(b" ")[1][:1] != b"4"} == {}
    assert [path for _, path, _, _ in node.sandbox.seen if path == "/y"] == []
    await assert_well(node, "openai", client_of("openai", node))


async def test_a_packed_bomb_passes_packed(node: Node, echo: Echo, client: aiohttp.ClientSession) -> None:
    bomb = gzip.compress(b'{"x":"' + b"0" * (64 * 2**20) + b'"}', compresslevel=1)
    before = psutil.Process().memory_info().rss
    headers = bearer(node) | {"content-type": "application/json", "content-encoding": "gzip"}

    async with client.post(f"{node.url}/gw/echo/x", data=bomb, headers=headers) as answer:
        got = json.loads(await answer.read())

    assert answer.status == 200 and got["size"] == len(bomb)
    assert psutil.Process().memory_info().rss - before < 32 * 2**20


async def test_an_endless_upload_ends_with_the_provider_s_patience(node: Node, client: aiohttp.ClientSession) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"u" * 16_384
            await asyncio.sleep(0.01)

    await lead_to(node, "openai", node.sandbox_url, first_byte_seconds=0.5)
    before = psutil.Process().memory_info().rss
    headers = bearer(node) | {"content-type": "application/octet-stream"}
    async with client.post(f"{node.url}/gw/openai/v1/files", data=endless(), headers=headers) as answer:
        told = json.loads(await answer.read())["error"]

    assert (answer.status, told["code"]) == (504, "upstream_timeout")
    assert psutil.Process().memory_info().rss - before < 64 * 2**20
    (row,) = await node.calls()
    assert row["error_type"] == "upstream_timeout"
    await assert_well(node, "openai", client_of("openai", node))


async def test_those_who_never_finish_their_headers_are_ended_and_hinder_nobody(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 2.0)
    slow = [await connect(node) for _ in range(100)]
    for _, writer in slow:
        writer.write(b"POST /gw/openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
        await writer.drain()

    await assert_well(node, "openai", client_of("openai", node))

    async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        while True:
            try:
                writer.write(b"y")
                await writer.drain()
                async with asyncio.timeout(1):
                    return await reader.read()
            except TimeoutError:
                continue
            except ConnectionError:
                return b""

    async with asyncio.timeout(300):
        answers = await asyncio.gather(*(ended(*pair) for pair in slow))
    for _, writer in slow:
        writer.close()
    assert all(answer == b"" or b" 408 " in answer or b" 400 " in answer for answer in answers)
    await assert_well(node, "openai", client_of("openai", node))
