"""What people decide about issues: resolving, ignoring, assigning, merging, splitting, noting; and finding them again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.issues.conftest import NOW, Api, Taker, api_of, error, fold, recounted


async def kinds(api: Api, issue_id: str) -> list[str]:
    """What happened to an issue. The clock of these tests and PostgreSQL's differ, so there is no order in it."""
    return sorted(event["kind"] for event in (await api("GET", issue_id))["events"])


async def test_resolved_issue_that_meets_a_later_error_regresses_once(
    take: Taker, api: Api, database: Database, admin_connection: asyncpg.Connection
) -> None:
    await take(error(NOW - timedelta(hours=1)))
    await fold(database)
    (issue,) = await api.issues()
    resolved = await api("PATCH", issue["id"], {"status": "resolved", "notes": "fixed in 1.2"})
    # Known late, but it happened before.
    await take(error(NOW - timedelta(minutes=1)))
    await fold(database)
    (still,) = await api.issues()

    for number in range(3):
        await take(*(error(NOW + timedelta(minutes=number, seconds=second)) for second in range(4)))
        await fold(database)

    (again,) = await api.issues()
    assert (resolved["status"], resolved["resolution_notes"]) == ("resolved", "fixed in 1.2")
    assert resolved["resolved_by"].startswith("test (nx_")
    assert (still["status"], still["occurrences"]) == ("resolved", 2)
    assert (again["status"], again["regressions"], again["occurrences"]) == ("regressed", 1, 14)
    assert await kinds(api, issue["id"]) == ["regressed", "resolved"]
    assert [item["id"] for item in await api.issues(status="unresolved")] == [issue["id"]]
    # Resolved again at the same moment, what is known already happened later: the next error tells, and tells once.
    await api("PATCH", issue["id"], {"status": "resolved"})
    await take(error(NOW + timedelta(hours=1)))
    await fold(database)
    assert await kinds(api, issue["id"]) == ["regressed", "regressed", "resolved", "resolved"]
    actions = await admin_connection.fetch("SELECT action FROM platform.audit_log WHERE row_id = $1", issue["id"])
    assert [row["action"] for row in actions] == ["issue_resolved", "issue_resolved"]


async def test_ignored_issue_stays_ignored_and_opens_on_request(take: Taker, api: Api, database: Database) -> None:
    await take(error(NOW - timedelta(hours=1)))
    (issue,) = await api.issues()

    await api("PATCH", issue["id"], {"status": "ignored"})
    await take(error(NOW + timedelta(hours=1)))
    await fold(database)
    (ignored,) = await api.issues()
    opened = await api("PATCH", issue["id"], {"status": "open"})
    # Nothing is to be done: nothing is written down.
    await api("PATCH", issue["id"], {"status": "open"})

    assert (ignored["status"], ignored["occurrences"], opened["status"]) == ("ignored", 2, "open")
    assert await kinds(api, issue["id"]) == ["ignored", "reopened"]


async def test_several_issues_are_changed_all_or_none(
    take: Taker, api: Api, organization: TestOrganization, admin_connection: asyncpg.Connection
) -> None:
    await take(*(error(NOW, word) for word in ("alpha", "beta", "gamma")))
    ids = [item["id"] for item in await api.issues()]
    person = await admin_connection.fetchval(
        "WITH made AS (INSERT INTO identity.users (id, email) VALUES ($2, 'ann@example.com') RETURNING id)"
        " INSERT INTO identity.memberships (organization_id, user_id, role) SELECT $1, id, 'member' FROM made RETURNING user_id",
        organization.id,
        uuid4(),
    )

    changed = await api("PATCH", "", {"ids": ids[:2], "status": "resolved", "assignee_id": str(person)})
    failed = await api.send("PATCH", "", {"ids": [ids[2], str(uuid4())], "status": "resolved"})
    nothing = await api.send("PATCH", "", {"ids": ids})
    stranger = await api.send("PATCH", ids[2], {"assignee_id": str(uuid4())})

    assert [(item["status"], item["assignee"]["id"]) for item in changed] == [("resolved", str(person))] * 2
    assert (failed.status_code, failed.json()["type"][18:]) == (404, "issue_not_found")
    assert (nothing.status_code, nothing.json()["errors"][0]["field"]) == (422, "status")
    assert (stranger.status_code, stranger.json()["errors"][0]["field"]) == (422, "assignee_id")
    assert [item["id"] for item in await api.issues(status="open")] == [ids[2]]
    assert {item["id"] for item in await api.issues(assignee=str(person))} == set(ids[:2])
    assert [item["id"] for item in await api.issues(assignee="none")] == [ids[2]]
    # Somebody who leaves is nobody's assignee any more.
    await admin_connection.execute("DELETE FROM identity.memberships WHERE user_id = $1", person)
    assert {item["id"] for item in await api.issues(assignee="none")} == set(ids)


async def test_merged_issues_are_one_and_split_ones_two_with_exact_counts(
    take: Taker, api: Api, database: Database, admin_connection: asyncpg.Connection
) -> None:
    for number, word in enumerate(["alpha", "beta", "beta", "gamma", "gamma", "gamma"]):
        await take(error(NOW - timedelta(hours=number), word))
    await fold(database)
    by_title = {item["title"]: item["id"] for item in await api.issues()}
    await api("POST", f"{by_title['beta']}/notes", {"text": "seen before"})
    # Some wait in the journal while they are merged.
    await take(error(NOW, "gamma"), error(NOW - timedelta(minutes=1), "beta"))

    await api("POST", f"{by_title['beta']}/merge", {"ids": [by_title["gamma"]]})
    merged = await api("POST", f"{by_title['alpha']}/merge", {"ids": [by_title["beta"], by_title["alpha"]]})
    await take(error(NOW, "gamma"))
    (issue,) = await api.issues()
    assert (issue["id"], issue["occurrences"], len(merged["causes"])) == (by_title["alpha"], 9, 3)
    assert await kinds(api, issue["id"]) == ["merged", "merged", "note"]
    for name in ("beta", "gamma"):
        assert (await api("GET", by_title[name]))["issue"]["merged_into"] == by_title["alpha"]
        refused = await api.send("PATCH", by_title[name], {"status": "resolved"})
        assert (refused.status_code, refused.json()["type"][18:]) == (409, "issue_merged")

    gamma = next(cause["fingerprint"] for cause in merged["causes"] if cause["title"] == "gamma")
    made = await api("POST", f"{issue['id']}/split", {"fingerprints": [gamma]})
    await take(error(NOW + timedelta(minutes=1), "gamma"))
    await fold(database)

    found = {item["title"]: item["occurrences"] for item in await api.issues()}
    assert found == {"alpha": 4, "gamma": 6}
    assert made["issue"]["id"] not in by_title.values()
    counts = {UUID(item["id"]): item["occurrences"] for item in await api.issues()}
    assert counts == {key: count for key, (count, _, _) in (await recounted(admin_connection)).items()}
    for fingerprints in ([gamma], [str(uuid4())], [item["fingerprint"] for item in merged["causes"]]):
        refused = await api.send("POST", f"{issue['id']}/split", {"fingerprints": fingerprints})
        assert (refused.status_code, refused.json()["type"][18:]) == (422, "cannot_split")


async def test_every_error_is_found_by_its_words_and_only_by_its_own(
    take: Taker, api: Api, http: httpx.AsyncClient, database: Database, admin_connection: asyncpg.Connection
) -> None:
    await take(
        error(NOW, "connection to db.internal refused", error_type="ConnectionRefusedError"),
        error(NOW, "invoice has no customer", error_type="billing.InvoiceError"),
        error(NOW, "timeout", stack_trace="Error: x\n    at loadCart (/app/cart_service.js:1:2)"),
    )

    async def found(words: str) -> list[str]:
        return sorted(item["title"].split()[0] for item in await api.issues(q=words))

    assert await found("refused") == ["connection"]
    assert await found("ConnectionRefusedError") == ["connection"]
    assert await found('"has no" customer') == ["invoice"]
    assert await found("error -refused") == ["invoice"]
    assert await found("cart or internal") == ["connection", "timeout"]
    assert await found("nothing' & | ! :* \\") == []
    other = TestOrganization(uuid4(), "other")
    await admin_connection.execute(
        "INSERT INTO identity.organizations (id, name, slug) VALUES ($1, 'other', 'other')", other.id
    )
    theirs = await api_of(database, other.id, http, "error:read")
    assert await theirs.issues(q="refused") == []


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"level": "fatal"}, {"b"}),
    ({"level": ["fatal", "warn"]}, {"b", "c"}),
    ({"category": "database"}, {"a", "b"}),
    ({"severity": "4"}, {"c"}),
    ({"environment": "staging"}, {"a", "c"}),
    ({"service": "web", "category": "database"}, {"a"}),
    ({"service_version": "2"}, {"b"}),
    ({"application": "desk"}, {"c"}),
    ({"from_": (NOW - timedelta(minutes=90)).isoformat()}, {"a"}),
    ({"to": (NOW - timedelta(minutes=90)).isoformat()}, {"b", "c"}),
]


async def test_issues_are_filtered_and_paged_in_each_order(take: Taker, api: Api, database: Database) -> None:
    await take(
        error(NOW - timedelta(hours=5), "a", category="database", service="web", environment="staging"),
        error(NOW - timedelta(hours=1), "a", category="database", service="web"),
        error(NOW - timedelta(hours=2), "b", level="fatal", category="database", service_version="2"),
        error(NOW - timedelta(hours=3), "c", level="warn", severity=4, environment="staging", application="desk"),
        *(error(NOW - timedelta(hours=4, minutes=number), f"filler {word}") for number, word in enumerate("xyz")),
    )
    await fold(database)

    for parameters, wanted in FILTERS:
        titles = {item["title"] for item in await api.issues(**parameters)}
        assert {title for title in titles if len(title) == 1} == wanted, parameters
    for sort in ("last_seen", "first_seen", "occurrences"):
        seen: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await api("GET", sort=f"-{sort}", limit=2, **cursor)
            seen += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert len({item["id"] for item in seen}) == len(seen) == 6
        values = [item[sort] if sort == "occurrences" else datetime.fromisoformat(item[sort]) for item in seen]
        assert values == sorted(values, reverse=True)
    values_there = await api("GET", "values")
    assert values_there["environment"] == ["production", "staging"]
    assert values_there["category"] == ["database"]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"status": "gone"}, "status"),
        ({"severity": "9"}, "severity"),
        ({"assignee": "ann"}, "assignee"),
        ({"sort": "title"}, "sort"),
        ({"limit": "0"}, "limit"),
        ({"from_": "yesterday"}, "from"),
        ({"colour": "red"}, "colour"),
        ({"cursor": "x"}, "cursor"),
        ({"q": "a\x00"}, "q"),
    ],
)
async def test_faulty_parameter_is_named(api: Api, parameters: dict[str, str], field: str) -> None:
    answer = await api.send("GET", **parameters)

    assert (answer.status_code, [item["field"] for item in answer.json()["errors"]]) == (422, [field])


async def test_who_may_only_look_changes_nothing(
    take: Taker, database: Database, organization: TestOrganization, http: httpx.AsyncClient
) -> None:
    await take(error(NOW))
    reader = await api_of(database, organization.id, http, "error:read")
    sender = await api_of(database, organization.id, http, "events:write")
    (issue,) = await reader.issues()

    attempts = [
        ("PATCH", "", {"ids": [issue["id"]], "status": "resolved"}),
        ("PATCH", issue["id"], {"status": "resolved"}),
        ("POST", f"{issue['id']}/merge", {"ids": [issue["id"]]}),
        ("POST", f"{issue['id']}/split", {"fingerprints": [issue["id"]]}),
        ("POST", f"{issue['id']}/notes", {"text": "x"}),
    ]
    assert [(await reader.send(*attempt)).status_code for attempt in attempts] == [403] * 5
    assert [(await sender.send("GET", path)).status_code for path in ("", "values", issue["id"])] == [403] * 3
    assert (await reader("GET", issue["id"]))["events"] == []
