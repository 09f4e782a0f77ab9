"""WebSocket sessions pass through, and one record tells what they used."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from nexus.dataplane.gateway.asgi import GatewayApp
from nexus.identity import access_keys, provider_credential_key_reach
from nexus.identity.provider_credential_key_reach import KeyReach
from nexus.kit.clock import SYSTEM_CLOCK
from tests.dataplane.decide.cases import limit
from tests.dataplane.gateway.conftest import SECRET, Node, served
from tests.dataplane.gateway.limited import DAY, Limited


class Realtime:
    """A provider of a realtime API: answers each message, and tells usage with each answer."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await receive()
        if scope["path"].endswith("/refused"):
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept", "subprotocol": (scope.get("subprotocols") or [None])[0]})
        await send(
            {
                "type": "websocket.send",
                "text": json.dumps({"type": "session.created", "session": {"model": "sandbox-1"}}),
            }
        )
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            if message.get("bytes") is not None:
                await send({"type": "websocket.send", "bytes": message["bytes"][::-1]})
                continue
            if message["text"] == "bye":
                await send({"type": "websocket.close", "code": 4001})
                return
            usage = {"input_tokens": 10, "output_tokens": 20, "input_token_details": {"cached_tokens": 4}}
            await send(
                {"type": "websocket.send", "text": json.dumps({"type": "response.done", "response": {"usage": usage}})}
            )


@pytest.fixture
async def realtime(node: Node) -> AsyncIterator[tuple[Realtime, str]]:
    app = Realtime()
    async with served(app, websockets=True) as upstream, served(GatewayApp(node.gateway), websockets=True) as url:
        async with node.database.tenant(node.organization_id) as connection:
            await connection.execute("DELETE FROM identity.provider_credentials WHERE provider = 'openai'")
        await node.add_credential("openai", upstream)
        yield app, url


async def test_messages_pass_both_ways_and_usage_is_summed(node: Node, realtime: tuple[Realtime, str]) -> None:
    app, url = realtime
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(
            f"{url}/gw/openai/v1/realtime?model=sandbox-1",
            headers={"authorization": f"Bearer {node.key}"},
            protocols=("realtime",),
        ) as socket,
    ):
        assert socket.protocol == "realtime" and json.loads((await socket.receive()).data)["type"] == "session.created"
        for _ in range(3):
            await socket.send_str("hello")
            assert json.loads((await socket.receive()).data)["type"] == "response.done"
        await socket.send_bytes(b"abc")
        assert (await socket.receive()).data == b"cba"
        await socket.send_str("bye")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE and socket.close_code == 4001

    (row,) = await node.calls()
    assert (row["input_tokens"], row["output_tokens"], row["cached_input_tokens"]) == (30, 60, 12)
    assert row["status_code"] == 101 and row["model"] == "sandbox-1" and Decimal(row["cost"]) == Decimal("0.000642")
    assert row["endpoint"] == "/v1/realtime" and row["response_bytes"] > 100
    assert app.headers[0]["authorization"] == f"Bearer {SECRET}" and node.key not in str(app.headers)


async def test_a_client_that_leaves_ends_the_session(node: Node, realtime: tuple[Realtime, str]) -> None:
    _, url = realtime
    async with aiohttp.ClientSession() as client:
        socket = await client.ws_connect(f"{url}/gw/openai/v1/realtime", headers={"x-api-key": node.key})
        await socket.send_str("hello")
        await socket.receive()
        await socket.receive()
        await socket.close()

    (row,) = await node.calls()
    assert row["input_tokens"] == 10


async def test_a_browser_s_client_sends_its_key_as_a_subprotocol_and_the_provider_never_sees_it(
    node: Node, realtime: tuple[Realtime, str]
) -> None:
    app, url = realtime
    protocols = ("realtime", f"openai-insecure-api-key.{node.key}")
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{url}/gw/openai/v1/realtime", protocols=protocols) as socket,
    ):
        assert socket.protocol == "realtime"

    assert node.key not in str(app.headers) and app.headers[0]["authorization"] == f"Bearer {SECRET}"


async def test_a_key_that_is_revoked_ends_its_session(node: Node, realtime: tuple[Realtime, str]) -> None:
    _, url = realtime
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {node.key}"}) as client:
        first = await client.ws_connect(f"{url}/gw/openai/v1/realtime")
        await first.receive()
        async with node.database.as_system() as connection:
            await access_keys.revoke(connection, node.organization_id, node.key_id, at=SYSTEM_CLOCK.now())
        await node.snapshots.refresh()
        closed = await first.receive()
    assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1008)
    (row,) = await node.calls()
    assert row["error_type"] == "access_key_refused"


async def test_an_ending_process_tells_its_clients_to_go_elsewhere(node: Node, realtime: tuple[Realtime, str]) -> None:
    _, url = realtime
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {node.key}"}) as client:
        socket = await client.ws_connect(f"{url}/gw/openai/v1/realtime")
        await socket.receive()
        node.gateway.leaving.set()
        closed = await socket.receive()

    assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1001)
    await node.calls()


@pytest.mark.parametrize(
    ("path", "key", "status", "code"),
    [
        ("openai/v1/realtime", "nx_" + "x" * 40, 401, "access_key_refused"),
        ("openai/v1/refused", "", 502, "upstream_unreachable"),
        ("nobody/v1/realtime", "", 404, "unknown_provider"),
        ("v1/realtime", "", 400, "bad_path"),
    ],
)
async def test_what_is_refused_is_never_accepted_and_told_why(
    node: Node, realtime: tuple[Realtime, str], path: str, key: str, status: int, code: str
) -> None:
    _, url = realtime
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(f"{url}/gw/{path}", headers={"authorization": f"Bearer {key or node.key}"})

    assert refused.value.status == status
    assert refused.value.headers is not None and refused.value.headers["x-nexus-error"] == code


async def test_a_key_of_certain_models_opens_no_session_of_another_model(
    node: Node, realtime: tuple[Realtime, str]
) -> None:
    _, url = realtime
    async with node.database.tenant(node.organization_id) as connection:
        await provider_credential_key_reach.put(
            connection, node.organization_id, node.key_id, KeyReach(models=["sandbox-1"])
        )
    await node.snapshots.refresh()
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {node.key}"}) as client:
        for query in ("", "?model=other"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(f"{url}/gw/openai/v1/realtime{query}")
            assert refused.value.status == 403
        async with client.ws_connect(f"{url}/gw/openai/v1/realtime?model=sandbox-1") as socket:
            assert json.loads((await socket.receive()).data)["type"] == "session.created"


async def test_a_session_meets_the_limits_and_is_settled_to_what_it_used(
    limited: Limited, realtime: tuple[Realtime, str]
) -> None:
    _, url = realtime
    node = limited.node
    limited.have(limit(1, capacity=1, method="concurrency"), limit(2, capacity=10**6, per_us=DAY, dimension="tokens"))
    where = f"{url}/gw/openai/v1/realtime?model=sandbox-1"
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {node.key}"}) as client,
        client.ws_connect(where) as socket,
    ):
        await socket.receive()
        await socket.send_str("hello")
        await socket.receive()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(where)

    assert refused.value.status == 429 and refused.value.headers is not None
    assert refused.value.headers["x-nexus-error"] == "quota-exceeded" and "retry-after" in refused.value.headers
    assert await limited.settled(2) == 30
