"""A call is priced in its organization's currency where there is a price in it, and a failed one is not charged for."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

from nexus.kit.ids import uuid7
from nexus.metering import jobs
from nexus.platform.db import Database
from tests.application import ADMIN, client_of, first_start, running, settings_of, sign_in
from tests.postgres import TestServer

COSTS = "SELECT status_code, cost, currency, price_source FROM metering.calls ORDER BY status_code"


async def test_arrival_and_repricing_price_in_the_organizations_currency_and_charge_no_failure(
    postgres: TestServer, database_name: str, database: Database, admin_connection: asyncpg.Connection,
    redis_url: str, tmp_path: Path,
) -> None:  # fmt: skip
    settings = settings_of(postgres.urls(database_name), redis_url, tmp_path)
    await first_start(settings)
    async with running(settings) as application, client_of(application) as client:
        await sign_in(client, ADMIN)
        made = {"name": "Paris", "slug": "paris", "currency": "EUR"}
        assert (await client.post("/api/identity/organizations", json=made)).status_code == 201
        client.headers["x-nexus-organization"] = "paris"
        price: dict[str, Any] = {"provider": "openai", "model": "gpt-4o", "valid_from": "2026-01-01T00:00:00Z"}
        # The price in dollars is newer, and stands first where the currency is not asked for.
        for currency, amount in (("EUR", "2"), ("USD", "1")):
            components = [{"unit": "requests", "amount": amount, "per": 1}]
            added = await client.post(
                "/api/catalog/prices", json=price | {"currency": currency, "components": components}
            )
            assert added.status_code == 201, added.text
        scopes = {"name": "sender", "scopes": ["events:write"]}
        key = (await client.post("/api/identity/access-keys", json=scopes)).json()["key"]
        await application.snapshots.refresh()
        now = datetime.now(UTC)
        calls = [
            {"id": str(uuid7(now)), "provider": "openai", "model": "gpt-4o", "status_code": status}
            for status in (0, 200, 404, 500)
        ]
        sent = await client.post("/v1/events", json=calls, headers={"authorization": f"Bearer {key}"})
        assert sent.json()["stored"] == 4, sent.text
        expected = [(status, Decimal(2 if status == 200 else 0), "EUR", "book") for status in (0, 200, 404, 500)]

        assert [tuple(row) for row in await admin_connection.fetch(COSTS)] == expected

        await admin_connection.execute("UPDATE metering.calls SET cost = NULL, currency = 'USD', price_source = 'none'")
        order = {"from": "2026-01-01T00:00:00Z", "to": datetime(2100, 1, 1, tzinfo=UTC).isoformat()}
        ordered = await client.post("/api/metering/repricings", json=order)
        assert ordered.status_code == 202, ordered.text
        await jobs.reprice(database)

        assert [tuple(row) for row in await admin_connection.fetch(COSTS)] == expected
