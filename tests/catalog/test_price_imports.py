"""Price lists over HTTP: taken in once, conflicts listed, all of it in the audit log, nonsense refused."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from nexus.catalog import price_import_routes
from nexus.identity.types import FirstStart

URL = "/api/catalog/imports"


def litellm(**models: dict[str, Any]) -> str:
    return json.dumps({name: {"litellm_provider": "openai", "mode": "chat", **model} for name, model in models.items()})


@pytest.fixture
def operator(client: httpx.AsyncClient, first: FirstStart) -> httpx.AsyncClient:
    client.headers["authorization"] = f"Bearer {first.access_key}"
    return client


async def test_a_list_is_tried_dry_taken_in_once_and_audited(operator: httpx.AsyncClient) -> None:
    content = litellm(**{"brand-new-model": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}})
    list_ = {"source": "litellm", "content": content}

    dry = await operator.post(URL, json=list_ | {"dry_run": True})
    before = await operator.get("/api/catalog/prices", params={"provider": "openai", "model": "brand-new-model"})
    done = await operator.post(URL, json=list_)
    again = await operator.post(URL, json=list_)
    after = await operator.get("/api/catalog/prices", params={"provider": "openai", "model": "brand-new-model"})
    log = await operator.get("/api/governance/audit-log", params={"action": "price_list_import"})
    newest = (await operator.get(URL)).json()["items"][0]

    assert (dry.status_code, dry.json()["prices_added"], dry.json()["is_dry_run"]) == (200, 1, True), dry.text
    assert before.json()["items"] == []
    assert done.json()["prices_added"] == 1 and again.json()["prices_unchanged"] == 1
    parts = {part["unit"]: part["amount"] for part in after.json()["items"][0]["components"]}
    assert parts == {"input": "0.000001", "output": "0.000002"}
    entries = log.json()["items"]
    assert [entry["new_row"]["changes"] > 0 for entry in entries] == [False, True]
    assert {entry["new_row"]["source"] for entry in entries} == {"litellm"} and entries[0]["actor_key_id"]
    assert newest["source"] == "litellm" and newest["imported_by"] == entries[0]["actor_label"]


async def test_what_another_source_says_is_a_conflict_and_overwrites_nothing(operator: httpx.AsyncClient) -> None:
    await operator.post(URL, json={"source": "genai-prices"})
    known = (await operator.get("/api/catalog/prices", params={"provider": "openai", "model": "gpt-4o"})).json()[
        "items"
    ]

    done = await operator.post(
        URL, json={"source": "litellm", "content": litellm(**{"gpt-4o": {"input_cost_per_token": 1}})}
    )
    conflicts = (await operator.get("/api/catalog/price-conflicts", params={"provider": "openai"})).json()["items"]

    assert done.status_code == 200 and done.json()["new_conflicts"] == 1, done.text
    assert [(item["model"], item["source"], item["in_force_source"]) for item in conflicts] == [
        ("gpt-4o", "litellm", "genai-prices")
    ]
    after = (await operator.get("/api/catalog/prices", params={"provider": "openai", "model": "gpt-4o"})).json()[
        "items"
    ]
    assert after == known


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("litellm", None), ("litellm", ""), ("litellm", "nonsense"), ("litellm", "{}"), ("litellm", "[1]"),
        ("litellm", "{\"a\u0000\": 1}"), ("litellm", '{"a": NaN, "b": {"litellm_provider": "x"}}'), ("litellm", "[" * 100_000),
        ("genai-prices", "{}"), ("genai-prices", '[{"id": "x", "models": 7}]'),
        ("genai-prices", '[{"id": "x", "models": [{"id": 1, "prices": "x"}]}]'),
        ("genai-prices", '[{"id": "not a slug!", "name": "x", "models": []}]'),
        ("genai-prices", '[{"id": "x", "pricing_urls": 5, "models": []}]'),
        ("models.dev", "[]"), ("models.dev", '{"a": 1}'),
        ("models.dev", '{"A B!": {"models": {"m": {"cost": {"input": 1}}}}}'),
        ("models.dev", '{"a": {"models": {"\\u0000": {"cost": {"input": 1}}}}}'),
    ],
)  # fmt: skip
async def test_what_is_no_price_list_is_refused_by_name(
    operator: httpx.AsyncClient, source: str, content: str | None
) -> None:
    answer = await operator.post(URL, json={"source": source, "content": content})

    assert answer.status_code == 422, answer.text
    assert [fault["field"] for fault in answer.json()["errors"]] == ["content"]
    assert "/" not in answer.json()["detail"].replace("model_prices", "")


async def test_a_list_may_be_larger_than_other_requests_but_not_without_end(operator: httpx.AsyncClient) -> None:
    filler = {f"m{number}": {"mode": "x" * 1000} for number in range(2_000)}

    taken = await operator.post(
        URL,
        json={"source": "litellm", "content": litellm(**filler, real={"input_cost_per_token": 1e-6}), "dry_run": True},
    )
    refused = await operator.post(
        URL, content=b'{"source": "litellm", "content": "' + b"x" * (price_import_routes.MAX_BODY_BYTES + 1) + b'"}',
        headers={"content-type": "application/json"},
    )  # fmt: skip

    assert taken.status_code == 200 and taken.json()["models_added"] == 1, taken.text
    assert refused.status_code == 413 and refused.headers["content-type"] == "application/problem+json"


async def test_only_whoever_configures_the_system_changes_the_shared_book(
    client: httpx.AsyncClient,
    first: FirstStart,
) -> None:
    made = await client.post(
        "/api/identity/access-keys", json={"name": "reader", "scopes": ["catalog:read", "catalog:write"]},
        headers={"authorization": f"Bearer {first.access_key}"},
    )  # fmt: skip
    client.headers["authorization"] = f"Bearer {made.json()['key']}"

    answer = await client.post(URL, json={"source": "genai-prices"})

    assert answer.status_code == 403
