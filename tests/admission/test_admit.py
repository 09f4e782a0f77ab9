"""/v1/admit and /v1/settle through the whole application: refusals, headers, holds, batches, and how soon a quota is in force."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus.entry.api import Application
from nexus.platform.db import Database
from nexus.platform.db.configuration import set_configuration
from nexus.sandbox.app import Sandbox
from tests.admission.conftest import make_key
from tests.application import client_of, running, settings_of
from tests.conftest import TestOrganization
from tests.dataplane.gateway.conftest import price, served
from tests.postgres import TestServer
from tests.races.node import until


@dataclass
class Site:
    """The application, and a key of one organization."""

    application: Application
    http: httpx.AsyncClient
    key: str

    async def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        return await self.http.post(path, json=body, headers={"authorization": f"Bearer {key or self.key}"})

    async def quota(self, *limits: dict[str, Any], **more: Any) -> dict[str, Any]:
        body = {"name": "all", "scope": "organization", "limits": list(limits), "reason": "try", **more}
        answer = await self.post("/api/admission/quotas", body)
        assert answer.status_code == 201, answer.text
        # On a busy machine a reading may be given up, and the tables stay as they were.
        await until(self.application.limits.refresh, "the quota is in force")
        made: dict[str, Any] = answer.json()
        return made


@pytest.fixture
async def site(
    postgres: TestServer, database_name: str, database: Database, organization: TestOrganization, redis_url: str,
    tmp_path: Path,
) -> AsyncIterator[Site]:  # fmt: skip
    key = await make_key(database, organization.id, "*")
    configuration = settings_of(
        postgres.urls(database_name), redis_url, tmp_path, admission_timeout_ms=5000, gateway_allow="127.0.0.0/8"
    )
    async with running(configuration) as application, client_of(application) as http:
        yield Site(application, http, key)


REQUESTS = {"name": "calls", "dimension": "requests", "rate": "3", "per": "day"}
TOKENS = {"name": "tokens", "dimension": "tokens", "rate": "1000", "per": "day"}


async def test_what_is_within_the_limits_is_admitted_and_what_is_not_is_told_when_to_come_back(site: Site) -> None:
    await site.quota(REQUESTS)

    admitted = [await site.post("/v1/admit", {}) for _ in range(3)]
    refused = await site.post("/v1/admit", {})

    assert [answer.status_code for answer in admitted] == [200] * 3
    assert admitted[0].headers["ratelimit-policy"] == '"calls";q=3;w=86400'
    assert admitted[0].headers["ratelimit"].startswith('"calls";r=2')
    body = refused.json()
    assert refused.status_code == 429 and body["type"] == "urn:nexus:problem:quota-exceeded"
    assert body["limit"] == "calls" and body["violated-policies"] == ["calls"]
    assert 28_000 < int(refused.headers["retry-after"]) <= 28_800
    assert refused.headers["ratelimit"].startswith('"calls";r=0;t=')
    assert refused.headers["content-type"] == "application/problem+json"


async def test_one_quota_holds_for_what_asks_and_for_what_is_forwarded(
    site: Site, database: Database, organization: TestOrganization
) -> None:
    await price(database, organization.id, "openai", "sandbox-1", input="2", output="10")
    await site.quota(REQUESTS, TOKENS)
    body = {"model": "sandbox-1", "messages": [], "max_tokens": 9}
    async with served(Sandbox()) as sandbox_url:
        kept = {"provider": "openai", "name": "sandbox", "secret": "sk-0123456789", "base_url": sandbox_url}
        assert (await site.post("/api/identity/provider-credentials", kept)).status_code == 201
        await until(site.application.snapshots.refresh, "the credential and the price are known")
        forwarded = [await site.post("/gw/openai/v1/chat/completions", body) for _ in range(2)]
        asked = await site.post("/v1/admit", {})
        refused = await site.post("/gw/openai/v1/chat/completions", body)
        gate = site.application.gateway.gate
        assert gate is not None
        await gate.stop()
        buckets = await site.http.get("/api/admission/buckets", headers={"authorization": f"Bearer {site.key}"})

    assert [answer.status_code for answer in [*forwarded, asked, refused]] == [200, 200, 200, 429]
    assert forwarded[1].headers["ratelimit"].startswith('"calls";r=1') and asked.headers["ratelimit"].startswith(
        '"calls";r=0'
    )
    assert refused.json()["error"]["code"] == refused.headers["x-nexus-error"] == "quota-exceeded"
    used = {item["limit"]: Decimal(item["capacity"]) - Decimal(item["available"]) for item in buckets.json()}
    told = sum(answer.json()["usage"]["total_tokens"] for answer in forwarded)
    assert 0 <= told - used["tokens"] <= 2, "settled to what the answers reported; a little has come back since"


async def test_tokens_are_held_settled_once_and_given_back(site: Site) -> None:
    await site.quota(TOKENS)

    held = (await site.post("/v1/admit", {"tokens": 900, "hold_id": "a-1", "hold_seconds": 60})).json()
    full = await site.post("/v1/admit", {"tokens": 900})
    settled = await site.post("/v1/settle", {"hold_id": held["hold_id"], "actual": {"tokens": 100}})
    again = await site.post("/v1/settle", {"hold_id": held["hold_id"], "actual": {"tokens": 800}})
    after = (await site.post("/v1/admit", {"tokens": 900})).json()
    unknown = await site.post("/v1/settle", {"hold_id": "none"})
    spent = await site.post("/v1/admit", {"tokens": 900, "hold_id": "a-1"})

    assert held["hold_id"] == "a-1" and full.status_code == 429
    assert settled.json() == {
        "hold_id": "a-1", "status": "ended", "legs": [{"dimension": "tokens", "charged": 900, "actual": 100}],
    }  # fmt: skip
    assert again.json()["status"] == "ended_before" and after["admitted"]
    assert unknown.status_code == 404 and spent.status_code == 409


async def test_an_operation_is_charged_by_its_size_and_what_is_too_large_is_impossible(site: Site) -> None:
    await site.quota({"name": "iops", "dimension": "operations", "rate": "10", "per": "day", "reserve": "2"})

    admitted = (await site.post("/v1/admit", {"operation": "read_large", "size_bytes": 2**20})).json()
    reserved = await site.post("/v1/admit", {"operation": "read_large"})
    privileged = await site.post("/v1/admit", {"operations": "4.5", "privileged": True})
    impossible = await site.post("/v1/admit", {"operation": "write_large", "size_bytes": 2**40})

    assert admitted["limits"][0]["charged"] == "5.0001" and admitted["limits"][0]["left"] == "4.9999"
    assert reserved.status_code == 429 and privileged.status_code == 200
    assert impossible.status_code == 429 and impossible.json()["is_impossible"]
    assert "retry-after" not in impossible.headers


async def test_a_list_is_decided_one_by_one_and_each_answered(site: Site) -> None:
    await site.quota(TOKENS)

    answers = (await site.post("/v1/admit", [{"tokens": 600}, {"tokens": 600}, {"tokens": 300}])).json()
    held = (await site.post("/v1/admit", [{"tokens": 50, "hold_seconds": 9, "hold_id": "x"}])).json()
    settled = (await site.post("/v1/settle", [{"hold_id": "x", "release": True}, {"hold_id": "y"}])).json()

    assert [item["admitted"] for item in answers] == [True, False, True]
    assert answers[1]["refused_by"] == "tokens" and answers[1]["retry_after_ms"] > 0
    assert held[0]["hold_id"] == "x"
    assert [item["status"] for item in settled] == ["ended", "unknown"]


async def test_without_a_limit_everything_is_admitted_and_shadow_limits_only_count(site: Site) -> None:
    free = await site.post("/v1/admit", {"tokens": 10**9})
    await site.quota({**REQUESTS, "shadow": True})
    shadow = [(await site.post("/v1/admit", {})).json() for _ in range(4)]

    assert free.status_code == 200 and "ratelimit" not in free.headers and free.json()["limits"] == []
    assert all(item["admitted"] for item in shadow)
    assert [item["limits"][0]["would_refuse"] for item in shadow] == [False] * 3 + [True]


async def test_a_quota_is_in_force_within_a_second_and_keeps_what_was_used(site: Site) -> None:
    quota = await site.quota(REQUESTS)
    for _ in range(3):
        await site.post("/v1/admit", {})
    assert (await site.post("/v1/admit", {})).status_code == 429

    await site.post(
        f"/api/admission/quotas/{quota['id']}/versions", {"limits": [{**REQUESTS, "shadow": True}], "reason": "ease"}
    )

    # The promise is a second; a machine under load is given longer, and still nothing asks for the new version by hand.
    async with asyncio.timeout(30):
        while (await site.post("/v1/admit", {})).status_code != 200:
            await asyncio.sleep(0.05)


BAD = [
    ("/v1/admit", {"tokens": -1}, "tokens"),
    ("/v1/admit", {"unknown": 1}, "unknown"),
    ("/v1/admit", {"tags": {"team": 5}}, "tags"),
    ("/v1/admit", [{}, {"unknown": 1}], "1.unknown"),
    ("/v1/admit", {"money": "1"}, "currency"),
    ("/v1/admit", {"operation": "fly"}, "operation"),
    ("/v1/admit", [{"tokens": 1}, {"tokens": "x"}], "1.tokens"),
    ("/v1/admit", [], "body"),
    ("/v1/admit", {"operation": "read_small", "size_bytes": 10**16}, "size_bytes"),
    ("/v1/settle", {"hold_id": "a b"}, "hold_id"),
    ("/v1/settle", {"hold_id": "a", "actual": {"money": "-1"}}, "actual.money"),
]


async def test_a_bad_question_is_refused_by_field(site: Site) -> None:
    answers = [await site.post(path, body) for path, body, _ in BAD]

    assert [answer.status_code for answer in answers] == [422] * len(BAD)
    assert [[fault["field"] for fault in answer.json()["errors"]] for answer in answers] == [
        [field] for _, _, field in BAD
    ]


async def test_only_keys_with_the_scope_may_ask_and_only_for_themselves(
    site: Site, database: Database, organization: TestOrganization
) -> None:
    reader = await make_key(database, organization.id, "metrics:read")
    shop = await make_key(database, organization.id, "calls:admit", application="shop")
    await site.application.snapshots.refresh()

    assert (await site.post("/v1/admit", {}, reader)).status_code == 403
    assert (await site.post("/v1/admit", {"application": "other"}, shop)).status_code == 422
    assert (await site.post("/v1/admit", {"privileged": True}, shop)).status_code == 403
    assert (await site.post("/v1/admit", {"application": "shop"}, shop)).status_code == 200
    assert (await site.http.post("/v1/admit", json={})).status_code == 401
    assert (await site.http.get("/v1/admit")).status_code == 405
    assert (
        await site.http.post("/v1/admit", content=b"{", headers={"authorization": f"Bearer {shop}"})
    ).status_code == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["tokens", "hold_id", "hold_seconds", "actual", "operation", "size_bytes", "money", "currency"]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@settings(suppress_health_check=list(HealthCheck))
@given(body=JSON, path=st.sampled_from(["/v1/admit", "/v1/settle"]))
async def test_no_body_is_a_fault_of_ours(site: Site, body: Any, path: str) -> None:
    content = json.dumps(body).encode()
    answer = await site.http.post(path, content=content, headers={"authorization": f"Bearer {site.key}"})

    assert answer.status_code < 500, answer.text


async def test_before_keys_and_limits_are_known_nothing_is_decided(site: Site) -> None:
    question = {"application": "a"}
    assert (await site.post("/v1/admit", question)).status_code == 200

    for tables in (site.application.snapshots, site.application.limits):
        tables.is_loaded = False
        refused = await site.post("/v1/admit", question)
        ready = await site.http.get("/health/ready")
        tables.is_loaded = True

        assert (refused.status_code, refused.json()["type"]) == (503, "urn:nexus:problem:starting")
        assert refused.headers["retry-after"] == "1"
        site.application.health._last = None
        assert ready.status_code == 503 or "snapshot" in ready.json()["degraded"]


async def test_older_headers_are_told_where_they_are_switched_on(site: Site, database: Database) -> None:
    await site.quota(REQUESTS, TOKENS)
    usual = await site.post("/v1/admit", {"tokens": 1})
    async with database.as_system() as connection:
        await set_configuration(connection, "limits.older_headers", value=True)
    await site.application.limits.refresh()
    second = await site.post("/v1/admit", {"tokens": 1})
    await site.post("/v1/admit", {"tokens": 1})
    refused = await site.post("/v1/admit", {"tokens": 1})

    assert not [name for name in usual.headers if name.startswith("x-ratelimit")]
    told = [second.headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining")]
    assert told == ["3", "1"], "of several the one with the least left"
    assert refused.status_code == 429 and refused.headers["x-ratelimit-remaining"] == "0"
    assert int(refused.headers["x-ratelimit-reset"]) > 0 and "ratelimit-policy" in refused.headers


async def test_a_key_s_own_rate_is_in_force_by_itself_and_told(
    site: Site, database: Database, organization: TestOrganization
) -> None:
    key = await make_key(database, organization.id, "calls:admit", rate_limit_per_minute=2)

    # The promise is a second; a machine under load is given longer, and still nothing asks for the new key by hand.
    async with asyncio.timeout(30):
        while "key-requests" not in (answer := await site.post("/v1/admit", {}, key)).headers.get("ratelimit", ""):
            await asyncio.sleep(0.05)
    answers = [await site.post("/v1/admit", {}, key) for _ in range(3)]

    assert answer.json()["limits"][0]["scope"] == "key"
    assert '"key-requests";q=2;w=60' in answer.headers["ratelimit-policy"]
    assert answers[-1].status_code == 429 and answers[-1].json()["limit"] == "key-requests"
