"""Bytes, headers and odd providers: what is passed on, what is not, and what a client is told when nothing comes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from nexus.dataplane.gateway import request as gateway_request
from tests.dataplane.gateway.conftest import SECRET, Node, bearer, free_port
from tests.dataplane.gateway.echo import Echo


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as found:
        yield found


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_path_and_query_arrives_as_sent(
    node: Node, echo: Echo, client: aiohttp.ClientSession, method: str
) -> None:
    url = aiohttp.client.URL(f"{node.url}/gw/echo/a%2Fb/%C3%A4//c?q=1%202&key=x&q=", encoded=True)

    async with client.request(method, url, headers=bearer(node) | {"x-mine": "1"}) as answer:
        got = json.loads(await answer.read())

    assert (got["method"], got["path"], got["query"]) == (method, "/base/a%2Fb/%C3%A4//c", "q=1%202&key=x&q=")
    headers = dict(map(tuple, got["headers"]))
    assert headers["x-mine"] == "1" and headers["authorization"] == f"Bearer {SECRET}"
    assert answer.headers.getall("x-many") == ["1", "2"] and "set-cookie" not in answer.headers
    (row,) = await node.calls()
    assert row["method"] == method and row["provider"] == "echo" and row["key_id"] == node.key_id


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": "Bearer {key}"}, ""),
        ({"x-api-key": "{key}"}, ""),
        ({"api-key": "{key}"}, ""),
        ({"x-goog-api-key": "{key}"}, ""),
        ({}, "?key={key}"),
        ({}, "?alt=sse&key={key}&x=1"),
        ({"authorization": "basic"}, ""),
    ],
)
async def test_the_key_is_found_where_each_provider_s_client_puts_it(
    node: Node, echo: Echo, client: aiohttp.ClientSession, headers: dict[str, str], query: str
) -> None:
    sent = {name: value.format(key=node.key) for name, value in headers.items()}
    if sent.get("authorization") == "basic":
        sent["authorization"] = aiohttp.encode_basic_auth("anyone", node.key)

    async with client.get(f"{node.url}/gw/echo/x{query.format(key=node.key)}", headers=sent) as answer:
        got = json.loads(await answer.read())

    assert answer.status == 200 and node.key not in json.dumps(got)
    assert got["query"] == ("alt=sse&x=1" if "alt" in query else "")


@pytest.mark.parametrize(
    ("form", "header"),
    [
        ("bearer", "authorization"),
        ("x-api-key", "x-api-key"),
        ("api-key", "api-key"),
        ("query_key", ""),
        ("basic", "authorization"),
    ],
)
async def test_the_credential_goes_out_in_its_form(
    node: Node, echo: Echo, client: aiohttp.ClientSession, form: str, header: str
) -> None:
    async with node.database.tenant(node.organization_id) as connection:
        await connection.execute("DELETE FROM identity.provider_credentials WHERE provider = 'echo'")
    async with node.database.as_system() as connection:
        url = await connection.fetchval("SELECT base_url FROM catalog.providers WHERE slug = 'echo'")
    await node.add_credential("echo", url, auth_form=form, secret="user:pass-word")

    async with client.get(f"{node.url}/gw/echo/x?a=1", headers=bearer(node)) as answer:
        got = json.loads(await answer.read())

    headers = dict(map(tuple, got["headers"]))
    if form == "query_key":
        assert got["query"] == "a=1&key=user%3Apass-word" and "authorization" not in headers
    else:
        assert "pass-word" in headers[header] or headers[header].startswith("Basic ")


async def test_large_uploads_and_downloads_stream_through(
    node: Node, echo: Echo, client: aiohttp.ClientSession
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(320):
            yield b"u" * 65_536

    async with client.post(f"{node.url}/gw/echo/upload", headers=bearer(node), data=chunks()) as answer:
        got = json.loads(await answer.read())
    async with client.get(f"{node.url}/gw/echo/download", headers=bearer(node)) as answer:
        size = 0
        async for part in answer.content.iter_any():
            size += len(part)

    assert got["size"] == 20 * 2**20 == size
    up, down = await node.calls(2)
    assert up["request_bytes"] == 20 * 2**20 and down["response_bytes"] == 20 * 2**20


async def test_expect_head_redirects_and_compression_pass(
    node: Node, echo: Echo, client: aiohttp.ClientSession
) -> None:
    async with client.post(f"{node.url}/gw/echo/x", headers=bearer(node), data=b"x" * 5000, expect100=True) as answer:
        assert answer.status == 200 and json.loads(await answer.read())["size"] == 5000
    async with client.head(f"{node.url}/gw/echo/x", headers=bearer(node)) as answer:
        assert answer.status == 200 and int(answer.headers["content-length"]) > 0
    async with client.get(f"{node.url}/gw/echo/moved", headers=bearer(node), allow_redirects=False) as answer:
        assert answer.status == 307 and answer.headers["location"] == "/elsewhere"
    async with client.get(f"{node.url}/gw/echo/gzip", headers=bearer(node)) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(await answer.read()))["path"] == "/base/gzip"
    assert [row["status_code"] for row in await node.calls(4)] == [200, 200, 307, 200]


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a/%2e%2e/x", "a/%2E./x", "./x"])
async def test_a_path_does_not_leave_the_provider_s_base(node: Node, echo: Echo, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]))
    writer.write(f"GET /gw/echo/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {node.key}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n")
    writer.close()

    assert b" 400 " in head and echo.requests == []


async def test_hop_by_hop_headers_and_those_a_connection_names_are_dropped(
    node: Node, echo: Echo, client: aiohttp.ClientSession
) -> None:
    headers = bearer(node) | {
        "connection": "keep-alive, x-private", "x-private": "1", "te": "trailers", "x-forwarded-for": "10.0.0.1",
        "cookie": "session=secret", "x-nexus-tags": "team=search", "proxy-authorization": "Basic x",
    }  # fmt: skip

    async with client.get(f"{node.url}/gw/echo/x", headers=headers) as answer:
        got = dict(map(tuple, json.loads(await answer.read())["headers"]))

    assert not {"x-private", "te", "x-forwarded-for", "cookie", "x-nexus-tags", "proxy-authorization"} & set(got)
    (row,) = await node.calls()
    assert row["tags"] == {"team": "search"}


async def test_unknown_providers_missing_credentials_and_addresses_that_are_private_are_told(
    node: Node, client: aiohttp.ClientSession
) -> None:
    async with node.database.as_system() as connection:
        await connection.execute(
            "INSERT INTO catalog.providers (id, organization_id, slug, name, base_url, auth_types)"
            " SELECT gen_random_uuid(), $1, s, s, u, '{none}' FROM unnest($2::text[], $3::text[]) AS x (s, u)",
            node.organization_id,
            ["meta", "meta6", "meta-number", "rebound", "no-base"],
            ["http://169.254.169.254", "http://[::1]:80", "http://2130706433", "http://localhost:9", None],
        )
        await connection.execute(
            "INSERT INTO catalog.providers (id, slug, name, base_url, auth_types)"
            " VALUES (gen_random_uuid(), 'lonely', 'Lonely', 'https://lonely.example', '{bearer}')"
        )
    await node.snapshots.refresh()
    node.gateway.upstream._guard._networks.clear()
    node.gateway.upstream._guard._judged.clear()
    found: dict[str, tuple[int, str]] = {}

    for name in ("nobody", "lonely", "meta", "meta6", "meta-number", "rebound", "no-base"):
        async with client.get(f"{node.url}/gw/{name}/x", headers=bearer(node)) as answer:
            found[name] = (answer.status, answer.headers["x-nexus-error"])
            assert "application/problem+json" in answer.headers["content-type"]

    assert found == {
        "nobody": (404, "unknown_provider"),
        "lonely": (403, "no_provider_credential"),
        "meta": (403, "address_refused"),
        "meta6": (403, "address_refused"),
        "meta-number": (403, "address_refused"),
        "rebound": (403, "address_refused"),
        "no-base": (403, "no_base_url"),
    }


async def test_a_key_without_the_scope_is_refused_and_a_revoked_one_within_a_second(
    node: Node, echo: Echo, client: aiohttp.ClientSession
) -> None:
    async with node.database.as_system() as connection:
        await connection.execute("UPDATE identity.access_keys SET scopes = '{events:write}'")
    await node.snapshots.refresh()
    async with client.get(f"{node.url}/gw/echo/x", headers=bearer(node)) as answer:
        assert (answer.status, answer.headers["x-nexus-error"]) == (403, "scope_missing")

    async with node.database.as_system() as connection:
        await connection.execute("UPDATE identity.access_keys SET scopes = '{gateway:call}', revoked_at = now()")
    await asyncio.sleep(1.0)
    async with client.get(f"{node.url}/gw/echo/x", headers=bearer(node)) as answer:
        assert (answer.status, answer.headers["x-nexus-error"]) == (401, "access_key_refused")
    assert echo.requests == []


@contextlib.asynccontextmanager
async def raw_server(answer: Any) -> AsyncIterator[str]:
    """A provider that speaks TCP only: each connection is given to `answer`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def ask(node: Node, client: aiohttp.ClientSession, url: str, **options: Any) -> tuple[int, str, bytes]:
    async with node.database.as_system() as connection:
        await connection.execute(
            "INSERT INTO catalog.providers (id, organization_id, slug, name, base_url, auth_types, metadata)"
            " VALUES (gen_random_uuid(), $1, 'odd', 'Odd', $2, '{none}', $3)",
            node.organization_id, url, {"gateway": {"error": "openai", **options}},
        )  # fmt: skip
    await node.snapshots.refresh()
    body = {"model": "sandbox-1", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    async with client.post(f"{node.url}/gw/odd/v1/chat/completions", headers=bearer(node), json=body) as answer:
        try:
            content = await answer.read()
        except aiohttp.ClientError:
            content = b"(broken)"
        return answer.status, answer.headers.get("x-nexus-error", ""), content


async def test_a_provider_that_is_not_there_is_502(node: Node, client: aiohttp.ClientSession) -> None:
    status, code, content = await ask(node, client, f"http://127.0.0.1:{free_port()}")

    assert (status, code) == (502, "upstream_not_connected")
    assert json.loads(content)["error"]["code"] == code
    (row,) = await node.calls()
    assert row["status_code"] == 0 and row["error_type"] == code


async def test_a_provider_that_says_nothing_is_504(node: Node, client: aiohttp.ClientSession) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with raw_server(silent) as url:
        status, code, _ = await ask(node, client, url, first_byte_seconds=0.3)

    assert (status, code) == (504, "upstream_timeout")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"this is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    ],
    ids=["empty", "malformed", "oversized headers", "two lengths"],
)
async def test_an_answer_that_is_no_http_is_502(node: Node, client: aiohttp.ClientSession, content: bytes) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(content)
        await writer.drain()

    async with raw_server(odd) as url:
        status, code, _ = await ask(node, client, url)

    assert (status, code) == (502, "upstream_unreachable")


async def test_a_stream_that_breaks_ends_with_an_error_the_client_understands(
    node: Node, client: aiohttp.ClientSession
) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        event = b'data: {"model":"sandbox-1","choices":[{"delta":{"content":"half a sentence"}}]}\n\n'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        await writer.drain()

    async with raw_server(broken) as url:
        status, _, content = await ask(node, client, url)

    assert status == 200 and b"half a sentence" in content and b'data: {"error":{' in content
    (row,) = await node.calls()
    assert row["error_type"] == "upstream_broke" and row["metadata"]["gateway"]["usage"] == "estimated"
    assert row["output_tokens"] > 0


async def test_an_endless_answer_ends_at_the_total_limit(node: Node, client: aiohttp.ClientSession) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        while True:
            writer.write(b"data: {}\n\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(endless) as url:
        status, _, content = await ask(node, client, url, total_seconds=0.5)

    assert status == 200 and content.startswith(b"data: {}")
    (row,) = await node.calls()
    assert row["error_type"] == "total_timeout"


async def test_a_client_that_sends_its_body_too_slowly_is_408(
    node: Node, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_request, "BODY_IDLE_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]))
    writer.write(
        f"POST /gw/echo/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {node.key}\r\n"
        "content-type: application/json\r\ncontent-length: 100\r\n\r\n{".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    writer.close()

    assert b" 408 " in head and echo.requests == []


async def test_many_calls_at_once_leave_nothing_open(node: Node, echo: Echo, client: aiohttp.ClientSession) -> None:
    async def one(number: int) -> int:
        async with client.post(f"{node.url}/gw/echo/{number}", headers=bearer(node), data=os.urandom(1000)) as answer:
            await answer.read()
            return answer.status

    statuses = await asyncio.gather(*(one(number) for number in range(200)))

    assert set(statuses) == {200}
    await node.calls(200)
    for _ in range(100):
        if not node.gateway._open and all(path.stat().st_size == 0 for path in node.gateway.journal.folder.iterdir()):
            break
        await asyncio.sleep(0.02)
    assert not node.gateway._open
    assert [path.stat().st_size for path in node.gateway.journal.folder.iterdir()] in ([0], [])
