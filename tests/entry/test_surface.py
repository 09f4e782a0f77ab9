"""What a running node tells of itself: probes, metrics, its description, the page that shows it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from tests.application import client_of, settings_of
from tests.application import running as in_this_process
from tests.entry.conftest import KEY
from tests.postgres import TestServer
from tests.races.node import Node, until

ELSEWHERE = re.compile(rb"https?://(?!(?:www\.w3\.org|json-schema\.org)/)[\w.-]+|[\"'(]//[\w-]+\.")


@pytest.fixture
async def client(running: Node) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(running.url) as session:
        yield session


async def document_of(client: aiohttp.ClientSession) -> dict[str, Any]:
    async with client.get("/openapi.json") as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        return msgspec.json.decode(await answer.read(), type=dict[str, Any])


async def test_probes_tell_how_each_part_is(client: aiohttp.ClientSession) -> None:
    async with client.get("/health/live") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "alive"})
    ready: dict[str, Any] = {}

    async def is_ready() -> bool:
        # Records are taken before the worker has given its first sign of life.
        async with client.get("/health/ready") as answer:
            assert answer.status == 200
            ready.update(await answer.json())
        return bool(ready["status"] == "ready")

    await until(is_ready, "all parts are up")
    assert ready["degraded"] == []
    assert set(ready["parts"]) == {"postgres", "redis", "worker", "admission", "snapshot", "spool", "ingest"}
    assert {part["status"] for part in ready["parts"].values()} == {"up"}


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"])
async def test_what_is_read_only_says_so(client: aiohttp.ClientSession, path: str) -> None:
    async with client.post(path) as answer:
        problem = await answer.json(content_type="application/problem+json")

    assert (answer.status, problem["status"]) == (405, 405)
    assert answer.headers["allow"] == "GET, HEAD"


async def test_a_websocket_is_for_providers_and_is_refused_with_the_reason(client: aiohttp.ClientSession) -> None:
    refused: dict[str, tuple[int, str | None]] = {}
    for path in ("/gw/openai/v1/realtime", "/api/live"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as found:
            await client.ws_connect(path)
        assert found.value.headers is not None
        refused[path] = found.value.status, found.value.headers.get("x-nexus-error")

    assert refused == {"/gw/openai/v1/realtime": (401, "access_key_refused"), "/api/live": (403, None)}


async def test_metrics_are_prometheus_text_and_count_over_all_processes(
    client: aiohttp.ClientSession, running: Node
) -> None:
    async def families() -> dict[str, Any]:
        async with client.get("/metrics") as answer:
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("text/plain; version=")
            return {family.name: family for family in text_string_to_metric_families(await answer.text())}

    def ingested(found: dict[str, Any]) -> float:
        return sum(
            sample.value
            for sample in found["nexus_http_requests"].samples
            if sample.labels.get("area") == "/v1/events" and sample.labels.get("status") == "200"
        )

    before = ingested(await families())
    for number in range(20):
        # A connection each: both web processes answer some.
        async with (
            aiohttp.ClientSession(running.url, headers={"authorization": f"Bearer {KEY}"}) as other,
            other.post("/v1/events", json=[{"id": f"metrics-{number}", "provider": "x", "status_code": 200}]) as answer,
        ):
            assert answer.status == 200
    # A request is counted when it is over, which may be a moment after its answer.
    for _ in range(100):
        found = await families()
        if ingested(found) - before >= 20:
            break
        await asyncio.sleep(0.1)

    assert ingested(found) - before == 20
    assert found["nexus_http_request_seconds"].type == "histogram"
    assert all(family.documentation and family.type != "unknown" for family in found.values())
    assert [name for name in found if not name.startswith("nexus_")] == []
    assert KEY not in str(found)


async def test_metrics_can_be_closed(database_name: str, postgres: TestServer, redis_url: str, tmp_path: Path) -> None:
    settings = settings_of(postgres.urls(database_name), redis_url, tmp_path, metrics_token="let-me-see")
    given = ({}, {"authorization": "Bearer something"}, {"authorization": "Bearer let-me-see"})
    async with in_this_process(settings) as application, client_of(application) as client:
        statuses = [(await client.get("/metrics", headers=headers)).status_code for headers in given]

    assert statuses == [401, 401, 200]


async def test_description_is_valid_openapi(client: aiohttp.ClientSession) -> None:
    document = await document_of(client)

    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(document)] == []
    assert document["openapi"].startswith("3.1.")
    assert {"/v1/events", "/health/ready", "/metrics", "/api/metering/summary"} <= set(document["paths"])


async def test_description_holds_together(client: aiohttp.ClientSession) -> None:
    document = await document_of(client)
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in {"get", "put", "post", "delete", "patch"}
    ]

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [name for inner in value.values() for name in references(inner)]
        return [name for inner in value for name in references(inner)] if isinstance(value, list) else []

    def resolve(name: str) -> object:
        found: Any = document
        for part in name.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return found

    for name in references(document):
        assert resolve(name) is not None
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(ids) == len(set(ids)) and len(ids) > 40
    for path, method, operation in operations:
        named = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), (method, path)
        assert operation.get("summary"), (method, path)
        assert any(status[0] in "23" for status in operation["responses"]), (method, path)


async def test_page_of_the_description_needs_nobody_else(client: aiohttp.ClientSession) -> None:
    async with client.get("/docs") as answer:
        page = await answer.read()
        policy = answer.headers["content-security-policy"]
        assert (answer.status, answer.content_type) == (200, "text/html")

    links = re.findall(r'(?:src|href)="([^"]+)"', page.decode())
    assert any(link.endswith(".js") for link in links)
    for link in links:
        async with client.get(link) as answer:
            content = await answer.read()
            assert answer.status == 200 and content
        if link != "/openapi.json":
            assert ELSEWHERE.findall(content) == []
    assert ELSEWHERE.findall(page) == []
    assert "default-src 'none'" in policy and "http" not in policy


@pytest.mark.parametrize("path", ["/api/nothing", "/v1/nothing", "/health/nothing", "/docs/nothing"])
async def test_what_is_not_there_is_a_problem_not_a_page(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path, headers={"authorization": f"Bearer {KEY}"}) as answer:
        content = await answer.read()

    assert answer.status == 404
    assert answer.content_type == "application/problem+json", content


async def test_an_mcp_server_that_is_not_there_is_told_as_its_clients_understand(client: aiohttp.ClientSession) -> None:
    async with client.post("/mcp/nothing", headers={"authorization": f"Bearer {KEY}"}, json={}) as answer:
        told = await answer.json()

    assert (answer.status, told["jsonrpc"], told["error"]["data"]["instance"]) == (404, "2.0", "/mcp/nothing")


async def test_a_part_that_is_away_is_named(database_name: str, postgres: TestServer, tmp_path: Path) -> None:
    settings = settings_of(postgres.urls(database_name), "redis://127.0.0.1:1/0", tmp_path)
    async with in_this_process(settings) as application, client_of(application) as client:
        answer = await client.get("/health/ready")

    found = answer.json()
    assert (answer.status_code, found["status"]) == (200, "degraded")
    assert "redis" in found["degraded"]
    assert found["parts"]["redis"] == {"status": "down", "detail": "ConnectionError"}
