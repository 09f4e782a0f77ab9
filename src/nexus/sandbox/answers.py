"""The answers' shapes: what OpenAI and Anthropic send, whole and in events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

CREATED = 1_767_225_600
WORDS = (
    "The",
    "call",
    "went",
    "through",
    "as",
    "it",
    "should,",
    "and",
    "was",
    "measured",
    "—",
    "größtenteils",
    "正しく.",
)
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Plan:
    """What one request asked for."""

    model: str = "sandbox-1"
    chunks: int = 12
    usage: dict[str, int] = field(default_factory=dict)
    tells_usage: bool = True
    asks_usage: bool = False
    usage_rides: bool = False
    """Whether usage comes unasked, in the last event of a chat that has text or an end: as Mistral and Groq do."""
    count: int = 1
    """Inputs, for embeddings."""
    id: str = "sandbox"
    """What its answer's id ends in."""

    def words(self) -> list[str]:
        """The text in as many pieces as asked for."""
        return [(" " if number else "") + WORDS[number % len(WORDS)] for number in range(self.chunks)]

    def number(self, name: str) -> int:
        """A count of the usage."""
        return self.usage.get(name, 0)


def sse(data: Any, event: str = "") -> bytes:
    """Write one server-sent event."""
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + (data if isinstance(data, bytes) else _encode(data)) + b"\n\n"


def chat_usage(plan: Plan) -> dict[str, Any]:
    """Usage as OpenAI's chat tells it."""
    return {
        "prompt_tokens": plan.number("input"),
        "completion_tokens": plan.number("output"),
        "total_tokens": plan.number("input") + plan.number("output"),
        "prompt_tokens_details": {
            "cached_tokens": plan.number("cached_input"),
            "audio_tokens": plan.number("audio_input"),
        },
        "completion_tokens_details": {
            "reasoning_tokens": plan.number("reasoning"),
            "audio_tokens": plan.number("audio_output"),
        },
    }


def chat(plan: Plan) -> dict[str, Any]:
    """A whole chat completion."""
    message = {"role": "assistant", "content": "".join(plan.words()), "refusal": None}
    answer: dict[str, Any] = {
        "id": f"chatcmpl-{plan.id}",
        "object": "chat.completion",
        "created": CREATED,
        "model": plan.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "service_tier": "default",
    }
    if plan.tells_usage:
        answer["usage"] = chat_usage(plan)
    return answer


def chat_events(plan: Plan) -> Iterator[bytes]:
    """A chat completion in events; usage rides in an event of its own, when asked for."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "id": f"chatcmpl-{plan.id}",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": plan.model,
            "service_tier": "default",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
        if plan.asks_usage:
            body["usage"] = None
        return body

    yield sse(chunk({"role": "assistant", "content": ""}))
    for word in plan.words():
        yield sse(chunk({"content": word}))
    yield sse({**chunk({}, "stop"), **({"usage": chat_usage(plan)} if plan.usage_rides else {})})
    if plan.asks_usage and plan.tells_usage and not plan.usage_rides:
        yield sse({**chunk({}), "choices": [], "usage": chat_usage(plan)})
    yield sse(b"[DONE]")


def completion(plan: Plan) -> dict[str, Any]:
    """A whole text completion."""
    answer = chat(plan)
    answer |= {"id": "cmpl-sandbox", "object": "text_completion"}
    answer["choices"] = [{"index": 0, "text": "".join(plan.words()), "logprobs": None, "finish_reason": "stop"}]
    return answer


def completion_events(plan: Plan) -> Iterator[bytes]:
    """A text completion in events."""
    base = {"id": "cmpl-sandbox", "object": "text_completion", "created": CREATED, "model": plan.model}
    for word in plan.words():
        yield sse({**base, "choices": [{"index": 0, "text": word, "logprobs": None, "finish_reason": None}]})
    if plan.asks_usage and plan.tells_usage:
        yield sse({**base, "choices": [], "usage": chat_usage(plan)})
    yield sse(b"[DONE]")


def _response(plan: Plan, status: str, *, with_output: bool) -> dict[str, Any]:
    text = {"type": "output_text", "text": "".join(plan.words()), "annotations": []}
    message = {"id": "msg_sandbox", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    usage = {
        "input_tokens": plan.number("input"),
        "input_tokens_details": {"cached_tokens": plan.number("cached_input")},
        "output_tokens": plan.number("output"),
        "output_tokens_details": {"reasoning_tokens": plan.number("reasoning")},
        "total_tokens": plan.number("input") + plan.number("output"),
    }
    return {
        "id": "resp_sandbox", "object": "response", "created_at": CREATED, "status": status, "model": plan.model,
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
        "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "service_tier": "default",
        "output": [message] if with_output else [],
        "usage": usage if with_output and plan.tells_usage else None,
    }  # fmt: skip


def response(plan: Plan) -> dict[str, Any]:
    """A whole response."""
    return _response(plan, "completed", with_output=True)


def response_events(plan: Plan) -> Iterator[bytes]:
    """A response in events; usage is in the last."""
    number = 0

    def event(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return sse({"type": kind, "sequence_number": number - 1, **fields}, kind)

    item = {"id": "msg_sandbox", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    place = {"item_id": "msg_sandbox", "output_index": 0, "content_index": 0}
    yield event("response.created", response=_response(plan, "in_progress", with_output=False))
    yield event("response.output_item.added", output_index=0, item=item)
    yield event("response.content_part.added", **place, part={"type": "output_text", "text": "", "annotations": []})
    for word in plan.words():
        yield event("response.output_text.delta", **place, delta=word, logprobs=[])
    yield event("response.output_text.done", **place, text="".join(plan.words()), logprobs=[])
    yield event("response.completed", response=response(plan))


def embeddings(plan: Plan) -> dict[str, Any]:
    """Embeddings: the same numbers for everything."""
    answer: dict[str, Any] = {
        "object": "list",
        "model": plan.model,
        "data": [{"object": "embedding", "index": index, "embedding": [0.25, -0.5]} for index in range(plan.count)],
    }
    if plan.tells_usage:
        answer["usage"] = {"prompt_tokens": plan.number("input"), "total_tokens": plan.number("input")}
    return answer


def anthropic_usage(plan: Plan) -> dict[str, Any]:
    """Usage as Anthropic tells it: what was cached is not part of `input_tokens`."""
    cached = plan.number("cached_input") + plan.number("cache_write")
    return {
        "input_tokens": plan.number("input") - cached,
        "cache_creation_input_tokens": plan.number("cache_write"),
        "cache_read_input_tokens": plan.number("cached_input"),
        "output_tokens": plan.number("output"),
        "service_tier": "standard",
    }


def message(plan: Plan) -> dict[str, Any]:
    """A whole message."""
    return {
        "id": "msg_sandbox", "type": "message", "role": "assistant", "model": plan.model,
        "content": [{"type": "text", "text": "".join(plan.words())}],
        "stop_reason": "end_turn", "stop_sequence": None,
        **({"usage": anthropic_usage(plan)} if plan.tells_usage else {}),
    }  # fmt: skip


def message_events(plan: Plan) -> Iterator[bytes]:
    """A message in events: usage is spread over the first and the last but one."""
    first = {**message(plan), "content": [], "stop_reason": None}
    if plan.tells_usage:
        first["usage"] = {**anthropic_usage(plan), "output_tokens": 1}
    yield sse({"type": "message_start", "message": first}, "message_start")
    block = {"type": "text", "text": ""}
    yield sse({"type": "content_block_start", "index": 0, "content_block": block}, "content_block_start")
    yield sse({"type": "ping"}, "ping")
    for word in plan.words():
        delta = {"type": "text_delta", "text": word}
        yield sse({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")
    yield sse({"type": "content_block_stop", "index": 0}, "content_block_stop")
    last: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    if plan.tells_usage:
        last["usage"] = {"output_tokens": plan.number("output")}
    yield sse(last, "message_delta")
    yield sse({"type": "message_stop"}, "message_stop")
