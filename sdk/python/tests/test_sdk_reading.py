"""What is read from answers and addresses."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from nexus_client.ids import uuid7
from nexus_client.providers import Providers, model_in_path, template_of
from nexus_client.usage import model_asked_for, read_answer, read_body, read_cut_body

ANSWERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "OpenAI chat",
        {
            "model": "gpt-4o-2024-08-06",
            "service_tier": "flex",
            "usage": {
                "prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140,
                "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 0},
            },
        },
        {
            "model": "gpt-4o-2024-08-06",
            "service_variant": {"service_tier": "flex"},
            "tokens": {"input": 100, "output": 40, "cached_input": 60, "audio_input": 5, "reasoning": 30},
        },
    ),
    (
        "OpenAI responses",
        {
            "model": "gpt-5",
            "usage": {
                "input_tokens": 75, "input_tokens_details": {"cached_tokens": 25},
                "output_tokens": 1186, "output_tokens_details": {"reasoning_tokens": 1024}, "total_tokens": 1261,
            },
        },
        {"model": "gpt-5", "tokens": {"input": 75, "output": 1186, "cached_input": 25, "reasoning": 1024}},
    ),
    (
        "OpenAI embeddings",
        {"model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8}},
        {"model": "text-embedding-3-small", "tokens": {"input": 8}},
    ),
    (
        "Anthropic, whose cached tokens are beside the others",
        {
            "model": "claude-sonnet-4-5",
            "usage": {
                "input_tokens": 10, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 1000,
                "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
                "output_tokens": 50, "server_tool_use": {"web_search_requests": 2}, "service_tier": "standard",
            },
        },
        {
            "model": "claude-sonnet-4-5",
            "tokens": {
                "input": 1110, "output": 50, "cached_input": 1000, "cache_write": 100,
                "cache_write_5m": 60, "cache_write_1h": 40,
            },
            "units": {"web_searches": 2},
        },
    ),
    (
        "Gemini, whose thoughts are beside the answer",
        {
            "modelVersion": "gemini-2.5-flash",
            "usageMetadata": {
                "promptTokenCount": 30, "candidatesTokenCount": 12, "thoughtsTokenCount": 8, "totalTokenCount": 50,
                "cachedContentTokenCount": 10, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}],
            },
        },
        {
            "model": "gemini-2.5-flash",
            "tokens": {"input": 30, "output": 20, "cached_input": 10, "reasoning": 8, "audio_input": 4},
        },
    ),
    (
        "Mistral",
        {"model": "mistral-large-latest", "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}},
        {"model": "mistral-large-latest", "tokens": {"input": 5, "output": 7}},
    ),
    (
        "Cohere's second version",
        {"usage": {"billed_units": {"input_tokens": 17, "output_tokens": 12}, "tokens": {"input_tokens": 215}}},
        {"tokens": {"input": 17, "output": 12}},
    ),
    (
        "Cohere's rerank",
        {"meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}},
        {"units": {"rerank_searches": 1}},
    ),
    (
        "DeepSeek",
        {"model": "deepseek-chat", "usage": {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8}},
        {"model": "deepseek-chat", "tokens": {"input": 9, "output": 1, "cached_input": 8}},
    ),
    (
        "reasoning beside the answer",
        {
            "model": "grok-4",
            "usage": {
                "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115,
                "completion_tokens_details": {"reasoning_tokens": 100},
            },
        },
        {"model": "grok-4", "tokens": {"input": 10, "output": 105, "reasoning": 100}},
    ),
    (
        "Bedrock",
        {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 17, "cacheReadInputTokens": 10}},
        {"tokens": {"input": 13, "output": 4, "cached_input": 10}},
    ),
    (
        "an error, without its message",
        {"error": {"message": "Incorrect API key provided: sk-abc", "type": "invalid_request_error", "code": "bad"}},
        {"error_type": "invalid_request_error"},
    ),
    ("nonsense", {"usage": {"prompt_tokens": "many", "completion_tokens": -1}, "model": 5}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_usage_is_brought_to_one_form(answer: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_answer(answer) == expected
    assert read_body(json.dumps(answer).encode(), "application/json") == expected


def test_part_is_never_larger_than_its_whole() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 50}}

    assert read_answer({"usage": usage})["tokens"] == {"input": 5, "output": 1, "cached_input": 5}


STREAMS: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    (
        "chat",
        [
            {"model": "gpt-4o", "choices": [{"delta": {"content": "Hel"}}], "usage": None},
            {"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        ],
        {"model": "gpt-4o", "tokens": {"input": 3, "output": 2}},
    ),
    (
        "responses",
        [
            {"type": "response.created", "response": {"model": "gpt-5", "usage": None}},
            {"type": "response.output_text.delta", "delta": "Hel"},
            {
                "type": "response.completed",
                "response": {"model": "gpt-5", "usage": {"input_tokens": 3, "output_tokens": 2}},
            },
        ],
        {"model": "gpt-5", "tokens": {"input": 3, "output": 2}},
    ),
    (
        "messages, whose counts come in two parts",
        [
            {
                "type": "message_start",
                "message": {
                    "model": "claude-haiku-4-5",
                    "usage": {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1},
                },
            },
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hel"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
        ],
        {"model": "claude-haiku-4-5", "tokens": {"input": 30, "output": 15, "cached_input": 5}},
    ),
    (
        "Cohere",
        [
            {"type": "content-delta", "delta": {"message": {"content": {"text": "Hel"}}}},
            {"type": "message-end", "delta": {"usage": {"billed_units": {"input_tokens": 4, "output_tokens": 6}}}},
        ],
        {"tokens": {"input": 4, "output": 6}},
    ),
]


@pytest.mark.parametrize(("events", "expected"), [case[1:] for case in STREAMS], ids=[case[0] for case in STREAMS])
def test_usage_is_read_from_events(events: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    for end in ("\n", "\r\n"):
        content = (
            "".join(f"event: x{end}data: {json.dumps(event)}{end}{end}" for event in events) + f"data: [DONE]{end}"
        )
        assert read_body(content.encode(), "text/event-stream") == expected


def test_list_and_lines_of_documents_are_read() -> None:
    parts = [
        {"modelVersion": "gemini-2.5-pro", "usageMetadata": {"promptTokenCount": 4}},
        {"modelVersion": "gemini-2.5-pro", "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 6}},
    ]
    expected = {"model": "gemini-2.5-pro", "tokens": {"input": 4, "output": 6}}

    assert read_body(json.dumps(parts).encode(), "application/json") == expected
    assert read_body("\n".join(map(json.dumps, parts)).encode(), "application/stream+json") == expected


def test_usage_is_found_at_the_ends_of_an_answer_whose_middle_was_not_kept() -> None:
    whole = json.dumps(
        {"data": [0.25] * 5000, "model": "text-embedding-3-large", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    ).encode()

    found = read_cut_body(whole[:1000], whole[-1000:], "application/json")

    assert found == {"model": "text-embedding-3-large", "tokens": {"input": 8}}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2", b"null", b'"usage"', b'{"usage": [1]}'])
@pytest.mark.parametrize("media_type", ["application/json", "text/event-stream", "application/x-ndjson", "text/html"])
def test_nothing_is_read_from_what_is_no_answer(content: bytes, media_type: str) -> None:
    assert read_body(content, media_type) == {}
    assert read_cut_body(content, content, media_type) == {}


def test_model_is_read_from_a_request_or_a_path() -> None:
    assert model_asked_for(b'{"messages": [], "model" : "gpt-4o-mini"}') == "gpt-4o-mini"
    assert model_asked_for(b"--boundary") is None
    assert model_in_path("/v1beta/models/gemini-2.5-pro:streamGenerateContent") == "gemini-2.5-pro"
    assert (
        model_in_path("/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke")
        == "anthropic.claude-3-haiku-20240307-v1:0"
    )
    assert model_in_path("/v1/chat/completions") is None


@pytest.mark.parametrize(
    ("provider", "path", "template"),
    [
        ("openai", "/v1/chat/completions", "/v1/chat/completions"),
        ("openai", "/v1/chat/completions?api_key=sk-secret", "/v1/chat/completions"),
        ("openai", "/v1/threads/thread_abc123/runs", "/v1/threads/{id}/runs"),
        ("openai", "/v1/models/gpt-4o", "/v1/models/{model}"),
        ("google", "/v1beta/models/gemini-2.5-pro:generateContent", "/v1beta/models/{model}:generateContent"),
        ("azure", "/openai/deployments/our-own/chat/completions", "/openai/deployments/{deployment}/chat/completions"),
        ("aws", "/model/anthropic.claude-v2%3A1/invoke", "/model/{model}/invoke"),
        (
            "twilio",
            "/2010-04-01/Accounts/AC0123456789/Messages.json",
            "/2010-04-01/Accounts/{AccountSid}/Messages.json",
        ),
        (
            "twilio",
            "/2010-04-01/Accounts/AC01/Messages/SM02.json",
            "/2010-04-01/Accounts/{AccountSid}/Messages/{Sid}.json",
        ),
        ("github", "/repos/acme/rocket/issues", "/repos/{owner}/{repo}/issues"),
        ("stripe", "/v1/charges/ch_3MmlLrLkdIwHu7ix0snN0B15", "/v1/charges/{charge}"),
        ("hooks", "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX", "/services/{id}/{id}/{id}"),
        ("telegram", "/bot110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/getMe", "/{id}/getMe"),
        ("x", "", "/"),
    ],
)
def test_path_is_recorded_as_a_template(provider: str, path: str, template: str) -> None:
    assert template_of(path, provider) == template


def test_provider_is_known_by_its_host() -> None:
    known = Providers({"llm.internal:8000": "internal"}, records_unknown=False, own_url="http://nexus.internal:8420")

    assert known.of("API.openai.com", None) == "openai"
    assert known.of("ours.openai.azure.com", None) == "azure"
    assert known.of("bedrock-runtime.eu-central-1.amazonaws.com", None) == "aws"
    assert known.of("europe-west4-aiplatform.googleapis.com", None) == "google"
    assert known.of("llm.internal", 8000) == "internal"
    assert known.of("llm.internal", 8001) is None
    assert known.of("example.com", None) is None


def test_calls_through_nexus_itself_are_never_recorded() -> None:
    known = Providers({}, records_unknown=True, own_url="http://nexus.internal:8420")

    assert known.of("nexus.internal", 8420) is None
    assert known.of("example.com", None) == "example.com"


def test_id_is_of_version_7_and_carries_its_time() -> None:
    made = uuid.UUID(uuid7(1_700_000_000_123_456_789))

    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == 1_700_000_000_123
    assert len({uuid7() for _ in range(1000)}) == 1000
