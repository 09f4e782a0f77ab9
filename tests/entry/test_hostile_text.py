"""Text that somebody wrote to run in a browser: it leaves as data, never as a page, whether it is kept or only repeated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from litestar.routes import HTTPRoute

from nexus.dashboards.routes import LIVE_PATH
from nexus.entry.api import Application
from nexus.entry.web_files import POLICY
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from nexus.platform.settings import Settings
from tests.application import ADMIN, client_of, first_start, running, settings_of
from tests.application import sign_in as signed_in

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'"
DATA = (
    "application/json",
    "application/problem+json",
    "text/csv",
    "text/event-stream",
    "application/vnd.apache.parquet",
)


@pytest.fixture
def settings(database: Database, redis_url: str, tmp_path: Path) -> Settings:
    return settings_of(database.urls, redis_url, tmp_path)


@pytest.fixture
async def key(settings: Settings) -> str:
    """The access key of the first start."""
    return (await first_start(settings)).access_key


@pytest.fixture
async def application(settings: Settings, key: str) -> AsyncIterator[Application]:
    async with running(settings) as application:
        yield application


@pytest.fixture
async def client(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    """The administrator's browser."""
    async with client_of(application) as client:
        await signed_in(client, ADMIN)
        yield client


def assert_data(answer: httpx.Response) -> None:
    """A browser shows it as no page, and guesses at nothing."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    # What has no content can be no page either.
    assert kind in DATA or not answer.content, f"{answer.request.url}: {kind}"
    assert answer.headers["x-content-type-options"] == "nosniff", answer.request.url


async def test_what_a_request_says_is_repeated_as_data_only(
    client: httpx.AsyncClient, application: Application
) -> None:
    # Reflected: in the path, in every parameter, in a header, in a body.
    count = 0
    for route in application.control.routes:
        left_out = {LIVE_PATH, "/api/identity/sign-out"}
        if not isinstance(route, HTTPRoute) or not route.path.startswith("/api/") or route.path_format in left_out:
            continue
        path = route.path_format
        for parameter in route.path_parameters.values():
            path = path.replace("{" + parameter.name + "}", quote(HOSTILE, safe=""))
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS", "HEAD"}:
                body = {"content": f'{{"{"name"}": "{HOSTILE[:8]}"'} if method != "GET" else {}
                names = {name for name in handler.parsed_fn_signature.parameters if name not in {"request", "data"}}
                answer = await client.request(
                    method, path, params=dict.fromkeys(sorted({*names, HOSTILE}), HOSTILE),
                    headers={"content-type": "application/json", "x-nexus-note": HOSTILE}, **body,
                )  # fmt: skip
                assert answer.status_code < 500, f"{method} {path}: {answer.text}"
                assert_data(answer)
                count += 1

    assert count > 80


async def test_what_is_sent_to_the_data_plane_is_repeated_as_data_only(client: httpx.AsyncClient, key: str) -> None:
    for path in ("/v1/events", "/v1/admit", "/gw/{}/x", "/v1/{}", "/health/{}", "/api/{}", "/mcp/{}"):
        for headers in ({}, {"authorization": f"Bearer {key}"}, {"authorization": f"Bearer {HOSTILE}"}):
            answer = await client.post(
                path.format(quote(HOSTILE, safe="")), json=[{"provider": HOSTILE, HOSTILE: HOSTILE}], headers=headers
            )
            assert answer.status_code >= 400
            assert answer.headers["content-type"].partition(";")[0] in DATA, path


async def test_no_page_holds_anything_of_its_address(client: httpx.AsyncClient) -> None:
    plain = await client.get("/")
    for path in (f"/{quote(HOSTILE)}", f"/calls?search={quote(HOSTILE)}", f"/sign-in?then={quote(HOSTILE)}", "/docs"):
        answer = await client.get(path)

        assert "alert(1)" not in answer.text
        assert "script-src" in answer.headers["content-security-policy"], path
        if path != "/docs":
            assert answer.content == plain.content, "every view is the same file"
    assert "unsafe-inline" not in POLICY.replace("style-src 'self' 'unsafe-inline'", "")
    assert "frame-ancestors 'none'" in POLICY and plain.headers["x-frame-options"] == "DENY"


async def test_what_is_kept_is_given_out_as_data_only(
    client: httpx.AsyncClient, application: Application, key: str
) -> None:
    # Stored: names, tags, metadata, messages of errors. They are taken as they are, since none of them is a page.
    await client.post("/api/identity/access-keys", json={"name": HOSTILE, "scopes": ["events:write"]})
    await client.post("/api/admission/applications", json={"name": HOSTILE, "metadata": {"note": "<b>"}})
    record: dict[str, Any] = {
        "id": str(uuid7()), "provider": "openai", "model": HOSTILE, "status_code": 500, "application": HOSTILE,
        "user": HOSTILE, "tags": {"team": HOSTILE}, "error_type": HOSTILE, "error_message": HOSTILE, "endpoint": "/v1/x",
    }  # fmt: skip
    sent = await client.post("/v1/events", json=[record], headers={"authorization": f"Bearer {key}"})
    assert sent.status_code == 200, sent.text

    shown = 0
    for path, form in [
        ("/api/identity/access-keys", None), ("/api/admission/applications", None), ("/api/governance/audit-log", None),
        ("/api/governance/audit-log/export", None), ("/api/metering/calls", None), ("/api/metering/calls", "csv"),
        ("/api/metering/summary?group_by=model", None), ("/api/metering/summary?group_by=application", "csv"),
    ]:  # fmt: skip
        answer = await client.get(path, params={"format": form} if form else None)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        assert_data(answer)
        if answer.headers["content-type"].startswith("text/csv"):
            assert answer.headers["content-disposition"].startswith("attachment")
        shown += "<script>" in answer.text
    assert shown >= 5, "it is kept as it was written"


async def test_whatever_method_a_page_does_not_take_it_says_which_it_does(client: httpx.AsyncClient) -> None:
    answer = await client.post("/calls")

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
