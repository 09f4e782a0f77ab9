"""The providers' own clients work unchanged but for base URL and key, and every call is recorded and priced."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest

from tests.dataplane.gateway.conftest import SECRET, Node

USAGE = {"x-sandbox-usage": "input=1000,output=300,cached_input=200,reasoning=100"}
# 800 input at 2, 200 cached at 0.5, 200 output at 10, 100 reasoning at 12, each for a million.
COST = Decimal("0.0049")


@pytest.fixture
async def client(node: Node) -> Any:
    async with openai.AsyncOpenAI(base_url=f"{node.url}/gw/openai/v1", api_key=node.key, max_retries=0) as found:
        yield found


def check(row: dict[str, Any], *, path: str, tokens: dict[str, int] | None = None) -> None:
    expected = tokens or {"input": 1000, "output": 300, "cached_input": 200, "reasoning": 100}
    assert row["endpoint"] == path and row["method"] == "POST" and row["status_code"] == 200
    assert {name: row[f"{name}_tokens"] for name in expected} == expected
    assert row["model"] == "sandbox-1"
    assert row["metadata"]["gateway"]["usage"] == "exact"


async def test_openai_chat(node: Node, client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="sandbox-1", messages=[{"role": "user", "content": "hello"}], extra_headers=USAGE, user="ann"
    )

    assert answer.choices[0].message.content and answer.usage and answer.usage.prompt_tokens == 1000
    (row,) = await node.calls()
    check(row, path="/v1/chat/completions")
    assert Decimal(row["cost"]) == COST and row["price_source"] == "book" and row["end_user"] == "ann"
    assert answer._request_id == "req_sandbox"


@pytest.mark.parametrize("asks", [True, False])
async def test_openai_chat_streamed(node: Node, client: openai.AsyncOpenAI, asks: bool) -> None:
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks else {}
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model="sandbox-1",
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            extra_headers=USAGE,
            **more,
        )
    ]

    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(usages) == (1 if asks else 0)
    assert all(chunk.choices for chunk in chunks) is not asks
    (row,) = await node.calls()
    check(row, path="/v1/chat/completions")
    assert Decimal(row["cost"]) == COST
    assert b'"include_usage":true' in node.sandbox.seen[-1][3].replace(b": ", b":")


async def test_openai_responses_streamed_and_not(node: Node, client: openai.AsyncOpenAI) -> None:
    whole = await client.responses.create(model="sandbox-1", input="hello", extra_headers=USAGE)
    text = ""
    async for event in await client.responses.create(
        model="sandbox-1", input="hello", stream=True, extra_headers=USAGE
    ):
        if event.type == "response.output_text.delta":
            text += event.delta

    assert whole.output_text == text
    rows = await node.calls(2)
    for row in rows:
        check(row, path="/v1/responses")
        assert Decimal(row["cost"]) == COST


async def test_openai_embeddings(node: Node, client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(
        model="sandbox-1", input=["one", "two"], extra_headers={"x-sandbox-usage": "input=7"}
    )

    assert len(answer.data) == 2
    (row,) = await node.calls()
    check(row, path="/v1/embeddings", tokens={"input": 7, "output": 0})
    assert Decimal(row["cost"]) == Decimal("0.000014")


async def test_anthropic_messages_streamed_and_not(node: Node) -> None:
    async with anthropic.AsyncAnthropic(base_url=f"{node.url}/gw/anthropic", api_key=node.key, max_retries=0) as client:
        asked: Any = {
            "model": "sandbox-1",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "hello"}],
            "extra_headers": {"x-sandbox-usage": "input=1000,output=300,cached_input=200,cache_write=100"},
        }
        whole = await client.messages.create(**asked)
        text = ""
        async for event in await client.messages.create(**asked, stream=True):
            if event.type == "content_block_delta":
                text += event.delta.text

    assert whole.content[0].text == text
    rows = await node.calls(2)
    for row in rows:
        # Anthropic counts what was cached apart; ours is contained in input.
        check(
            row,
            path="/v1/messages",
            tokens={"input": 1000, "output": 300, "cached_input": 200, "cache_write": 100},
        )
        assert Decimal(row["cost"]) == Decimal("0.00475")


async def test_the_client_s_key_is_never_sent_and_the_secret_never_shown(
    node: Node, client: openai.AsyncOpenAI
) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="sandbox-1", messages=[{"role": "user", "content": "hello"}]
    )

    _, path, headers, _ = node.sandbox.seen[-1]
    assert headers["authorization"] == f"Bearer {SECRET}" and path == "/v1/chat/completions"
    assert node.key not in str(headers) and headers["host"] in node.sandbox_url
    assert SECRET not in str(raw.headers) + raw.text


@pytest.mark.parametrize(
    ("status", "expected"),
    [(429, openai.RateLimitError), (400, openai.BadRequestError), (500, openai.InternalServerError)],
)
async def test_a_provider_s_error_passes_as_it_is_and_is_recorded(
    node: Node, client: openai.AsyncOpenAI, status: int, expected: type[openai.APIStatusError]
) -> None:
    with pytest.raises(expected) as caught:
        await client.chat.completions.create(
            model="sandbox-1",
            messages=[{"role": "user", "content": "hello"}],
            extra_headers={"x-sandbox-status": str(status)},
        )

    assert "the sandbox was asked for" in str(caught.value)
    (row,) = await node.calls()
    assert row["status_code"] == status and row["cost"] in {0, None} and row["input_tokens"] == 0
    assert row["error_type"] in {"rate_limit_error", "invalid_request_error", "api_error"}
    assert "the sandbox was asked for" in row["error_message"]


async def test_no_usage_is_estimated_and_never_nothing(node: Node, client: openai.AsyncOpenAI) -> None:
    for stream in (False, True):
        answer = await client.chat.completions.create(
            model="sandbox-1",
            messages=[{"role": "user", "content": "hello, how are you today?"}],
            stream=stream,
            extra_headers={"x-sandbox-no-usage": "1", "x-sandbox-chunks": "24"},
        )
        if stream:
            async for _ in answer:
                pass

    for row in await node.calls(2):
        assert row["metadata"]["gateway"]["usage"] == "estimated"
        assert 5 <= row["input_tokens"] <= 12 and 20 <= row["output_tokens"] <= 60
        assert Decimal(row["cost"]) > 0


async def test_a_wrong_key_is_refused_in_the_provider_s_words(node: Node) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{node.url}/gw/openai/v1", api_key="nx_" + "x" * 40, max_retries=0
    ) as wrong:
        with pytest.raises(openai.AuthenticationError, match="valid access key"):
            await wrong.models.list()
    async with anthropic.AsyncAnthropic(
        base_url=f"{node.url}/gw/anthropic", api_key="nx_" + "x" * 40, max_retries=0
    ) as wrong_too:
        with pytest.raises(anthropic.AuthenticationError, match="valid access key"):
            await wrong_too.messages.create(
                model="sandbox-1", max_tokens=1, messages=[{"role": "user", "content": "hello"}]
            )

    assert node.sandbox.seen == []
