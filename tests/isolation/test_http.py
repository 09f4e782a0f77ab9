"""No request reads or changes another organization's things: not by id, by filter, by header, by export or by stream."""

from __future__ import annotations

import asyncio
import io
import itertools
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pyarrow.parquet
import pytest

from nexus.dashboards.routes import LIVE_PATH
from nexus.entry.api import Application
from tests.application import client_of, sign_in
from tests.dashboards.test_live import Stream
from tests.isolation.routes import BODIES, QUERIES, Route, documented
from tests.isolation.world import MINE, OTHER, Tenant, World, events, fingerprint, found_in

OTHERS = 3
"""Ids of other slices' things that each route is asked for; `make accept` asks for every one."""
UUID_TEXT = re.compile(r"^[0-9a-f-]{36}$")


def text_of(answer: httpx.Response) -> str:
    """Return everything that an answer tells, its headers included, whatever form it has."""
    headers = str(answer.headers)
    if answer.content[:4] == b"PAR1":
        return headers + str(pyarrow.parquet.read_table(io.BytesIO(answer.content)).to_pylist())
    return headers + answer.text


def told(answer: httpx.Response, tenant: Tenant, sent: str = "") -> set[str]:
    """Return what an answer tells of an organization beyond what was sent."""
    return found_in(text_of(answer), tenant.marks) - found_in(sent, tenant.marks)


@pytest.fixture
async def person(application: Application, world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The owner of one organization, signed in."""
    async with client_of(application) as client:
        await sign_in(client, world.mine.email)
        yield client


@pytest.fixture
async def program(application: Application, world: World) -> AsyncIterator[httpx.AsyncClient]:
    """A program with a key of the one organization that may do everything."""
    async with client_of(application, headers=world.mine.bearer) as client:
        yield client


@pytest.fixture
async def neighbour(application: Application, world: World) -> AsyncIterator[httpx.AsyncClient]:
    """A program of the other organization, to see that what is asked for is there."""
    async with client_of(application, headers=world.other.bearer) as client:
        yield client


def names_of(tenant: Tenant, route: Route, *, others: int | None = OTHERS) -> list[str]:
    """Return what an organization's things are called in paths and filters: ids, and names that hold the slug.

    The ids are all those of the route's own slice and so many of the others', or all of them.
    """
    own = tenant.things.get(route.path.split("/")[2], ())
    foreign = [thing for things in tenant.things.values() for thing in things if thing not in own]
    if own and others is not None:
        foreign = random.Random(route.name).sample(foreign, min(others, len(foreign)))
    ids = [thing for thing in (*own, *foreign) if thing in tenant.marks]
    return [*ids, tenant.slug, f"{tenant.slug}-provider", f"{tenant.slug}-role", tenant.email]


@pytest.fixture
def others() -> int | None:
    return OTHERS


async def test_reading_by_id_finds_one_s_own_things_only(
    application: Application, person: httpx.AsyncClient, program: httpx.AsyncClient, neighbour: httpx.AsyncClient,
    world: World, others: int | None,
) -> None:  # fmt: skip
    routes = [route for route in await documented(application) if route.method == "GET" and route.path_parameters]
    assert len(routes) >= 2
    for route in routes:
        paths = route.paths(names_of(world.other, route, others=others))
        for path in paths:
            for client in (person, program):
                answer = await client.get(path, params=QUERIES.get(route.name))
                assert answer.status_code in {401, 403, 404}, f"{route.name} {path}: {answer.status_code} {answer.text}"
                assert told(answer, world.other, path) == set(), route.name
        assert _is_of_people(route) or await _is_shown(neighbour, route, paths), (
            f"{route.name} shows the other organization nothing of its own either"
        )


async def _is_shown(client: httpx.AsyncClient, route: Route, paths: list[str]) -> bool:
    for path in paths:
        if (await client.get(path, params=QUERIES.get(route.name))).status_code == 200:
            return True
    return False


def _is_of_people(route: Route) -> bool:
    # Things of a person or of the installation are no program's to read.
    return "sign-in" in route.path or "shared-capacities" in route.path or route.path.startswith("/api/operations/")


async def test_changing_by_id_changes_one_s_own_things_only(
    application: Application, person: httpx.AsyncClient, admin_connection: asyncpg.Connection, world: World,
    others: int | None,
) -> None:  # fmt: skip
    before = await fingerprint(admin_connection, world.other)
    roles = (await person.get("/api/identity/roles")).json()["items"]
    own_role = next(item["id"] for item in roles if item["name"] == f"{MINE}-role")
    bodies = BODIES | {"POST /api/identity/members/{user_id}/roles": {"role_id": own_role}}
    routes = [route for route in await documented(application) if route.method != "GET" and route.path_parameters]
    assert len(routes) > 8
    for route in routes:
        for path in route.paths(names_of(world.other, route, others=others)):
            body = {"json": bodies.get(route.name, {})} if route.has_body else {}
            answer = await person.request(route.method, path, **body)
            assert 400 <= answer.status_code < 500, f"{route.name} {path}: {answer.status_code} {answer.text}"
            if route.name in bodies and UUID_TEXT.match(path.split("/")[4]):
                assert answer.status_code in {403, 404}, f"{route.name}: {answer.status_code} {answer.text}"
            assert told(answer, world.other, path) == set(), route.name

    after = await fingerprint(admin_connection, world.other)
    assert [table for table in before if before[table] != after[table]] == []


async def test_lists_and_filters_show_one_s_own_things_only(
    application: Application, person: httpx.AsyncClient, program: httpx.AsyncClient, world: World
) -> None:
    routes = [
        route
        for route in await documented(application)
        if route.method == "GET" and not route.path_parameters and route.path != LIVE_PATH
    ]
    values = [str(world.other.id), OTHER, world.other.email, f"{OTHER}-shop"]
    shown: set[str] = set()
    for route in routes:
        questions: list[dict[str, str]] = [{}, {"limit": "500"}, {"tag:team": f"{OTHER}-team"}]
        filters = [{name: value} for name, value in itertools.product(route.query_parameters, values)]
        for client, asked in ((person, questions), (program, [*questions, *filters])):
            for question in asked:
                answer = await client.get(route.path, params=question)
                assert answer.status_code < 500, f"{route.name} {question}: {answer.text}"
                assert told(answer, world.other, str(question)) == set(), f"{route.name} {question}"
                if answer.status_code == 200 and told(answer, world.mine):
                    shown.add(route.path)
    # What shows nothing of one's own proves nothing.
    assert {
        "/api/identity/me", "/api/identity/members", "/api/identity/access-keys", "/api/identity/roles",
        "/api/identity/invitations", "/api/identity/organization", "/api/catalog/prices", "/api/metering/calls",
        "/api/metering/body-settings", "/api/metering/repricings", "/api/governance/audit-log",
        "/api/governance/audit-log/export",
    } <= shown  # fmt: skip


async def test_figures_and_exports_hold_one_s_own_calls_only(
    program: httpx.AsyncClient, neighbour: httpx.AsyncClient, world: World
) -> None:
    start = (datetime.now(UTC) - timedelta(hours=23)).isoformat()
    for path, form in itertools.product(("summary", "series", "calls"), ("json", "csv", "parquet")):
        question = {"from": start, "format": form}
        if path != "calls":
            question["group_by"] = "provider,model,application,user,key"
        if path == "series":
            question["interval"] = "1h"
        for client, tenant, foreign in ((program, world.mine, world.other), (neighbour, world.other, world.mine)):
            answer = await client.get(f"/api/metering/{path}", params=question)
            assert answer.status_code == 200, answer.text
            assert told(answer, tenant) and told(answer, foreign) == set(), f"{path} as {form}"
            if (path, form) == ("summary", "json"):
                assert answer.json()["total"]["requests"] == tenant.counts["metering.calls"]
            if (path, form) == ("calls", "csv"):
                assert len(answer.text.splitlines()) == tenant.counts["metering.calls"] + 1


async def test_naming_the_other_organization_opens_nothing(
    application: Application, person: httpx.AsyncClient, program: httpx.AsyncClient, world: World
) -> None:
    for route in await documented(application):
        if route.method != "GET" or route.path_parameters or route.path == LIVE_PATH:
            continue
        for client, wanted in itertools.product((person, program), (OTHER, str(world.other.id))):
            headers = {"x-nexus-organization": wanted}
            answer = await client.get(route.path, headers=headers, params={"organization": wanted})
            assert answer.status_code < 500
            assert told(answer, world.other, wanted) == set(), route.name


async def test_records_that_name_another_s_key_user_and_ids_stay_one_s_own(
    program: httpx.AsyncClient, admin_connection: asyncpg.Connection, world: World
) -> None:
    before = await fingerprint(admin_connection, world.other)
    key_id = await admin_connection.fetchval(
        "SELECT id FROM identity.access_keys WHERE organization_id = $1 LIMIT 1", world.other.id
    )
    theirs = await admin_connection.fetch(
        "SELECT id, occurred_at FROM metering.calls WHERE organization_id = $1", world.other.id
    )
    records = [
        {
            "id": str(row["id"]), "provider": "openai", "status_code": 200, "key": str(key_id), "user": world.other.email,
            "timestamp": row["occurred_at"].isoformat(),
        }
        for row in theirs
    ]  # fmt: skip
    named = {"id": str(uuid4()), "provider": "openai", "status_code": 200, "organization_id": str(world.other.id)}

    answer = await program.post("/v1/events", json=[*records, named])

    # The same ids are other calls where they belong to another organization.
    assert answer.status_code == 200, answer.text
    assert (
        answer.json()["stored"] == len(records)
        and answer.json()["refused"][0]["errors"][0]["field"] == "organization_id"
    )
    assert await fingerprint(admin_connection, world.other) == before
    # An address is resolved among one's own members; another's stays the text that was sent.
    owner_id = await admin_connection.fetchval("SELECT id FROM identity.users WHERE email = $1", world.other.email)
    assert await admin_connection.fetchval(
        "SELECT count(*) FROM metering.calls WHERE organization_id = $1 AND user_ref = $2", world.mine.id, str(owner_id)
    ) == 0  # fmt: skip


async def test_the_live_stream_announces_one_s_own_calls_only(
    application: Application, world: World, program: httpx.AsyncClient, neighbour: httpx.AsyncClient
) -> None:
    stream = Stream(application, world.mine.key)
    watching = Stream(application, world.other.key)
    for one in (stream, watching):
        assert await one.start() == 200
        assert (await one.event("calls"))["stored"] == 0

    sent = events(OTHER, datetime.now(UTC))
    calls = [item for item in sent if item.get("type", "api_call") == "api_call"]
    theirs = await neighbour.post("/v1/events", json=sent)
    assert theirs.json()["stored"] == len(sent)
    heard = 0
    while heard < len(calls):
        heard += (await watching.event("calls"))["stored"]
    mine = await program.post("/v1/events", json=events(MINE, datetime.now(UTC))[:1])
    assert mine.json()["stored"] == 1

    # The other's were announced before; had they come here too, the sum would be more than one.
    assert (await stream.event("calls"))["stored"] == 1
    for one in (stream, watching):
        await one.close()


async def test_people_learn_nothing_of_an_organization_they_are_not_in(
    application: Application, person: httpx.AsyncClient, world: World
) -> None:
    account: dict[str, Any] = (await person.get("/api/identity/me")).json()
    asked = await asyncio.gather(
        *(
            person.request(method, path, headers={"x-nexus-organization": OTHER}, json=body)
            for method, path, body in (
                ("PATCH", "/api/identity/organization", {"name": "taken"}),
                ("POST", "/api/identity/access-keys", {"name": "taken", "scopes": ["metrics:read"]}),
                ("POST", "/api/identity/invitations", {"email": "thief@example.org", "role": "owner"}),
            )
        )
    )

    assert [item["slug"] for item in account["organizations"]] == [MINE]
    assert all(answer.status_code in {403, 404} for answer in asked), [answer.text for answer in asked]
