"""A streamed answer costs what the whole one costs, in every dialect, however its bytes are cut on their way."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from nexus.sandbox import answers, other_answers
from nexus.sandbox.answers import Plan
from tests.dataplane.gateway.conftest import Node, price, served

PLAN = Plan(
    model="sandbox-1",
    chunks=40,  # several of the words have letters of more than one byte
    usage={"input": 1234, "cached_input": 234, "output": 567, "reasoning": 89},
    asks_usage=True,
)
PRICES = {"input": "2", "output": "10", "cached_input": "0.5", "reasoning": "12"}
COSTS = {
    "all": Decimal("0.007965"),  # 1,000 input at 2, 234 cached at 0.5, 478 output at 10, 89 reasoning at 12
    "without reasoning": Decimal("0.007787"),  # 567 output at 10
    "without reasoning and cache": Decimal("0.008138"),  # 1,234 input at 2, 567 output at 10
}


def frame(kind: str, payload: bytes) -> bytes:
    """Write one message of AWS's event stream."""
    headers = b"".join(
        struct.pack(">B", len(name)) + name + b"\x07" + struct.pack(">H", len(value)) + value
        for name, value in ((b":event-type", kind.encode()), (b":message-type", b"event"))
    )
    head = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = head + struct.pack(">I", zlib.crc32(head)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def _bedrock_usage(plan: Plan) -> dict[str, int]:
    cached = plan.number("cached_input")
    return {
        "inputTokens": plan.number("input") - cached, "cacheReadInputTokens": cached,
        "outputTokens": plan.number("output"), "totalTokens": plan.number("input") + plan.number("output"),
    }  # fmt: skip


def converse(plan: Plan) -> dict[str, Any]:
    """Bedrock's Converse, whole."""
    message = {"role": "assistant", "content": [{"text": "".join(plan.words())}]}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": _bedrock_usage(plan)}


def converse_events(plan: Plan) -> Iterator[bytes]:
    """Bedrock's ConverseStream."""
    yield frame("messageStart", b'{"role":"assistant"}')
    for word in plan.words():
        yield frame("contentBlockDelta", json.dumps({"contentBlockIndex": 0, "delta": {"text": word}}).encode())
    yield frame("messageStop", b'{"stopReason":"end_turn"}')
    yield frame("metadata", json.dumps({"usage": _bedrock_usage(plan), "metrics": {"latencyMs": 5}}).encode())


def riding_events(plan: Plan) -> Iterator[bytes]:
    """A chat whose usage rides in its last event with text, as Mistral and Groq send it."""
    return answers.chat_events(replace(plan, asks_usage=False, usage_rides=True))


@dataclass(frozen=True)
class Dialect:
    """One provider's form, and what the same usage costs in it: not all tell all."""

    slug: str
    path: str
    whole: Callable[[Plan], Any]
    events: Callable[[Plan], Iterator[bytes]]
    cost: str = "all"
    stream_path: str = ""
    media_type: str = "text/event-stream; charset=utf-8"


DIALECTS = {
    "openai chat": Dialect("openai", "/v1/chat/completions", answers.chat, answers.chat_events),
    "openai completions": Dialect("openai", "/v1/completions", answers.completion, answers.completion_events),
    "openai responses": Dialect("openai", "/v1/responses", answers.response, answers.response_events),
    "azure": Dialect("azure", "/openai/deployments/d/chat/completions", answers.chat, answers.chat_events),
    "deepseek": Dialect("deepseek", "/chat/completions", answers.chat, answers.chat_events),
    "groq": Dialect("groq", "/openai/v1/chat/completions", answers.chat, riding_events),
    "mistral": Dialect("mistral", "/v1/chat/completions", answers.chat, riding_events),
    "openrouter": Dialect("openrouter", "/api/v1/chat/completions", answers.chat, answers.chat_events),
    "anthropic": Dialect("anthropic", "/v1/messages", answers.message, answers.message_events, "without reasoning"),
    "gemini": Dialect(
        "google", "/v1beta/models/sandbox-1:generateContent", other_answers.gemini, other_answers.gemini_events,
        stream_path="/v1beta/models/sandbox-1:streamGenerateContent",
    ),
    "cohere": Dialect("cohere", "/v2/chat", other_answers.cohere, other_answers.cohere_events, "without reasoning and cache"),
    "bedrock converse": Dialect(
        "aws", "/model/sandbox-1/converse", converse, converse_events, "without reasoning",
        "/model/sandbox-1/converse-stream", "application/vnd.amazon.eventstream",
    ),
}  # fmt: skip


def _pieces(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def _in_letters(content: bytes) -> list[bytes]:
    """Cut within every letter of more than one byte, and between the two line ends of every event."""
    places = [at for at in range(1, len(content)) if content[at] & 0xC0 == 0x80 or content[at - 1 : at + 1] == b"\n\n"]
    return [content[first:last] for first, last in zip([0, *places], [*places, len(content)], strict=True)]


CUTS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "one byte at a time": lambda events: _pieces(b"".join(events), 1),
    "all at once": lambda events: [b"".join(events)],
    "as its events": list,
    "letters and event ends split": lambda events: _in_letters(b"".join(events)),
    "seven bytes at a time": lambda events: _pieces(b"".join(events), 7),
}


class Chunked:
    """A provider that sends each stream in pieces as it is told."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.sent = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        while (await receive()).get("more_body"):
            pass
        how = headers[b"x-cut"].decode()
        if how == "whole":
            pieces, media_type = [json.dumps(self._dialect.whole(PLAN)).encode()], "application/json"
        else:
            pieces, media_type = CUTS[how](list(self._dialect.events(PLAN))), self._dialect.media_type
        self.sent = b"".join(pieces)
        start = [(b"content-type", media_type.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as found:
        yield found


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_stream_costs_what_the_whole_answer_costs_however_it_is_cut(
    node: Node, client: aiohttp.ClientSession, name: str
) -> None:
    dialect = DIALECTS[name]
    if dialect.slug not in {"openai", "anthropic"}:  # which the node has the same prices for
        await price(node.database, node.organization_id, dialect.slug, "sandbox-1", **PRICES)
    async with node.database.tenant(node.organization_id) as connection:
        await connection.execute("DELETE FROM identity.provider_credentials")
    app = Chunked(dialect)
    async with served(app) as url:
        await node.add_credential(dialect.slug, url)
        for how in ("whole", *CUTS):
            body: dict[str, Any] = {"model": "sandbox-1", "messages": []}
            if how != "whole":
                # A client that asks for usage itself gets every byte.
                body |= {"stream": True, "stream_options": {"include_usage": True}}
            path = dialect.path if how == "whole" else dialect.stream_path or dialect.path
            async with client.post(
                f"{node.url}/gw/{dialect.slug}{path}", json=body,
                headers={"authorization": f"Bearer {node.key}", "x-cut": how, "x-nexus-tags": f"cut={how}"},
            ) as answer:  # fmt: skip
                assert (answer.status, await answer.read()) == (200, app.sent)

    rows = await node.calls(1 + len(CUTS))
    assert {row["tags"]["cut"]: row["metadata"]["gateway"]["usage"] for row in rows} == dict.fromkeys(
        ["whole", *CUTS], "exact"
    )
    assert {row["tags"]["cut"]: row["cost"] for row in rows} == dict.fromkeys(["whole", *CUTS], COSTS[dialect.cost])
    assert {(row["model"], row["output_tokens"]) for row in rows} == {("sandbox-1", 567)}
