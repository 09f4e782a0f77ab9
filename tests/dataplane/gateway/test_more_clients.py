"""Further clients work unchanged but for base URL and key, sync and async; `make test` installs them (`tests/clients.lock`)."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest

from tests.dataplane.gateway.conftest import Node, price

USAGE = {"x-sandbox-usage": "input=1000,output=300,reasoning=100"}
COST = Decimal("0.0055")
"""1,000 input at 2, 300 output at 11.6667 on average: 200 at 10 and 100 reasoning at 15, each for a million."""
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
_ABSENT = "not installed: pip install -r tests/clients.lock (`make test` does)"


async def reached(node: Node, provider: str) -> None:
    """Give a provider a price and a credential that leads to the sandbox."""
    await price(node.database, node.organization_id, provider, "sandbox-1", input="2", output="10", reasoning="15")
    if provider not in {"openai", "anthropic"}:
        await node.add_credential(provider, node.sandbox_url)


async def check(node: Node, count: int, **expected: Any) -> None:
    for row in await node.calls(count):
        assert (row["status_code"], row["model"], row["input_tokens"], row["output_tokens"]) == (
            200, "sandbox-1", 1000, 300,
        )  # fmt: skip
        assert row["metadata"]["gateway"]["usage"] == "exact" and row["cost"]
        assert {name: row[name] for name in expected} == expected


async def test_google_genai_sync_and_async_streamed_and_not(node: Node) -> None:
    genai = pytest.importorskip("google.genai", reason=_ABSENT)
    await reached(node, "google")
    options = {"base_url": f"{node.url}/gw/google", "headers": USAGE}
    client = genai.Client(api_key=node.key, http_options=options)
    asked: dict[str, Any] = {"model": "sandbox-1", "contents": "hello"}

    def in_a_thread() -> list[str]:
        whole = client.models.generate_content(**asked)
        return [whole.text, "".join(part.text for part in client.models.generate_content_stream(**asked))]

    texts = await asyncio.to_thread(in_a_thread)
    whole = await client.aio.models.generate_content(**asked)
    stream = await client.aio.models.generate_content_stream(**asked)
    texts += [whole.text, "".join([part.text async for part in stream])]

    assert len(set(texts)) == 1 and whole.usage_metadata.total_token_count == 1300
    await check(node, 4, provider="google", reasoning_tokens=100, cost=COST)
    assert all(node.key not in str(seen[2]) for seen in node.sandbox.seen)


async def test_mistral_sync_and_async_streamed_and_not(node: Node) -> None:
    sdk = pytest.importorskip("mistralai.client", reason=_ABSENT)
    await reached(node, "mistral")
    client = sdk.Mistral(api_key=node.key, server_url=f"{node.url}/gw/mistral")
    asked: dict[str, Any] = {
        "model": "sandbox-1",
        "messages": HELLO,
        "http_headers": USAGE | {"x-sandbox-usage-rides": "1"},
    }

    def in_a_thread() -> list[str]:
        whole = client.chat.complete(**asked)
        with client.chat.stream(**asked) as events:
            return [whole.choices[0].message.content, "".join(_text(event) for event in events)]

    texts = await asyncio.to_thread(in_a_thread)
    whole = await client.chat.complete_async(**asked)
    async with await client.chat.stream_async(**asked) as events:
        texts += [whole.choices[0].message.content, "".join([_text(event) async for event in events])]

    assert len(set(texts)) == 1 and whole.usage.prompt_tokens == 1000
    await check(node, 4, provider="mistral")


def _text(event: Any) -> str:
    return "".join(choice.delta.content or "" for choice in event.data.choices)


async def test_cohere_sync_and_async_streamed_and_not(node: Node) -> None:
    cohere = pytest.importorskip("cohere", reason=_ABSENT)
    await reached(node, "cohere")
    where: dict[str, Any] = {"api_key": node.key, "base_url": f"{node.url}/gw/cohere"}
    asked: dict[str, Any] = {
        "model": "sandbox-1", "messages": HELLO, "request_options": {"additional_headers": USAGE, "max_retries": 0}
    }  # fmt: skip

    def delta(event: Any) -> str:
        return str(event.delta.message.content.text) if event.type == "content-delta" else ""

    def in_a_thread() -> list[str]:
        client = cohere.ClientV2(**where)
        whole = client.chat(**asked)
        return [whole.message.content[0].text, "".join(delta(event) for event in client.chat_stream(**asked))]

    texts = await asyncio.to_thread(in_a_thread)
    client = cohere.AsyncClientV2(**where)
    whole = await client.chat(**asked)
    texts += [whole.message.content[0].text, "".join([delta(event) async for event in client.chat_stream(**asked)])]

    assert len(set(texts)) == 1 and whole.usage.tokens.input_tokens == 1000
    await check(node, 4, provider="cohere")


async def test_openai_and_anthropic_without_async(node: Node) -> None:
    def ask_openai() -> list[str]:
        with openai.OpenAI(base_url=f"{node.url}/gw/openai/v1", api_key=node.key, max_retries=0) as client:
            create: Callable[..., Any] = client.chat.completions.create
            whole = create(model="sandbox-1", messages=HELLO, extra_headers=USAGE)
            chunks = create(model="sandbox-1", messages=HELLO, extra_headers=USAGE, stream=True)
            return [whole.choices[0].message.content, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)]

    def ask_anthropic() -> list[str]:
        with anthropic.Anthropic(base_url=f"{node.url}/gw/anthropic", api_key=node.key, max_retries=0) as client:
            asked: dict[str, Any] = {
                "model": "sandbox-1", "max_tokens": 9, "messages": HELLO, "extra_headers": USAGE
            }  # fmt: skip
            whole: Any = client.messages.create(**asked)
            with client.messages.stream(**asked) as stream:
                return [whole.content[0].text, "".join(stream.text_stream)]

    texts = await asyncio.to_thread(ask_openai) + await asyncio.to_thread(ask_anthropic)

    assert len(set(texts)) == 1
    await check(node, 4)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here: `apt-get install curl`")
async def test_curl(node: Node) -> None:
    command = [
        "curl", "--silent", "--show-error", "--fail", f"{node.url}/gw/openai/v1/chat/completions",
        "-H", f"Authorization: Bearer {node.key}", "-H", "Content-Type: application/json",
        "-H", f"x-sandbox-usage: {USAGE['x-sandbox-usage']}", "-d", json.dumps({"model": "sandbox-1", "messages": HELLO}),
    ]  # fmt: skip
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["usage"]["prompt_tokens"] == 1000
    await check(node, 1, provider="openai")
