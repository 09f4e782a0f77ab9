"""Every route × every role: a role opens what the role table gives it and nothing else, and nobody opens what needs somebody.

The routes are those of the application, whoever wrote them; a route that is added is tested without a line here. What a
route asks for is what its guard tells (and what the API's description says, see the last test); what a role gives is in
the database. Guards run before the body is read, so an empty body is enough: only whether the way in is open is asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
from litestar.routes import HTTPRoute

from nexus.entry.control_plane import ControlPlane
from nexus.identity import sessions, store
from nexus.identity.authentication import COOKIE
from nexus.identity.guards import permission_of
from nexus.identity.types import FirstStart
from nexus.kit.ids import uuid7
from nexus.platform.db import SYSTEM_ACTOR, Database
from nexus.platform.db.configuration import get_configuration
from tests.identity.people import NOW

MEMBERSHIPS = ("owner", "admin", "member", "viewer")
GRANTED = ("system_admin", "application_admin", "application_viewer", "operations_admin", "auditor")
PUBLIC, SIGNED_IN = "(public)", "(signed in)"
ENDS_SESSIONS = ("sign-out", "password", "confirm", "second-factor", "sessions")
DUMMIES = {"uuid": str(uuid7()), "str": "nothing-like-it", "int": "1"}


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    template: str
    permission: str


def calls_of(app: ControlPlane) -> Iterator[Call]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        path = route.path_format
        for parameter in route.path_parameters.values():
            kind = parameter.type.__name__.lower()
            path = path.replace("{" + parameter.name + "}", DUMMIES.get(kind, "nothing-like-it"))
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                permission = permission_of(handler)
                if permission is not None:
                    yield Call(method, path, route.path_format, permission)


async def ask(
    app: ControlPlane, call: Call, token: str | None, more: tuple[tuple[bytes, bytes], ...] = ()
) -> tuple[int, str]:
    """Return the status and, of a problem, its name. A stream is left as soon as it begins."""
    headers = [(b"host", b"testserver"), (b"content-type", b"application/json"), *more]
    if token is not None:
        headers.append((b"cookie", f"{COOKIE}={token}".encode()))
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": call.method,
        "path": call.path, "raw_path": call.path.encode(), "query_string": b"", "root_path": "", "headers": headers,
        "client": ("192.0.2.1", 40_000), "server": ("testserver", 80), "state": {},
    }  # fmt: skip
    begun: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    bodies = [{"type": "http.request", "body": b"{}", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if bodies:
            return bodies.pop()
        await begun
        return {"type": "http.disconnect"}

    answer: dict[str, Any] = {"body": b""}
    finished = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.update(message)
            if dict(message["headers"]).get(b"content-type", b"").startswith(b"text/event-stream"):
                finished.set()
        else:
            answer["body"] += message.get("body", b"")
            if not message.get("more_body"):
                finished.set()

    task = asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]
    waiting = asyncio.create_task(finished.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    begun.cancel()
    for item in (task, waiting):
        item.cancel()
    await asyncio.gather(task, waiting, return_exceptions=True)
    name = ""
    if answer["status"] >= 400:
        name = str(json.loads(answer["body"])["type"]).removeprefix("urn:nexus:problem:")
    return answer["status"], name


async def person_with(database: Database, first: FirstStart, role: str) -> Any:
    """Make a person who is a member with a role, or a viewer to whom the role is granted; returns their id."""
    membership = role if role in MEMBERSHIPS else "viewer"
    user_id = uuid7()
    async with database.as_system() as db:
        await store.insert_user(db, user_id, f"{role}@example.com", None, "", "UTC", "en")
        await store.run(db, "add_member", first.organization_id, user_id, membership, [], None)
        if role not in MEMBERSHIPS:
            await db.execute(
                "INSERT INTO identity.user_roles (id, organization_id, user_id, role_id) "
                "SELECT $1, $2, $3, id FROM identity.roles WHERE name = $4",
                uuid7(), first.organization_id, user_id, role,
            )  # fmt: skip
    return user_id


async def table_of(database: Database, role: str) -> frozenset[str]:
    """Return what the role table gives: the membership's row, and the granted role's."""
    names = [f"organization_{role}"] if role in MEMBERSHIPS else ["organization_viewer", role]
    async with database.as_system() as db:
        rows = await db.fetch(
            "SELECT p.permission FROM identity.role_permissions AS p JOIN identity.roles AS r ON r.id = p.role_id "
            "WHERE r.name = ANY ($1::text[]) AND r.organization_id IS NULL",
            names,
        )
    return frozenset(row[0] for row in rows)


@pytest.mark.parametrize("role", MEMBERSHIPS + GRANTED)
async def test_a_role_opens_what_the_table_says_and_nothing_else(
    app: ControlPlane, database: Database, first: FirstStart, role: str
) -> None:
    user_id = await person_with(database, first, role)
    held = await table_of(database, role)

    async def session() -> str:
        async with database.as_system() as db:
            opened = await sessions.open_session(db, user_id, SYSTEM_ACTOR, NOW, await get_configuration(db))
            return opened.token

    token = await session()
    wrong: list[str] = []
    for call in calls_of(app):
        status, name = await ask(app, call, token)
        if any(part in call.path for part in ENDS_SESSIONS):
            token = await session()
        may = call.permission in {PUBLIC, SIGNED_IN} or call.permission in held or "*" in held
        refused = (status, name) == (403, "missing_permission")
        # There is no Redis here: whoever is told so got past the guard.
        if (
            refused == may
            or (status >= 500 and name != "limiter_unavailable")
            or (status == 401 and call.permission != PUBLIC)
        ):
            wrong.append(f"{call.method} {call.template} ({call.permission}, {may=}): {status} {name}")

    assert wrong == []


@pytest.mark.parametrize(
    "header",
    [(b"origin", b"https://evil.example"), (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-site", b"same-site")],
)
async def test_no_route_that_changes_something_takes_the_cookie_from_another_site(
    app: ControlPlane, database: Database, first: FirstStart, header: tuple[bytes, bytes]
) -> None:
    # CSRF: the owner's browser sends the cookie along with what another site wrote.
    user_id = await person_with(database, first, "owner")
    async with database.as_system() as db:
        opened = await sessions.open_session(db, user_id, SYSTEM_ACTOR, NOW, await get_configuration(db))

    changing = [call for call in calls_of(app) if call.method != "GET"]
    outcomes = {call: await ask(app, call, opened.token, (header,)) for call in changing}

    assert len(changing) > 30
    assert [call for call in changing if outcomes[call] != (403, "cross_site_request")] == []


async def test_nobody_opens_what_needs_somebody(app: ControlPlane) -> None:
    calls = list(calls_of(app))
    outcomes = {call: await ask(app, call, None) for call in calls}
    closed = [call for call in calls if call.permission != PUBLIC]

    assert len(calls) > 40 and len(closed) > 30
    assert [f"{c.method} {c.template}: {outcomes[c]}" for c in closed if outcomes[c] != (401, "unauthenticated")] == []
    assert {c.template for c in calls if c.permission == PUBLIC} <= {
        "/api/identity/sign-in",
        "/api/identity/sign-in/second-factor",
        "/api/identity/sign-in/providers",
        "/api/identity/sign-in/providers/{slug}/start",
        "/api/identity/sign-in/providers/{slug}/callback",
        "/api/identity/invitations/look",
        "/api/identity/invitations/accept",
        "/api/identity/password-reset",
    }, "a route that is open to everybody is listed here on purpose"


async def test_every_permission_a_route_asks_for_exists_and_is_described(app: ControlPlane, database: Database) -> None:
    async with database.as_system() as db:
        known = {item.name for item in await store.list_permissions(db)}
    document = msgspec.json.decode(app.description())

    for call in calls_of(app):
        assert call.permission in known | {PUBLIC, SIGNED_IN}, call
        if call.template in document["paths"]:
            operation = document["paths"][call.template][call.method.lower()]
            assert operation["x-permission"] == call.permission, call


async def test_routes_without_a_guard_are_none(app: ControlPlane) -> None:
    bare = [
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods - {"OPTIONS"}
        if permission_of(handler) is None and not route.path.startswith("/_openapi")
    ]

    assert bare == []


async def test_a_key_opens_no_account(client: httpx.AsyncClient, first: FirstStart) -> None:
    headers = {"authorization": f"Bearer {first.access_key}"}
    for method, path in (("GET", "sessions"), ("GET", "me/second-factor"), ("POST", "me/second-factor")):
        assert (await client.request(method, f"/api/identity/{path}", headers=headers)).status_code == 403
