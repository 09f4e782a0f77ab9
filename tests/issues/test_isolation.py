"""Another organization's issues are as if they were not there, whatever is tried with their ids."""

from __future__ import annotations

from uuid import uuid4

import asyncpg
import httpx

from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.issues.conftest import NOW, Api, Taker, api_of, error, fold


async def test_another_organization_s_issues_can_be_neither_seen_nor_changed(
    take: Taker, api: Api, http: httpx.AsyncClient, database: Database, admin_connection: asyncpg.Connection
) -> None:
    await take(error(NOW, "alpha", environment="secret-place"), error(NOW, "beta"))
    await fold(database)
    before = {item["title"]: item for item in await api.issues()}
    other = TestOrganization(uuid4(), "other")
    await admin_connection.execute(
        "INSERT INTO identity.organizations (id, name, slug) VALUES ($1, 'other', 'other')", other.id
    )
    theirs = await api_of(database, other.id, http, "error:read", "error:manage")
    await Taker(take.ingest, other.id)(error(NOW, "alpha"))
    (own,) = await theirs.issues()
    alpha, beta = before["alpha"]["id"], before["beta"]["id"]
    cause = (await api("GET", alpha))["causes"][0]["fingerprint"]

    attempts = [
        ("GET", alpha, None), ("GET", f"{alpha}/samples", None), ("GET", f"{alpha}/series", None),
        ("PATCH", alpha, {"status": "resolved"}), ("PATCH", "", {"ids": [own["id"], alpha], "status": "ignored"}),
        ("POST", f"{alpha}/notes", {"text": "mine"}), ("POST", f"{alpha}/split", {"fingerprints": [cause]}),
        ("POST", f"{alpha}/merge", {"ids": [own["id"]]}), ("POST", f"{own['id']}/merge", {"ids": [beta]}),
    ]  # fmt: skip
    answers = [await theirs.send(*attempt) for attempt in attempts]

    assert [answer.status_code for answer in answers] == [404] * len(attempts)
    assert all("alpha" not in answer.text and "secret-place" not in answer.text for answer in answers)
    # The same cause has the same fingerprint in both, and an issue and a count in each.
    assert (own["title"], own["occurrences"], own["status"]) == ("alpha", 1, "open")
    assert (await theirs("GET", "values"))["environment"] in ([], ["production"])
    assert {item["title"]: item for item in await api.issues()} == before
