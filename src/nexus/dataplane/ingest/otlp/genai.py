"""An inference span as the record of an API call: who was asked for what, how much it used, how it ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from nexus.contracts.calls import MAX_NAME_CHARS, MAX_TAG_VALUE_CHARS, MAX_TEXT_CHARS, MAX_TOKENS, ApiCall, Tokens
from nexus.contracts.prices import PriceBook
from nexus.dataplane.ingest.otlp import attributes as names
from nexus.dataplane.ingest.otlp.model import STATUS_ERROR, Attributes, Span, number_in, text_in
from nexus.dataplane.ingest.otlp.times import duration_ms, instant
from nexus.dataplane.ingest.resolve import provider_slug

_EXCEPTION = "exception"
_MAX_LISTED = 16
_ASKED = (
    "gen_ai.request.max_tokens", "gen_ai.request.temperature", "gen_ai.request.top_p", "gen_ai.request.top_k",
    "gen_ai.request.seed", "gen_ai.request.stream", "gen_ai.request.choice.count", "gen_ai.output.type",
    "gen_ai.request.frequency_penalty", "gen_ai.request.presence_penalty",
)  # fmt: skip


def operation_of(span: Span) -> str | None:
    """Return what an inference span asked for, such as `chat` or `embeddings`; None for every other span."""
    said = span.attributes
    operation = text_in(said, *names.OPERATION)
    if operation:
        return names.INFERENCES.get(operation)
    # The earliest instrumentations named no operation. What has a provider, a model and a count of tokens is one.
    has_usage = any(name in said for name in (*names.TOKENS["input"], *names.TOKENS["output"]))
    return "chat" if has_usage and text_in(said, *names.PROVIDER) and text_in(said, *names.MODEL_ASKED) else None


def is_only_begun(span: Span) -> bool:
    """Tell whether an inference span ends where the answer's stream begins, and another tells how it went.

    Logfire does so: a span for the request, then a span without length that holds usage and duration of the whole.
    """
    said = span.attributes
    if said.get("logfire.span_type") != "span" or span.status == STATUS_ERROR or text_in(said, *names.RESPONSE_ID):
        return False
    return not any(number_in(said, *attributes) is not None for attributes in names.TOKENS.values())


def _times_of(span: Span) -> tuple[int, int]:
    """Return when a call began and ended; a span without length says by its duration how long ago the call began."""
    seconds = number_in(span.attributes, "duration") if span.attributes.get("logfire.span_type") == "log" else None
    if seconds is None or span.end_ns != span.start_ns:
        return span.start_ns, span.end_ns
    return max(0, span.end_ns - int(seconds * 1_000_000_000)), span.end_ns


def call_of(span: Span, *, book: PriceBook, organization_id: UUID, application: str) -> ApiCall:
    """Make the record of an inference. `ValueError` for times that are none.

    `application` is what the key says; where it says nothing, the service that reports is the application.
    """
    said = span.attributes
    start_ns, end_ns = _times_of(span)
    operation = operation_of(span) or "chat"
    provider, operation = _provider_of(said, operation, book, organization_id)
    asked, answered = text_in(said, *names.MODEL_ASKED), text_in(said, *names.MODEL_ANSWERED)
    model = book.model_to_price(provider, answered, asked, organization_id)
    error_type, error_message = error_of(span)
    endpoints = names.ENDPOINTS.get(provider, names.ENDPOINTS[""])
    response_id = text_in(said, *names.RESPONSE_ID)
    details: dict[str, Any] = {"operation": operation}
    if response_id:
        details["response_id"] = clip(response_id)
    if asked and asked != model:
        details["requested_model"] = clip(asked)
    reasons = said.get("gen_ai.response.finish_reasons") or text_in(said, "ai.response.finishReason")
    if reasons:
        listed = reasons if isinstance(reasons, list) else [reasons]
        details["finish_reasons"] = [clip(str(reason)) for reason in listed[:_MAX_LISTED]]
    asked_for = {
        name.removeprefix("gen_ai.request."): said[name]
        for name in _ASKED
        if isinstance(said.get(name), (int, float, str))
    }
    if asked_for:
        details["request"] = {
            name: clip(value) if isinstance(value, str) else value for name, value in asked_for.items()
        }
    return ApiCall(
        provider=provider,
        status_code=_status_of(span, error_type),
        id=record_id(span),
        timestamp=instant(start_ns),
        endpoint=endpoints.get(operation, operation),
        method="POST",
        response_time_ms=duration_ms(start_ns, end_ns),
        time_to_first_byte_ms=_first_chunk_ms(said),
        model=clip(model) or None,
        tokens=tokens_of(said),
        end_user=clip(text_in(said, *names.END_USER)) or None,
        session_id=clip(text_in(said, *names.CONVERSATION)) or None,
        region=clip(text_in(said, *names.REGION)) or None,
        trace_id=span.trace_id,
        application=None if application else clip(text_in(span.resource, "service.name")) or None,
        tags=tags_of(span.resource),
        metadata={"otel": span_details(span) | details},
        error_type=error_type or None,
        error_message=error_message or None,
    )


def _provider_of(said: Attributes, operation: str, book: PriceBook, organization_id: UUID) -> tuple[str, str]:
    """Return the catalog's name of the provider, and the operation, which some dialects write behind the provider's name."""
    name = text_in(said, *names.PROVIDER).strip()
    known = book.provider_of(name, organization_id) if name else None
    if known is None and "." in name:
        # `openai.responses`, `anthropic.messages`, `google.generative-ai`: the client library and its way of calling.
        head, _, way = name.partition(".")
        known = book.provider_of(head, organization_id)
        if known is not None and way == "responses":
            operation = "responses"
    if text_in(said, "openai.api.type", "gen_ai.openai.api.type") == "responses":
        operation = "responses"
    return known or as_slug(name), operation


def as_slug(name: str) -> str:
    """Make any name the slug of a provider; `unknown` where nothing of it can be kept."""
    slug = "".join(
        letter for letter in provider_slug(name) if letter.isascii() and (letter.isalnum() or letter in ".-")
    )
    return slug.strip(".-")[:64] or "unknown"


def tokens_of(said: Attributes) -> Tokens | None:
    """Return what was used, in our classes: cached tokens are part of the input, reasoning is part of the output.

    The conventions say the same. Instrumentations that hand on Anthropic's own counts, which leave cached tokens out of
    the input, or a count of reasoning beside the output, are told by their total, or by parts larger than their whole.
    """
    counts: dict[str, int] = {}
    for name, attributes in names.TOKENS.items():
        value = number_in(said, *attributes)
        if value:
            counts[name] = min(int(value), MAX_TOKENS)
    if not counts:
        return None
    total = number_in(said, *names.TOTAL_TOKENS)
    whole_in, whole_out = counts.get("input", 0), counts.get("output", 0)
    cached = counts.get("cached_input", 0) + counts.get("cache_write", 0)
    reasoning = counts.get("reasoning", 0)
    plain, all_parts = whole_in + whole_out, whole_in + cached + whole_out + reasoning
    if cached and (cached > whole_in or total in {plain + cached, all_parts}):
        counts["input"] = min(whole_in + cached, MAX_TOKENS)
    if reasoning and (reasoning > whole_out or total in {plain + reasoning, all_parts}):
        counts["output"] = min(whole_out + reasoning, MAX_TOKENS)
    # A part that is larger than its whole all the same would be refused, and the whole is what most agree on.
    for part, whole in (("audio_input", "input"), ("audio_output", "output")):
        if part in counts:
            counts[part] = min(counts[part], counts.get(whole, 0))
    return Tokens(**counts)


def _status_of(span: Span, error_type: str) -> int:
    status = number_in(span.attributes, *names.STATUS)
    if status is not None and status <= 999:
        return int(status)
    if not error_type:
        return 0 if span.status == STATUS_ERROR else 200
    if error_type.isascii() and error_type.isdecimal() and len(error_type) == 3:
        return int(error_type)
    return names.STATUS_OF_ERROR.get(error_type.rpartition(".")[2].lower(), 0)


def error_of(span: Span) -> tuple[str, str]:
    """Return class and message of the error a span ended in; empty texts where it ended well."""
    exception = next((event for event in reversed(span.events) if event.name == _EXCEPTION), None)
    error_type = text_in(span.attributes, *names.ERROR_TYPE)
    if span.status != STATUS_ERROR and not error_type:
        return "", ""
    told = exception.attributes if exception else {}
    error_type = error_type or text_in(told, "exception.type")
    message = span.status_message or text_in(told, "exception.message")
    return clip(error_type), clip(message, MAX_TEXT_CHARS)


def _first_chunk_ms(said: Attributes) -> float | None:
    seconds = number_in(said, *names.TIME_TO_FIRST_CHUNK_SECONDS)
    return number_in(said, *names.TIME_TO_FIRST_CHUNK_MS) if seconds is None else seconds * 1000


def record_id(span: Span) -> str:
    """Return the id of the record made of a span: a span sent again makes the same record."""
    return f"otel:{span.trace_id}:{span.span_id}"


def span_details(span: Span) -> dict[str, Any]:
    """Return what a record keeps of the span it was made of."""
    details: dict[str, Any] = {"span_id": span.span_id, "name": clip(span.name)}
    if span.parent_id:
        details["parent_span_id"] = clip(span.parent_id)
    if span.scope:
        details["scope"] = clip(span.scope)
    return details


def tags_of(resource: Attributes) -> dict[str, str] | None:
    """Return which service of which environment reports."""
    found = {
        "service": text_in(resource, "service.name"),
        "environment": text_in(resource, "deployment.environment.name", "deployment.environment"),
    }
    return {name: clip(value, MAX_TAG_VALUE_CHARS) for name, value in found.items() if value} or None


def clip(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """Make a foreign text storable: no NUL, not too long."""
    return text[:limit].replace("\x00", "")
