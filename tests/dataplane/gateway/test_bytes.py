"""What each client library asks for comes byte for byte as the provider sent it, streamed and not, sync and async.

The libraries decode what they get, so bytes are compared beside them: what the sandbox saw of a call is sent to it once more
without the gateway. The one difference allowed is the event that tells usage to a client that did not ask for it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from tests.dataplane.gateway.conftest import Node
from tests.dataplane.gateway.test_more_clients import HELLO, reached

ASKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "chat": ("openai", "/v1/chat/completions", {"model": "sandbox-1", "messages": HELLO}),
    "completions": ("openai", "/v1/completions", {"model": "sandbox-1", "prompt": "hello"}),
    "responses": ("openai", "/v1/responses", {"model": "sandbox-1", "input": "hello"}),
    "embeddings": ("openai", "/v1/embeddings", {"model": "sandbox-1", "input": ["größer", "模型"]}),
    "messages": ("anthropic", "/v1/messages", {"model": "sandbox-1", "max_tokens": 9, "messages": HELLO}),
    "gemini": ("google", "/v1beta/models/sandbox-1:generateContent", {"contents": [{"parts": [{"text": "hello"}]}]}),
    "mistral": ("mistral", "/v1/chat/completions", {"model": "sandbox-1", "messages": HELLO}),
    "cohere": ("cohere", "/v2/chat", {"model": "sandbox-1", "messages": HELLO}),
}
HOPS = {"date", "server", "x-nexus-request-id", "transfer-encoding", "content-length", "connection"}


def without_usage_event(content: bytes) -> bytes:
    return b"".join(event + b"\n\n" for event in content.split(b"\n\n")[:-1] if b'"choices":[],' not in event)


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
async def test_an_answer_is_byte_for_byte_what_the_provider_sent(node: Node, is_streamed: bool) -> None:
    for slug in ("google", "mistral", "cohere"):
        await reached(node, slug)

    for name in ASKED:
        await assert_same_bytes(node, name, is_streamed=is_streamed)


async def assert_same_bytes(node: Node, name: str, *, is_streamed: bool) -> None:
    slug, path, body = ASKED[name]
    if is_streamed and slug == "google":
        path = path.replace(":generate", ":streamGenerate") + "?alt=sse"
    elif is_streamed:
        body = {**body, "stream": True}
    headers = {"authorization": f"Bearer {node.key}", "x-sandbox-chunks": "60", "x-sandbox-usage": "input=9,output=60"}

    async with aiohttp.ClientSession() as client:
        async with client.post(f"{node.url}/gw/{slug}{path}", json=body, headers=headers) as answer:
            status, got, told = answer.status, await answer.read(), dict(answer.headers)
        _, _, _, seen = node.sandbox.seen[-1]
        async with client.post(
            f"{node.sandbox_url}{path}", data=seen, headers=headers | {"content-type": "application/json"}
        ) as answer:
            sent, meant = await answer.read(), dict(answer.headers)

    is_asked_for = is_streamed and name in {"chat", "completions"}
    assert (status, got) == (200, without_usage_event(sent) if is_asked_for else sent)
    assert is_asked_for == (sent != got)
    assert json.loads(seen) == body | ({"stream_options": {"include_usage": True}} if is_asked_for else {})
    assert {name.lower(): value for name, value in told.items() if name.lower() not in HOPS} == {
        name.lower(): value for name, value in meant.items() if name.lower() not in HOPS
    }


async def test_openai_s_and_anthropic_s_libraries_read_the_same_through_the_gateway_as_without(node: Node) -> None:
    """Every field of every object and event, sync and async."""

    def in_a_thread(base: str, key: str) -> list[Any]:
        prefix = "" if base == node.sandbox_url else "/gw/openai"
        with openai.OpenAI(base_url=f"{base}{prefix}/v1", api_key=key, max_retries=0) as client:
            found: list[Any] = [client.responses.create(model="sandbox-1", input="hello")]
            found += list(client.responses.create(model="sandbox-1", input="hello", stream=True))
            found += [client.embeddings.create(model="sandbox-1", input=["one", "two"])]
            found += [client.completions.create(model="sandbox-1", prompt="hello")]
        prefix = "" if base == node.sandbox_url else "/gw/anthropic"
        with anthropic.Anthropic(base_url=f"{base}{prefix}", api_key=key, max_retries=0) as other:
            asked: dict[str, Any] = {"model": "sandbox-1", "max_tokens": 9, "messages": HELLO}
            found += [other.messages.create(**asked), *other.messages.create(**asked, stream=True)]
        return [item.model_dump() for item in found]

    async def beside(base: str, key: str) -> list[Any]:
        prefix = "" if base == node.sandbox_url else "/gw/openai"
        async with openai.AsyncOpenAI(base_url=f"{base}{prefix}/v1", api_key=key, max_retries=0) as client:
            found: list[Any] = [await client.responses.create(model="sandbox-1", input="hello")]
            found += [event async for event in await client.responses.create(model="sandbox-1", input="x", stream=True)]
            found += [await client.embeddings.create(model="sandbox-1", input=["one", "two"])]
        prefix = "" if base == node.sandbox_url else "/gw/anthropic"
        async with anthropic.AsyncAnthropic(base_url=f"{base}{prefix}", api_key=key, max_retries=0) as other:
            asked: dict[str, Any] = {"model": "sandbox-1", "max_tokens": 9, "messages": HELLO}
            found += [await other.messages.create(**asked)]
            found += [event async for event in await other.messages.create(**asked, stream=True)]
        return [item.model_dump() for item in found]

    through = await asyncio.to_thread(in_a_thread, node.url, node.key), await beside(node.url, node.key)
    without = await asyncio.to_thread(in_a_thread, node.sandbox_url, "sk-x"), await beside(node.sandbox_url, "sk-x")

    assert through == without and len(through[0]) > 30


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here: `apt-get install curl`")
async def test_curl_gets_every_byte_of_a_stream(node: Node) -> None:
    body = {"model": "sandbox-1", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}

    async def curl(url: str, key: str) -> bytes:
        command = [
            "curl", "--silent", "--show-error", "--fail", "--no-buffer", f"{url}/v1/chat/completions",
            "-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json", "-d", json.dumps(body),
        ]  # fmt: skip
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    through = await curl(f"{node.url}/gw/openai", node.key)

    assert through == await curl(node.sandbox_url, "sk-x") and through.endswith(b"data: [DONE]\n\n")
    (row,) = await node.calls()
    assert row["metadata"]["gateway"]["usage"] == "exact"
