"""Reads model, model tokens and other units from providers' answers: JSON, lines of JSON, server-sent events.

All providers are brought to one form: cached input is part of `input`, reasoning is part of `output`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_PARTS = (
    ("cached_input", "input"), ("cache_write", "input"), ("audio_input", "input"), ("image_input", "input"),
    ("cached_audio_input", "audio_input"), ("cache_write_5m", "cache_write"), ("cache_write_1h", "cache_write"),
    ("reasoning", "output"), ("audio_output", "output"), ("image_output", "output"),
)  # fmt: skip
_USAGE_NAMES = ("usage", "usageMetadata", "usage_metadata", "meta", "x_groq")
_WITHIN = ("response", "message", "delta")
_INTERESTING = re.compile(rb'"(?:usage|usageMetadata|billed_units|model|modelVersion|error)"')
_MAX_TOKENS = 10**9
Document = Mapping[str, Any]


def read_answer(document: object) -> dict[str, Any]:
    """Return the fields of a record that an answer tells: `model`, `tokens`, `units`, `service_variant`, `error_type`."""
    reader = Reader()
    if isinstance(document, list):
        for item in document:
            reader.take(item)
    else:
        reader.take(document)
    return reader.fields()


def read_body(content: bytes, media_type: str) -> dict[str, Any]:
    """Do the same for the bytes of an answer."""
    if "event-stream" in media_type:
        reader = Reader()
        for document in _events(content):
            reader.take(document)
        return reader.fields()
    if "json" not in media_type:
        return {}
    try:
        return read_answer(json.loads(content))
    except ValueError:
        reader = Reader()
        for document in _lines(content):
            reader.take(document)
        return reader.fields()


def read_cut_body(head: bytes, tail: bytes, media_type: str) -> dict[str, Any]:
    """Do the same for an answer whose middle was not kept: the model stands at one end, the usage at one too."""
    if "event-stream" in media_type:
        reader = Reader()
        for part in (head, tail):
            for document in _events(part):
                reader.take(document)
        return reader.fields()
    reader = Reader()
    for part in (head, tail):
        model = re.search(rb'"(?:model|modelVersion)"\s*:\s*"([^"\\]{1,200})"', part)
        if model:
            reader.take({"model": model.group(1).decode("utf-8", "replace")})
        for found in re.finditer(rb'"(usage|usageMetadata|meta)"\s*:\s*(?=\{)', part):
            try:
                usage, _ = json.JSONDecoder().raw_decode(part[found.end() :].decode("utf-8", "replace"))
            except ValueError:
                continue
            reader.take({found.group(1).decode(): usage})
    return reader.fields()


def model_asked_for(body: bytes) -> str | None:
    """Return the model a request's JSON names. Only its first occurrence is looked for; nothing else is read."""
    found = re.search(rb'"(?:model|model_id|modelId)"\s*:\s*"([^"\\]{1,200})"', body)
    return found.group(1).decode("utf-8", "replace") if found else None


class Reader:
    """Collects what the parts of one answer tell. Later counts go before earlier ones; what is not said again stays."""

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}
        self._model: str | None = None
        self._tier: str | None = None
        self._error: str | None = None

    def take(self, document: object) -> None:
        """Look at one document."""
        if not isinstance(document, dict):
            return
        model = document.get("model") or document.get("modelVersion")
        if isinstance(model, str):
            self._model = model[:200]
        tier = document.get("service_tier")
        if isinstance(tier, str) and 0 < len(tier) <= 256:
            self._tier = tier
        error = document.get("error")
        if error:
            self._error = _error_type(error)
        for name in _USAGE_NAMES:
            usage = document.get(name)
            if isinstance(usage, dict):
                inner = usage.get("usage")
                self._usage.update(inner if isinstance(inner, dict) else usage)
        for name in _WITHIN:
            self.take(document.get(name))

    def fields(self) -> dict[str, Any]:
        """Return what was found."""
        found: dict[str, Any] = {}
        if self._model:
            found["model"] = self._model
        if self._tier and self._tier not in {"default", "auto", "standard"}:
            found["service_variant"] = {"service_tier": self._tier}
        if self._error:
            found["error_type"] = self._error
        tokens, units = counts_of(self._usage)
        if tokens:
            found["tokens"] = tokens
        if units:
            found["units"] = units
        return found


def counts_of(usage: Document) -> tuple[dict[str, int], dict[str, int]]:
    """Return a usage object's model tokens and units by the names that records use."""
    if "billed_units" in usage:
        tokens, units = _cohere(usage)
    elif "promptTokenCount" in usage or "candidatesTokenCount" in usage or "totalTokenCount" in usage:
        tokens, units = _gemini(usage), {}
    elif "inputTokens" in usage or "outputTokens" in usage:
        tokens, units = _bedrock(usage), {}
    elif (
        "prompt_tokens" in usage
        or "completion_tokens" in usage
        or ("total_tokens" in usage and "input_tokens" not in usage)
    ):
        tokens, units = _chat(usage)
    else:
        tokens, units = _messages(usage)
    tokens = {name: min(count, _MAX_TOKENS) for name, count in tokens.items() if count}
    for part, whole in _PARTS:
        if tokens.get(part, 0) > tokens.get(whole, 0):
            tokens[part] = tokens.get(whole, 0)
    return {name: count for name, count in tokens.items() if count}, {
        name: count for name, count in units.items() if count
    }


def _chat(usage: Document) -> tuple[dict[str, int], dict[str, int]]:
    asked, answered = _inner(usage, "prompt_tokens_details"), _inner(usage, "completion_tokens_details")
    tokens = {
        "input": _count(usage, "prompt_tokens") or (_count(usage, "total_tokens") - _count(usage, "completion_tokens")),
        "output": _count(usage, "completion_tokens"),
        "cached_input": _count(asked, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens"),
        "cache_write": _count(asked, "cache_write_tokens"),
        "audio_input": _count(asked, "audio_tokens"),
        "reasoning": _count(answered, "reasoning_tokens"),
        "audio_output": _count(answered, "audio_tokens"),
    }
    if tokens["reasoning"] and _count(usage, "total_tokens") == sum(
        tokens[name] for name in ("input", "output", "reasoning")
    ):
        # Some count reasoning beside the answer, not in it.
        tokens["output"] += tokens["reasoning"]
    return tokens, {"web_searches": _count(usage, "num_search_queries")}


def _messages(usage: Document) -> tuple[dict[str, int], dict[str, int]]:
    # OpenAI's Responses hold the cached tokens in input_tokens; Anthropic's Messages do not.
    asked, answered = _inner(usage, "input_tokens_details"), _inner(usage, "output_tokens_details")
    read, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
    kept = _inner(usage, "cache_creation")
    tools = _inner(usage, "server_tool_use")
    tokens = {
        "input": _count(usage, "input_tokens") + read + written,
        "output": _count(usage, "output_tokens"),
        "cached_input": read or _count(asked, "cached_tokens"),
        "cache_write": written,
        "cache_write_5m": _count(kept, "ephemeral_5m_input_tokens"),
        "cache_write_1h": _count(kept, "ephemeral_1h_input_tokens"),
        "audio_input": _count(asked, "audio_tokens"),
        "image_input": _count(asked, "image_tokens"),
        "reasoning": _count(answered, "reasoning_tokens"),
        "image_output": _count(answered, "image_tokens"),
    }
    return tokens, {"web_searches": _count(tools, "web_search_requests")}


def _gemini(usage: Document) -> dict[str, int]:
    def modality(name: str, kind: str) -> int:
        items = usage.get(name)
        return sum(
            _count(item, "tokenCount")
            for item in (items if isinstance(items, list) else [])
            if isinstance(item, dict) and item.get("modality") == kind
        )

    thoughts = _count(usage, "thoughtsTokenCount")
    return {
        "input": _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount"),
        "output": _count(usage, "candidatesTokenCount") + thoughts,
        "cached_input": _count(usage, "cachedContentTokenCount"),
        "reasoning": thoughts,
        "audio_input": modality("promptTokensDetails", "AUDIO"),
        "image_input": modality("promptTokensDetails", "IMAGE"),
        "audio_output": modality("candidatesTokensDetails", "AUDIO"),
        "image_output": modality("candidatesTokensDetails", "IMAGE"),
    }


def _bedrock(usage: Document) -> dict[str, int]:
    read, written = _count(usage, "cacheReadInputTokens"), _count(usage, "cacheWriteInputTokens")
    return {
        "input": _count(usage, "inputTokens") + read + written,
        "output": _count(usage, "outputTokens"),
        "cached_input": read,
        "cache_write": written,
    }


def _cohere(usage: Document) -> tuple[dict[str, int], dict[str, int]]:
    billed = _inner(usage, "billed_units")
    tokens = {"input": _count(billed, "input_tokens"), "output": _count(billed, "output_tokens")}
    return tokens, {"rerank_searches": _count(billed, "search_units")}


def _inner(usage: Document, name: str) -> Document:
    found = usage.get(name)
    return found if isinstance(found, dict) else {}


def _count(usage: Document, name: str) -> int:
    value = usage.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e15:
        return 0
    return int(value)


def _error_type(error: object) -> str | None:
    # Never the message: it may hold what was asked, or a part of a key.
    if isinstance(error, dict):
        for name in ("type", "code", "status"):
            value = error.get(name)
            if isinstance(value, (str, int)) and value != "":
                return str(value)[:200]
    return None


def _events(content: bytes) -> Iterator[object]:
    """Yield the JSON of server-sent events that can tell something; deltas of text are not even decoded."""
    for event in re.split(rb"\r\n\r\n|\n\n|\r\r", content):
        data = b"\n".join(line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:"))
        if data and _INTERESTING.search(data):
            try:
                yield json.loads(data)
            except ValueError:
                continue


def _lines(content: bytes) -> Iterator[object]:
    for line in content.splitlines():
        if _INTERESTING.search(line):
            try:
                yield json.loads(line)
            except ValueError:
                continue
