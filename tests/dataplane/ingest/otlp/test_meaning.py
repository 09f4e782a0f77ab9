"""What spans of many dialects mean as calls."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.dataplane.ingest.otlp.conftest import Receiver
from tests.dataplane.ingest.otlp.payloads import request, span
from tests.dataplane.ingest.otlp.test_receiver import CHAT

DIALECTS: dict[str, dict[str, Any]] = {
    "conventions": CHAT,
    "before 1.37": {
        "gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.prompt_tokens": 1000, "gen_ai.usage.completion_tokens": 100,
    },
    "openinference": {
        "openinference.span.kind": "LLM", "llm.provider": "openai", "llm.model_name": "gpt-4o",
        "llm.token_count.prompt": 1000, "llm.token_count.completion": 100, "llm.token_count.total": 1100,
    },
    "openllmetry": {
        "llm.request.type": "chat", "gen_ai.system": "OpenAI", "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.prompt_tokens": 1000, "gen_ai.usage.completion_tokens": 100, "llm.usage.total_tokens": 1100,
    },
    "vercel": {
        "ai.operationId": "ai.generateText.doGenerate", "operation.name": "ai.generateText.doGenerate",
        "ai.model.provider": "openai.chat", "ai.model.id": "gpt-4o", "ai.usage.inputTokens": 1000,
        "ai.usage.outputTokens": 100,
    },
    "no operation": {
        "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
    },
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_tells_the_same_call(receiver: Receiver, dialect: str) -> None:
    await receiver.tell(request(span(1, DIALECTS[dialect], kind=1)))
    (row,) = receiver.stored
    assert (row["provider"], row["endpoint"]) == ("openai", "/v1/chat/completions")
    assert row["model"].startswith("gpt-4o")
    assert (row["input_tokens"], row["output_tokens"], row["cost_nanos"]) == (1000, 100, 3_000_000)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # Anthropic's own counts leave cached tokens out of the input: the total tells, or a part larger than its whole.
        ({"input": 100, "cache_read.input": 900, "output": 10, "total": 1010}, (1000, 900, 0, 10, 0)),
        ({"input": 100, "cache_read.input": 900, "cache_creation.input": 50, "output": 10}, (1050, 900, 50, 10, 0)),
        ({"input": 1000, "cache_read.input": 900, "output": 10, "total": 1010}, (1000, 900, 0, 10, 0)),
        ({"input": 1000, "cache_read.input": 400, "output": 10}, (1000, 400, 0, 10, 0)),
        ({"input": 5, "output": 10, "reasoning.output": 30}, (5, 0, 0, 40, 30)),
        ({"input": 5, "output": 30, "reasoning.output": 10, "total": 45}, (5, 0, 0, 40, 10)),
        ({"input": 5, "output": 30, "reasoning.output": 10, "total": 35}, (5, 0, 0, 30, 10)),
        ({"input": 100, "cache_read.input": 50, "output": 30, "reasoning.output": 10, "total": 190}, (150, 50, 0, 40, 10)),
    ],
)  # fmt: skip
async def test_parts_are_contained_in_their_wholes(
    receiver: Receiver, said: dict[str, int], expected: tuple[int, ...]
) -> None:
    told = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4",
    } | {f"gen_ai.usage.{name}_tokens": count for name, count in said.items()}  # fmt: skip
    await receiver.tell(request(span(1, told)))
    (row,) = receiver.stored
    names = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    assert tuple(row[name] for name in names) == expected
    assert row["cost_nanos"] is not None and row["endpoint"] == "/v1/messages"


@pytest.mark.parametrize(
    ("said", "more", "status", "kind"),
    [
        ({"error.type": "429"}, {"status": {"code": 2, "message": "slow down"}}, 429, "429"),
        ({"error.type": "openai.RateLimitError"}, {"status": {"code": 2}}, 429, "openai.RateLimitError"),
        ({"http.response.status_code": 503, "error.type": "x"}, {"status": {"code": 2}}, 503, "x"),
        ({"error.type": "APIConnectionError"}, {"status": {"code": 2}}, 0, "APIConnectionError"),
    ],
)
async def test_errors_have_a_status_and_their_class(
    receiver: Receiver, said: dict[str, Any], more: dict[str, Any], status: int, kind: str
) -> None:
    await receiver.tell(request(span(1, CHAT | said, **more)))
    (row,) = receiver.stored
    assert (row["status_code"], row["error_type"]) == (status, kind)


async def test_secret_in_an_error_message_or_a_url_is_not_stored(receiver: Receiver) -> None:
    secret = "sk-abcdefghijklmnopqrstuvwxyz012345"
    status = {"code": 2, "message": f"Incorrect API key provided: {secret}"}
    http = {"http.method": "GET", "http.url": f"https://zoe:{secret}@maps.example/v1/find?key={secret}"}
    await receiver.tell(request(span(1, CHAT, status=status), span(2, http)))
    assert len(receiver.stored) == 2 and secret not in str(receiver.stored)


async def test_client_http_span_is_a_call_of_the_provider_whose_host_it_names(receiver: Receiver) -> None:
    said = {
        "http.request.method": "POST", "url.full": "https://api.openai.com/v1/files?purpose=x",
        "http.response.status_code": 201, "http.request.body.size": 77,
    }  # fmt: skip
    old = {"http.method": "GET", "net.peer.name": "Weather.Example", "http.target": "/now?q=1", "http.status_code": 404}
    server = {"http.request.method": "GET", "url.path": "/orders", "server.address": "shop.example"}
    await receiver.tell(request(span(1, said), span(2, old), span(3, server, kind=2)))

    rows = sorted(receiver.stored, key=lambda row: row["provider"])
    assert [(row["provider"], row["method"], row["endpoint"], row["status_code"]) for row in rows] == [
        ("openai", "POST", "/v1/files", 201), ("weather.example", "GET", "/now", 404),
    ]  # fmt: skip
    assert rows[0]["request_bytes"] == 77
    assert receiver.fates() == {"kept": 2, "not_kept": 1}


async def test_http_request_within_an_inference_is_not_a_second_call(receiver: Receiver) -> None:
    http = {"http.request.method": "POST", "url.full": "https://api.openai.com/v1/chat/completions"}
    document = request(span(3, http, parent=2), span(2, {}, parent=1, kind=1), span(1, CHAT))
    await receiver.tell(document)
    (row,) = receiver.stored
    assert row["model"] == "gpt-4o-2024-08-06" and receiver.fates()["told_elsewhere"] == 1


async def test_of_inferences_within_each_other_the_inner_ones_count(receiver: Receiver) -> None:
    framework = CHAT | {"gen_ai.usage.input_tokens": 2000}
    await receiver.tell(request(span(1, framework, kind=1), span(2, CHAT, parent=1), span(3, CHAT, parent=1)))
    assert [row["input_tokens"] for row in receiver.stored] == [1000, 1000]


async def test_request_of_a_tool_within_an_inference_is_a_call_of_its_own(receiver: Receiver) -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}
    http = {"http.request.method": "GET", "url.full": "https://weather.example/now"}
    await receiver.tell(request(span(1, CHAT), span(2, tool, parent=1, kind=1), span(3, http, parent=2)))
    assert {row["provider"] for row in receiver.stored} == {"openai", "weather.example"}


async def test_what_was_called_at_our_own_address_the_gateway_tells(receiver: Receiver) -> None:
    through = CHAT | {"server.address": "nexus.example", "server.port": 443}
    http = {"http.request.method": "POST", "url.full": "https://nexus.example/gw/openai/v1/embeddings"}
    elsewhere = CHAT | {"server.address": "api.openai.com", "server.port": 443}
    local = CHAT | {"server.address": "127.0.0.1", "server.port": 8420}
    answer = await receiver.tell(
        request(span(1, through), span(2, http), span(3, elsewhere), span(4, local)), host="127.0.0.1:8420"
    )
    assert answer.body == b"" and receiver.fates() == {"kept": 1, "told_elsewhere": 3}


async def test_agents_chains_and_tools_are_accepted_and_counted_as_not_kept(receiver: Receiver) -> None:
    others = [
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 5},
        {"openinference.span.kind": "CHAIN", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 3},
        {"ai.operationId": "ai.generateText", "ai.model.id": "gpt-4o", "ai.usage.inputTokens": 5},
        {"gen_ai.operation.name": "execute_tool"},
    ]
    answer = await receiver.tell(request(*(span(n, said, kind=1) for n, said in enumerate(others, 1))))
    assert answer.body == b"" and receiver.fates() == {"not_kept": 4}


TOOL_CALL: dict[str, Any] = {
    "mcp.method.name": "tools/call", "gen_ai.tool.name": "weather", "gen_ai.operation.name": "execute_tool",
    "mcp.protocol.version": "2026-07-28", "jsonrpc.request.id": "7", "network.transport": "tcp",
}  # fmt: skip


async def test_tool_call_told_by_client_and_server_is_one_record(receiver: Receiver) -> None:
    client = span(1, TOOL_CALL, kind=3, name="tools/call weather")
    transport = span(2, {"http.request.method": "POST", "url.full": "https://tools.example/mcp"}, parent=1)
    server = span(3, TOOL_CALL, parent=1, kind=2, name="tools/call weather")
    upstream = span(4, {"http.request.method": "GET", "url.full": "https://weather.example/now"}, parent=3)
    await receiver.tell(request(client, transport))
    await receiver.tell(request(server, upstream, resource={"service.name": "weather-server"}))

    (row,) = receiver.decoded("tool_call")
    (asked,) = receiver.decoded("mcp_request")
    assert (asked["method"], asked["target"], asked["request_id"]) == ("tools/call", "weather", "7")
    assert (row["tool"], row["outcome"], row["duration_us"]) == ("weather", "ok", 500_000)
    assert (row["protocol_version"], row["transport"], row["request_id"]) == ("2026-07-28", "streamable_http", "7")
    # The transport is part of the tool call; what the tool asked of others is a call of its own.
    assert [call["provider"] for call in receiver.stored] == ["weather.example"]


async def test_tool_errors_and_protocol_errors_are_told_apart(receiver: Receiver) -> None:
    failed = TOOL_CALL | {"error.type": "tool_error"}
    broken = TOOL_CALL | {"error.type": "-32602", "rpc.response.status_code": "-32602"}
    old = {"mcp.tool.name": "weather", "mcp.tool.result.is_error": True}
    await receiver.tell(
        request(
            span(1, failed, kind=2, status={"code": 2}),
            span(2, broken, kind=2, status={"code": 2, "message": "Invalid params"}),
            span(3, old, kind=2),
            span(4, {"mcp.method.name": "tools/list"}, kind=2),
        )
    )
    found = sorted(
        (row["outcome"], row["error_code"] or "", row["error_message"] or "") for row in receiver.decoded("tool_call")
    )
    assert found == [
        ("protocol_error", "-32602", "Invalid params"), ("tool_error", "", ""), ("tool_error", "", ""),
    ]  # fmt: skip
    assert receiver.fates() == {"kept": 4}
    # Each span is a request, too; one that calls no tool is nothing else.
    requests = Counter((row["method"], row["target"], row["outcome"]) for row in receiver.decoded("mcp_request"))
    assert requests == {
        ("tools/call", "weather", "tool_error"): 2, ("tools/call", "weather", "protocol_error"): 1, ("tools/list", "", "ok"): 1,
    }  # fmt: skip


async def test_requests_of_the_protocol_are_told_once_by_client_and_server_and_notifications_are_not_kept(
    receiver: Receiver,
) -> None:
    asked = {"mcp.method.name": "resources/read", "mcp.resource.uri": "file:///a?token=1", "jsonrpc.request.id": "9"}
    prompt = {"mcp.method.name": "prompts/get", "gen_ai.prompt.name": "greet", "jsonrpc.request.id": "10"}
    await receiver.tell(
        request(
            span(1, asked, kind=3),
            span(2, {"http.request.method": "POST", "url.full": "https://tools.example/mcp"}, parent=1),
            span(3, asked, parent=1, kind=2),
            span(4, prompt, kind=2),
            span(5, {"mcp.method.name": "notifications/progress"}, kind=2),
        )
    )
    found = sorted((row["method"], row["target"]) for row in receiver.decoded("mcp_request"))
    assert found == [("prompts/get", "greet"), ("resources/read", "file:///a")]
    assert receiver.decoded("tool_call") == [] and receiver.stored == []
    assert receiver.fates() == {"kept": 3, "told_elsewhere": 1, "not_kept": 1}


async def test_arguments_of_a_tool_are_kept_masked(receiver: Receiver) -> None:
    secret = "sk-abcdefghijklmnopqrstuvwxyz012345"
    said = TOOL_CALL | {
        "gen_ai.tool.call.arguments": f'{{"city": "Zürich", "token": "{secret}"}}',
        "gen_ai.tool.call.result": "no JSON, but a text",
    }
    await receiver.tell(request(span(1, said, kind=2)))
    (row,) = receiver.decoded("tool_call")
    assert row["parameters"]["city"] == "Zürich" and row["response"] == "no JSON, but a text"
    assert secret not in str(row)
