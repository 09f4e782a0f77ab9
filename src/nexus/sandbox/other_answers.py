"""The answers' shapes of Google's Gemini and of Cohere, whole and in events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nexus.sandbox.answers import Plan, sse


def _gemini_part(plan: Plan, text: str, finish: str | None, *, with_usage: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    part: dict[str, Any] = {"candidates": [candidate], "modelVersion": plan.model, "responseId": "sandbox"}
    if with_usage and plan.tells_usage:
        # What was thought is counted apart from what was said.
        said = plan.number("output") - plan.number("reasoning")
        part["usageMetadata"] = {
            "promptTokenCount": plan.number("input"),
            "candidatesTokenCount": said,
            "thoughtsTokenCount": plan.number("reasoning"),
            "cachedContentTokenCount": plan.number("cached_input"),
            "totalTokenCount": plan.number("input") + plan.number("output"),
        }
    return part


def gemini(plan: Plan) -> dict[str, Any]:
    """A whole answer of `:generateContent`."""
    return _gemini_part(plan, "".join(plan.words()), "STOP", with_usage=True)


def gemini_events(plan: Plan) -> Iterator[bytes]:
    """The answer of `:streamGenerateContent?alt=sse`: usage rides along, the last is the whole."""
    words = plan.words()
    for number, word in enumerate(words, 1):
        is_last = number == len(words)
        yield sse(_gemini_part(plan, word, "STOP" if is_last else None, with_usage=is_last))


def _cohere_usage(plan: Plan) -> dict[str, Any]:
    counts = {"input_tokens": plan.number("input"), "output_tokens": plan.number("output")}
    return {"usage": {"billed_units": counts, "tokens": counts}} if plan.tells_usage else {}


def cohere(plan: Plan) -> dict[str, Any]:
    """A whole answer of `/v2/chat`."""
    content = [{"type": "text", "text": "".join(plan.words())}]
    message = {"role": "assistant", "content": content}
    return {"id": "sandbox", "finish_reason": "COMPLETE", "message": message, **_cohere_usage(plan)}


def cohere_events(plan: Plan) -> Iterator[bytes]:
    """An answer of `/v2/chat` in events; usage is in the last."""

    def event(kind: str, **fields: Any) -> bytes:
        return sse({"type": kind, **fields}, kind)

    yield event(
        "message-start", id="sandbox", delta={"message": {"role": "assistant", "content": [], "tool_calls": []}}
    )
    yield event("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}})
    for word in plan.words():
        yield event("content-delta", index=0, delta={"message": {"content": {"text": word}}})
    yield event("content-end", index=0)
    yield event("message-end", id="sandbox", delta={"finish_reason": "COMPLETE", **_cohere_usage(plan)})
