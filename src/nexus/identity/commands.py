"""`nexus key`, `nexus user`, `nexus org`: what an operator on the machine may do without signing in."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

import cyclopts
import msgspec
from cyclopts import Parameter

from nexus.identity import access_keys, lockout, password_links, second_factor, service, sessions, store
from nexus.identity.errors import UnknownOrganization
from nexus.identity.types import Organization, OrganizationChoice, User
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.kit.errors import InvalidRequest
from nexus.platform.db import Actor, Connection, Database, open_database
from nexus.platform.settings import Settings
from nexus.platform.terminal import open_console, print_table

key_app = cyclopts.App(name="key", help="Make, list, rotate and revoke access keys.")
user_app = cyclopts.App(name="user", help="Make, list, unlock and deactivate people.")
org_app = cyclopts.App(name="org", help="Make and list organizations.")
_out = open_console()
T = TypeVar("T")
Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON")]
Org = Annotated[str, Parameter(name=["--organization", "-o"], help="slug or id of the organization")]


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@asynccontextmanager
async def _operator() -> AsyncIterator[tuple[Database, Actor]]:
    actor = Actor(label=f"operator {getpass.getuser()}")
    async with open_database(Settings.from_environment()) as database:
        yield database, actor


async def _organization(connection: Connection, name: str) -> Organization:
    found = await store.organization_by_slug(connection, name)
    if found is None:
        raise UnknownOrganization(f"there is no organization {name[:100]!r}; see `nexus org list`")
    return found


def _print(items: list[Any], columns: list[str], as_json: bool) -> None:
    if as_json:
        _out.print(msgspec.json.format(msgspec.json.encode(items), indent=2).decode(), markup=False)
        return
    print_table(_out, columns, [[_cell(getattr(item, column)) for column in columns] for item in items])


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return "-" if value is None else str(value)


@key_app.command(name="create")
def create_key(
    name: str,
    *,
    organization: Org = "default",
    scope: list[str] | None = None,
    application: str = "",
    days: int | None = None,
    json: Json = False,
) -> None:
    """Make an access key and print it, once. By default it may send records, and read and export figures."""

    async def work() -> Any:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            found = await _organization(connection, organization)
            at = SYSTEM_CLOCK.now()
            return await access_keys.create(
                connection, found.id, name=name, scopes=scope or ["events:write", "metrics:read", "metrics:export"],
                at=at, application=application, expires_at=at + timedelta(days=days) if days is not None else None,
            )  # fmt: skip

    made = _run(work())
    if json:
        _print(made, [], True)
    else:
        _out.print(made.key, markup=False)


@key_app.command(name="list")
def list_keys(*, organization: Org = "default", revoked: bool = False, json: Json = False) -> None:
    """List access keys, newest first."""

    async def work() -> Any:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            found = await _organization(connection, organization)
            return await store.list_keys(connection, found.id, None, revoked, 500)

    columns = ["id", "prefix", "name", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at"]
    _print(_run(work()), columns, json)


@key_app.command(name="rotate")
def rotate_key(key_id: UUID, *, organization: Org = "default", overlap_hours: float = 24) -> None:
    """Make a successor and print it; the old key works on for the overlap."""

    async def work() -> Any:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            found = await _organization(connection, organization)
            return await access_keys.rotate(
                connection, found.id, key_id, at=SYSTEM_CLOCK.now(), overlap=timedelta(hours=overlap_hours)
            )

    _out.print(_run(work()).key, markup=False)


@key_app.command(name="revoke")
def revoke_key(key_id: UUID, *, organization: Org = "default") -> None:
    """End a key, everywhere within a second."""

    async def work() -> Any:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            found = await _organization(connection, organization)
            return await access_keys.revoke(connection, found.id, key_id, at=SYSTEM_CLOCK.now())

    _out.print(f"revoked {_run(work()).prefix}…", markup=False)


@user_app.command(name="create")
def create_user(
    email: str, *, password: str | None = None, name: str = "", organization: Org = "default", role: str = "member"
) -> None:
    """Make a person a member of an organization; asks for the password unless one is given."""
    if role not in service.MEMBERSHIP_ROLES:
        raise InvalidRequest(f"role: give one of {', '.join(service.MEMBERSHIP_ROLES)}")
    chosen = password or getpass.getpass("Password: ")

    async def work() -> User:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            found = await _organization(connection, organization)
            user = await service.create_user(connection, email=email, password=chosen, name=name)
            await service.add_member(connection, found.id, user.id, role)
            return user

    _out.print(f"made {_run(work()).email}", markup=False)


@user_app.command(name="list")
def list_users(*, json: Json = False) -> None:
    """List people, of all organizations."""

    async def work() -> Any:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            return await store.many(connection, User, "list_users", None, 1000)

    _print(_run(work()), ["id", "email", "name", "is_active", "last_login_at", "login_count"], json)


@user_app.command(name="set-password")
def set_password(login: str, *, password: str | None = None) -> None:
    """Give a person another password, lift a lock and end their sessions."""
    chosen = password or getpass.getpass("New password: ")

    async def work() -> User:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            user = await service.find_user(connection, login)
            await service.set_password(connection, user, chosen)
            await sessions.end_sessions(connection, user.id, SYSTEM_CLOCK.now())
            return user

    _out.print(f"changed the password of {_run(work()).email}", markup=False)


@user_app.command(name="unlock")
def unlock_user(login: str) -> None:
    """Lift a lock that failed sign-ins brought."""

    async def work() -> User:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            user = await service.find_user(connection, login)
            await store.run(connection, "clear_lanes", lockout.subject_of_user(user.id))
            return user

    _out.print(f"unlocked {_run(work()).email}", markup=False)


@user_app.command(name="reset-link")
def make_reset_link(login: str) -> None:
    """Print a link by which a person sets a new password: good once, for a day."""

    async def work() -> str:
        settings = Settings.from_environment()
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            user = await service.find_user(connection, login)
            made = await password_links.make(
                connection, user.id, base_url=settings.url, made_by=None, actor=actor, at=SYSTEM_CLOCK.now()
            )
            return made.url

    _out.print(_run(work()), markup=False)


@user_app.command(name="remove-second-factor")
def remove_second_factor(login: str) -> None:
    """Take the second factor off a person who lost it."""

    async def work() -> User:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            user = await service.find_user(connection, login)
            await second_factor.take_away(connection, user.id, actor)
            return user

    _out.print(f"took the second factor off {_run(work()).email}", markup=False)


@user_app.command(name="deactivate")
def deactivate_user(login: str) -> None:
    """Shut a person out: sessions end, and the keys they own stop working."""

    async def work() -> User:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            user = await service.find_user(connection, login)
            await sessions.end_sessions(connection, user.id, SYSTEM_CLOCK.now())
            return await service.change_user(connection, user.id, {"is_active": False})

    _out.print(f"deactivated {_run(work()).email}", markup=False)


@org_app.command(name="create")
def create_organization(
    name: str, *, slug: str, currency: str = "USD", zone: str = "UTC", owner: str | None = None
) -> None:
    """Make an organization, with its owner if one is named."""

    async def work() -> Organization:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            person = await service.find_user(connection, owner) if owner else None
            return await service.create_organization(
                connection, name=name, slug=slug, currency=currency, reporting_zone=zone,
                owner_id=person.id if person else None,
            )  # fmt: skip

    _out.print(f"made {_run(work()).slug}", markup=False)


@org_app.command(name="list")
def list_organizations(*, json: Json = False) -> None:
    """List organizations."""

    async def work() -> Any:
        async with _operator() as (database, actor), database.as_system(actor) as connection:
            return await store.many(connection, OrganizationChoice, "all_organizations")

    _print(_run(work()), ["id", "slug", "name", "currency", "reporting_zone"], json)
