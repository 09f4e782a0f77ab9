"""An access key uses the providers, models and endpoints it may, and no others; its successor neither."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from nexus.contracts.gateway import Reach
from nexus.identity import access_keys, provider_credential_key_reach
from nexus.identity.provider_credential_key_reach import KeyReach
from nexus.kit.clock import SYSTEM_CLOCK
from tests.dataplane.gateway.conftest import Node


async def limit(node: Node, **reach: Any) -> None:
    async with node.database.tenant(node.organization_id) as connection:
        await provider_credential_key_reach.put(connection, node.organization_id, node.key_id, KeyReach(**reach))
    await node.snapshots.refresh()


async def ask(
    node: Node, path: str, model: str = "sandbox-1", key: str = "", body: bytes | None = None
) -> tuple[int, str]:
    content = body or json.dumps({"model": model, "input": "x", "max_tokens": 1, "messages": []}).encode()
    headers = {"authorization": f"Bearer {key or node.key}", "content-type": "application/json"}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{node.url}/gw/{path}", headers=headers, data=content) as answer,
    ):
        await answer.read()
        return answer.status, answer.headers.get("x-nexus-error", "")


REFUSED = (403, "not_allowed_for_key")


async def test_providers_endpoints_and_models_are_kept_to(node: Node) -> None:
    await limit(node, providers=["openai"], endpoints=["/v1/chat/*", "/v1/emb*"], models=["sandbox-*", "gpt-4o"])

    assert (await ask(node, "openai/v1/chat/completions"))[0] == 200
    assert (await ask(node, "v1/chat/completions", "openai/sandbox-1"))[0] == 200
    assert await ask(node, "openai/v1/chat/completions", "gpt-5") == REFUSED
    assert await ask(node, "openai/v1/responses") == REFUSED
    assert await ask(node, "anthropic/v1/messages") == REFUSED
    assert await ask(node, "v1/chat/completions", "anthropic/sandbox-1") == REFUSED
    assert await ask(node, "v1/chat/completions", "openai/gpt-5") == REFUSED
    assert await ask(node, "openai/v1/chat/completions", body=b"this is no JSON") == REFUSED
    assert len(node.sandbox.seen) == 2


async def test_a_model_named_twice_is_read_as_it_was_checked(node: Node) -> None:
    await limit(node, models=["sandbox-1"])

    status, _ = await ask(node, "openai/v1/embeddings", body=b'{"model":"gpt-5","input":"x","model":"sandbox-1"}')

    assert status == 200 and node.sandbox.seen[-1][3].count(b'"model"') == 1
    assert await ask(node, "openai/v1/embeddings", body=b'{"model":"sandbox-1","input":"x","model":"gpt-5"}') == REFUSED
    assert await ask(node, "openai/deployments/gpt-5/embeddings") == REFUSED


async def test_a_rotated_key_has_the_reach_of_the_one_before(node: Node) -> None:
    await limit(node, providers=["anthropic"])
    async with node.database.as_system() as connection:
        made = await access_keys.rotate(connection, node.organization_id, node.key_id, at=SYSTEM_CLOCK.now())
        again = await access_keys.rotate(connection, node.organization_id, made.access_key.id, at=SYSTEM_CLOCK.now())
    await node.snapshots.refresh()

    assert await ask(node, "openai/v1/embeddings", key=made.key) == REFUSED
    assert await ask(node, "openai/v1/embeddings", key=again.key) == REFUSED
    assert (await ask(node, "anthropic/v1/messages", key=again.key))[0] == 200


@pytest.mark.parametrize(
    ("pattern", "model", "expected"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt*", "GPT-5", True),
        ("*", "", True),
        ("a.c", "abc", False),
    ],
)
def test_patterns(pattern: str, model: str, expected: bool) -> None:
    assert Reach(models=[pattern]).allows_model(model) is expected
