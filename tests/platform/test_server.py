"""The HTTP server's bounds, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from nexus.platform.web import server
from nexus.platform.web.server import MAX_HEAD_BYTES, HttpServer
from tests.dataplane.gateway.conftest import free_port, served

HEAD = b"GET /x HTTP/1.1\r\nhost: here\r\n"
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Told:
    """An application that answers with what it was asked."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.answer = b"answer"
        self.headers: list[tuple[bytes, bytes]] = []
        self.pause = 0.0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        self.requests.append(f"{scope['method']} {scope['path']}")
        parts = []
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        self.bodies.append(b"".join(parts))
        length = (b"content-length", str(len(self.answer)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length, *self.headers]})
        await asyncio.sleep(self.pause)
        await send({"type": "http.response.body", "body": self.answer})


async def say(url: str, content: bytes, *, then: bytes = b"") -> bytes:
    """Send bytes on a connection and return all that comes back until its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(content)
    if then:
        await asyncio.sleep(0.05)
        writer.write(then)
    found = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return found


async def test_requests_and_answers_pass() -> None:
    app = Told()
    async with served(app) as url:
        found = await say(url, b"POST /a%2Fb?c HTTP/1.1\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc")
    assert found.startswith(b"HTTP/1.1 200 OK\r\n") and found.endswith(b"\r\n\r\nanswer")
    assert app.requests == ["POST /a/b"] and app.bodies == [b"abc"]


async def test_every_answer_says_when_it_was_sent_and_only_once() -> None:
    app = Told()
    async with served(app) as url:
        found = await say(url, HEAD + b"\r\n" + HEAD + b"connection: close\r\n\r\n")
        for head in found.split(b"answer")[:2]:
            named = [line for line in head.split(b"\r\n") if line.startswith(b"date: ")]
            assert len(named) == 1 and parsedate_to_datetime(named[0][6:].decode()).tzinfo is not None
        app.headers = [(b"Date", b"Mon, 01 Jan 2024 00:00:00 GMT")]
        kept = await say(url, HEAD + b"connection: close\r\n\r\n")
    assert kept.lower().count(b"date: ") == 1 and b"01 Jan 2024" in kept


async def test_who_expects_to_be_told_to_go_on_is_told() -> None:
    app = Told()
    async with served(app) as url:
        head = b"POST /x HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\nconnection: close\r\n\r\n"
        found = await say(url, head, then=b"abc")
    assert found.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n") and app.bodies == [b"abc"]


async def test_requests_on_one_connection_are_answered_in_order() -> None:
    app = Told()
    async with served(app) as url:
        found = await say(url, (HEAD + b"\r\n") * 3 + HEAD + b"connection: close\r\n\r\n")
    assert found.count(b"HTTP/1.1 200 OK") == 4 and len(app.requests) == 4


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_a_head_is_sent_though_no_body_follows_at_once(method: str) -> None:
    app = Told()
    app.pause = 30
    async with served(app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(HEAD.replace(b"GET", method.encode()) + b"\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert b"content-length: 6" in head
        writer.close()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"no http at all\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"x-a: " + b"y" * (MAX_HEAD_BYTES + 10) + b"\r\n\r\n", 431),
        (HEAD + b"x-a: y\r\n" * (MAX_HEAD_BYTES // 8) + b"\r\n", 431),
        (HEAD + b"x-a: " + b"y" * (MAX_HEAD_BYTES + 10), 431),
        (b"GET /" + b"y" * (MAX_HEAD_BYTES + 10), 431),
    ],
    ids=["no http", "length and chunks", "two lengths", "no chunk", "one header", "many", "endless", "endless path"],
)
async def test_what_is_no_request_is_refused_and_reaches_nobody(request_bytes: bytes, status: int) -> None:
    app = Told()
    async with served(app) as url:
        found = await say(url, request_bytes)
        assert found.startswith(b"HTTP/1.1 %d " % status), found[:80]
        assert b"application/problem+json" in found and b"connection: close" in found
        assert b"".join(app.bodies) == b""
        fine = await say(url, HEAD + b"connection: close\r\n\r\n")
    assert fine.endswith(b"answer"), "the server goes on"


async def test_a_head_that_trickles_in_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    app = Told()
    async with served(app) as url:
        found = await say(url, b"GET /x HTTP/1.1\r\nhost", then=b": he")
        assert found.startswith(b"HTTP/1.1 408 ")
        slow = await say(url, HEAD, then=b"connection: close\r\n\r\n")
    assert slow.endswith(b"answer"), "who is in time is answered"


async def test_a_connection_without_a_word_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)
    async with served(Told()) as url:
        assert await say(url, b"") == b""
        found = await say(url, HEAD + b"\r\n")
    assert found.endswith(b"answer"), "closed after the answer, when nothing more comes"


async def test_who_takes_nothing_of_its_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALLED_SECONDS", 0.2)
    ended = asyncio.Event()

    async def endless(scope: dict[str, Any], receive: Any, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        leaving = asyncio.ensure_future(receive())
        while not leaving.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)
        ended.set()

    async with served(endless) as url:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", int(url.rpartition(":")[2])))
            await loop.sock_sendall(client, HEAD + b"\r\n")
            await asyncio.wait_for(ended.wait(), 20)


async def test_a_server_that_stops_ends_what_has_begun_and_takes_nothing_new() -> None:
    app = Told()
    app.pause = 0.3
    port = free_port()
    made = HttpServer(app, host="127.0.0.1", port=port)
    serving = asyncio.create_task(made.serve())
    asked = asyncio.create_task(say(f":{port}", HEAD + b"\r\n"))
    while not app.requests:
        await asyncio.sleep(0.01)
    made.stop()
    assert (await asked).endswith(b"answer")
    await asyncio.wait_for(serving, 20)
    with pytest.raises(OSError, match="Connect"):
        await say(f":{port}", HEAD)


def test_a_port_that_is_taken_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            HttpServer(Told(), host="127.0.0.1", port=taken.getsockname()[1])
