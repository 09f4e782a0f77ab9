"""The system configuration over HTTP: typed, audited, in force for whoever asks next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from nexus.entry.control_plane import ControlPlane
from nexus.identity import access_keys
from nexus.kit.clock import FixedClock
from nexus.kit.ids import uuid7
from nexus.metering.jobs import forget_seen_ids
from nexus.platform.db import Database
from nexus.platform.db.configuration import CONFIGURATION_KEYS
from nexus.platform.settings import Settings
from nexus.platform.web import WebState
from tests.conftest import TestOrganization

NOW = datetime(2026, 4, 3, 12, tzinfo=UTC)
PATH = "/api/operations/configuration"


class Operator:
    """A client with keys of several permissions."""

    def __init__(self, client: httpx.AsyncClient, database: Database, organization: TestOrganization) -> None:
        self._client = client
        self._database = database
        self._organization = organization
        self._keys: dict[str, str] = {}

    async def call(self, method: str, path: str = PATH, scope: str | None = "*", body: Any = None) -> httpx.Response:
        """Send a request with a key that has one scope, or none."""
        headers = {"user-agent": "operator/1"}
        if scope is not None:
            if scope not in self._keys:
                async with self._database.as_system() as db:
                    made = await access_keys.create(db, self._organization.id, name="ops", scopes=[scope], at=NOW)
                self._keys[scope] = made.key
            headers["authorization"] = f"Bearer {self._keys[scope]}"
        return await self._client.request(method, path, headers=headers, **({} if body is None else {"json": body}))

    async def value(self, key: str) -> dict[str, Any]:
        """Return one key as the list shows it."""
        items = (await self.call("GET")).json()["items"]
        found: dict[str, Any] = next(item for item in items if item["key"] == key)
        return found


@pytest.fixture
async def operator(database: Database, organization: TestOrganization) -> AsyncIterator[Operator]:
    app = ControlPlane(WebState(database, Settings.from_environment({}), FixedClock(NOW)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield Operator(client, database, organization)


async def test_every_key_is_shown_with_default_and_value(operator: Operator) -> None:
    answer = await operator.call("GET")

    shown = {item["key"]: item for item in answer.json()["items"]}
    assert shown.keys() == CONFIGURATION_KEYS.keys()
    for name, item in CONFIGURATION_KEYS.items():
        assert (shown[name]["value"], shown[name]["default"], shown[name]["is_changed"]) == (
            item.default,
            item.default,
            False,
        )
        assert shown[name]["description"] == item.what


async def test_a_change_is_shown_audited_and_can_be_taken_back(
    operator: Operator, admin_connection: asyncpg.Connection
) -> None:
    key = "retention.raw_calls_days"

    changed = await operator.call("PATCH", f"{PATH}/{key}", body={"value": 30})
    seen = await operator.value(key)
    reset = await operator.call("DELETE", f"{PATH}/{key}")

    assert changed.status_code == 200 and changed.json() == seen
    assert (seen["value"], seen["is_changed"]) == (30, True)
    assert reset.status_code == 200 and (reset.json()["value"], reset.json()["is_changed"]) == (90, False)
    rows = await admin_connection.fetch(
        "SELECT action, new_row::text, actor_key_id, actor_label, user_agent FROM platform.audit_log"
        " WHERE table_name = 'platform.configuration' ORDER BY occurred_at"
    )
    assert [row["action"] for row in rows] == ["insert", "delete"] and '"value": 30' in rows[0]["new_row"]
    assert all(row["actor_key_id"] and row["actor_label"] and row["user_agent"] == "operator/1" for row in rows)


async def test_what_is_set_already_is_no_change(operator: Operator, admin_connection: asyncpg.Connection) -> None:
    for _ in range(3):
        assert (await operator.call("PATCH", f"{PATH}/auth.max_login_attempts", body={"value": 9})).status_code == 200

    written = await admin_connection.fetchval(
        "SELECT count(*) FROM platform.audit_log WHERE table_name = 'platform.configuration'"
    )
    assert written == 1


async def test_a_change_is_in_force_for_the_next_piece_of_work(
    operator: Operator, database: Database, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    async with database.as_writer([organization.id]) as connection:
        await connection.execute(
            "INSERT INTO metering.seen_ids (organization_id, id, received_at) VALUES ($1, $2, $3)",
            organization.id, uuid7(), datetime.now(UTC) - timedelta(days=9),
        )  # fmt: skip
    await forget_seen_ids(database)
    assert await admin_connection.fetchval("SELECT count(*) FROM metering.seen_ids") == 1

    least = int(CONFIGURATION_KEYS["retention.seen_ids_days"].minimum or 1)
    assert least < 9
    await operator.call("PATCH", f"{PATH}/retention.seen_ids_days", body={"value": least})
    await forget_seen_ids(database)

    assert await admin_connection.fetchval("SELECT count(*) FROM metering.seen_ids") == 0


@pytest.mark.parametrize("key", sorted(CONFIGURATION_KEYS))
async def test_a_value_of_the_wrong_type_is_refused_by_name(operator: Operator, key: str) -> None:
    default = CONFIGURATION_KEYS[key].default
    wrong: list[Any] = [None, [], {}, "\x00"]
    wrong += [True, "many", 1e300] if not isinstance(default, (bool, str)) else [1, 1.5]
    wrong += ["true"] if isinstance(default, bool) else []

    for value in wrong:
        answer = await operator.call("PATCH", f"{PATH}/{key}", body={"value": value})
        assert answer.status_code in {400, 422}, f"{value!r}: {answer.text}"
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert {fault["field"] for fault in answer.json()["errors"]} & {key, "value"}, answer.text

    assert not (await operator.value(key))["is_changed"]


@pytest.mark.parametrize("body", [{}, {"values": 1}, {"value": 1, "key": "x"}, [], "1", 7])
async def test_a_body_without_a_value_is_refused(operator: Operator, body: Any) -> None:
    answer = await operator.call("PATCH", f"{PATH}/auth.max_login_attempts", body=body)

    assert answer.status_code in {400, 422}
    assert answer.json()["detail"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_key_that_is_not_there_is_not_found(operator: Operator, method: str) -> None:
    for name in ("auth.nothing", "auth", "é", "a%00b", "x" * 3000):
        answer = await operator.call(method, f"{PATH}/{name}", body={"value": 1} if method == "PATCH" else None)
        assert answer.status_code == 404, answer.text
        assert answer.json()["type"] == "urn:nexus:problem:unknown_configuration_key"


async def test_reading_and_changing_need_permissions_of_their_own(operator: Operator) -> None:
    key = f"{PATH}/auth.max_login_attempts"
    for method, path, body in (("GET", PATH, None), ("PATCH", key, {"value": 7}), ("DELETE", key, None)):
        assert (await operator.call(method, path, None, body)).status_code == 401
        assert (await operator.call(method, path, "organization:update", body)).status_code == 403
    assert (await operator.call("GET", PATH, "configuration:read")).status_code == 200
    assert (await operator.call("PATCH", key, "configuration:read", {"value": 7})).status_code == 403
    assert (await operator.call("PATCH", key, "configuration:write", {"value": 7})).status_code == 200
    assert (await operator.value("auth.max_login_attempts"))["value"] == 7
