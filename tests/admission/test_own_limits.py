"""Nexus's own ways in are limited by the same engine: sign-in, the control API, ingest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from nexus.dataplane.decide.own_limits import OwnLimits
from nexus.dataplane.decide.types import Decision
from nexus.kit.ids import uuid7
from nexus.platform.db import Database
from nexus.platform.db.configuration import Configuration, set_configuration
from tests.admission.conftest import make_key
from tests.admission.test_admit import Site, site
from tests.conftest import TestOrganization

__all__ = ["site"]
RECORD = {"type": "api_call", "provider": "openai", "status_code": 200}


async def configure(site: Site, database: Database, **values: int) -> None:
    async with database.as_system() as connection:
        for key, value in values.items():
            await set_configuration(connection, f"limits.{key}", value)
    # Nothing is restarted and nothing asks: what is polled comes by itself.
    async with asyncio.timeout(30):
        while any(site.application.limits.configuration[1][f"limits.{key}"] != value for key, value in values.items()):
            await asyncio.sleep(0.05)


async def until_refused(ask: Callable[[], Any], most: int) -> httpx.Response:
    for _ in range(most):
        answer: httpx.Response = await ask()
        if answer.status_code == 429:
            return answer
    raise AssertionError(f"{most} requests were let pass")


def assert_told(answer: httpx.Response, limit: str) -> None:
    problem = answer.json()
    assert problem["type"] == "urn:nexus:problem:quota-exceeded" and problem["limit"] == limit
    assert int(answer.headers["retry-after"]) >= 1
    assert f'"{limit}";q=' in answer.headers["ratelimit-policy"] and f'"{limit}";r=' in answer.headers["ratelimit"]


async def test_requests_to_the_api_are_counted_by_who_sends_them(
    site: Site, database: Database, organization: TestOrganization
) -> None:
    other = await make_key(database, organization.id, "*")

    def ask(key: str) -> Callable[[], Any]:
        return lambda: site.http.get("/api/admission/quotas", headers={"authorization": f"Bearer {key}"})

    usual = await ask(site.key)()
    await configure(site, database, api_requests_per_caller_per_second=1)
    refused = await until_refused(ask(site.key), 60)
    same_of_another = await ask(other)()
    unknown = await until_refused(ask("nx_" + uuid7().hex), 60)
    await configure(site, database, api_requests_per_caller_per_second=0)
    unlimited = await ask(site.key)()

    assert usual.headers["ratelimit-policy"] == '"api-requests-per-caller-per-second";q=5000;w=10'
    assert_told(refused, "api-requests-per-caller-per-second")
    assert_told(unknown, "api-requests-per-caller-per-second")
    assert same_of_another.status_code == 200
    assert unlimited.status_code == 200 and "ratelimit" not in unlimited.headers


async def test_attempts_to_sign_in_are_counted_by_address_and_by_account(site: Site, database: Database) -> None:
    def attempt(name: str) -> Callable[[], Any]:
        return lambda: site.http.post("/api/identity/sign-in", json={"email": name, "password": "wrong, and long"})

    await configure(site, database, sign_in_per_account_per_minute=2)
    by_account = await until_refused(attempt("Somebody@example.com"), 3)
    same_account = await attempt("somebody@example.com ")()
    other_account = await attempt("other@example.com")()
    await configure(site, database, sign_in_per_address_per_minute=1)
    by_address = await until_refused(attempt("third@example.com"), 3)

    assert_told(by_account, "sign-in-per-account-per-minute")
    assert same_account.status_code == 429 and other_account.status_code == 401
    assert_told(by_address, "sign-in-per-address-per-minute")


async def test_records_are_counted_by_organization_and_by_key_where_that_is_wanted(
    site: Site, database: Database, organization: TestOrganization
) -> None:
    other = await make_key(database, organization.id, "events:write")
    await site.application.snapshots.refresh()
    batch = [{**RECORD, "id": f"a{number}"} for number in range(4000)]

    def send(key: str) -> Callable[[], Any]:
        return lambda: site.post("/v1/events", batch, key)

    usual = await site.post("/v1/events", [{**RECORD, "id": "one"}])
    await configure(site, database, ingest_records_per_key_per_second=1)
    by_key = await until_refused(send(site.key), 8)
    another_key = await send(other)()

    assert usual.status_code == 200 and '"ingest-records-per-second";q=5000000' in usual.headers["ratelimit-policy"]
    assert_told(by_key, "ingest-records-per-key-per-second")
    assert another_key.status_code == 200


async def test_while_redis_is_away_nobody_is_locked_out_nor_charged_for_it_afterwards() -> None:
    class Away:
        is_degraded = True

        async def decide(self, *_: object, **__: object) -> Decision:
            raise AssertionError("nothing is asked")

    configuration = Configuration({"limits.sign_in_per_account_per_minute": 1})
    limits = OwnLimits(Away(), lambda: (1, configuration))  # type: ignore[arg-type]

    decisions = [await limits.sign_in("address", "me") for _ in range(5)]

    assert all(item.is_admitted for item in decisions)


@pytest.mark.parametrize("rate", [1, 7, 999_999, 10**6])
def test_every_allowed_number_is_a_limit_that_a_whole_request_fits_in(rate: int) -> None:
    values = {
        "limits.ingest_records_per_second": rate, "limits.ingest_bytes_per_second": rate * 10**6,
        "limits.sign_in_per_address_per_minute": rate,
    }  # fmt: skip
    limits = OwnLimits(None, lambda: (1, Configuration(values)), most_records=10_000, most_bytes=10**7)
    cell = uuid7()

    records = limits._per_second(cell, "ingest_records_per_second", "requests", "", most="records")
    size = limits._per_second(cell, "ingest_bytes_per_second", "bytes", "", most="bytes")
    attempts = limits._per_minute(cell, "sign_in_per_address_per_minute", "me")

    assert records is not None and records[0].capacity == max(10_000, 10 * rate)
    assert size is not None and size[0].capacity == max(10**7, 10**7 * rate)
    assert attempts is not None and attempts[0].capacity == rate
