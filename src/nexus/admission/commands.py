"""`nexus quota`: what an operator on the machine may do with quotas without signing in."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import cyclopts
import msgspec
from cyclopts import Parameter

from nexus.admission import service, store
from nexus.admission.errors import UnknownQuota
from nexus.admission.types import Quota
from nexus.contracts.limit_specs import LimitSpec
from nexus.contracts.limits import ScopeKind
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.kit.errors import FieldFault, InvalidRequest, NotFound
from nexus.platform.db import Actor, Connection, open_database
from nexus.platform.settings import Settings
from nexus.platform.terminal import open_console, print_table

app = cyclopts.App(name="quota", help="List, publish, compare and roll back quotas.")
_out = open_console()
T = TypeVar("T")
Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON")]
Org = Annotated[str, Parameter(name=["--organization", "-o"], help="slug of the organization")]
_MOST = 1000


@asynccontextmanager
async def _tenant(organization: str) -> AsyncIterator[tuple[Connection, UUID, str]]:
    actor = Actor(label=f"operator {getpass.getuser()}")
    async with open_database(Settings.from_environment()) as database:
        async with database.as_system() as system:
            organization_id = await store.value(system, "organization_by_slug", organization)
        if organization_id is None:
            raise NotFound(f"there is no organization {organization[:100]!r}; see `nexus org list`")
        async with database.tenant(organization_id, actor) as connection:
            yield connection, organization_id, actor.label


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def _find(connection: Connection, name: str) -> Quota:
    for quota in await service.list_quotas(connection, None, _MOST, SYSTEM_CLOCK.now()):
        if name in {quota.name, str(quota.id)}:
            return quota
    raise UnknownQuota(f"there is no quota {name[:100]!r}; see `nexus quota list`")


def _print_json(value: object) -> None:
    _out.print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), markup=False)


def _read_limits(file: Path) -> list[LimitSpec]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[LimitSpec])
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"{file}: {error}", faults=[FieldFault("limits", str(error))]) from error


@app.command(name="list")
def list_quotas(*, organization: Org = "default", json: Json = False) -> None:
    """List quotas with the version in force."""

    async def work() -> list[Quota]:
        async with _tenant(organization) as (connection, _, _):
            return await service.list_quotas(connection, None, _MOST, SYSTEM_CLOCK.now())

    quotas = _run(work())
    if json:
        _print_json(quotas)
        return
    print_table(
        _out,
        ["name", "scope", "subject", "version", "limits"],
        [
            [
                quota.name, quota.scope, quota.subject or "each", str(quota.current.version) if quota.current else "-",
                " ".join(limit.name for limit in quota.current.limits) if quota.current else "-",
            ]
            for quota in quotas
        ],
    )  # fmt: skip


@app.command(name="publish")
def publish_quota(
    name: str,
    file: Path,
    *,
    reason: str,
    scope: ScopeKind | None = None,
    subject: str | None = None,
    provider: str | None = None,
    organization: Org = "default",
) -> None:
    """Publish a version whose limits are a JSON list in FILE; with --scope a new quota, or else one of a quota there is.

    With --provider a model is limited as it is called there, and not wherever it is called.
    """

    async def work() -> tuple[str, int]:
        limits = _read_limits(file)
        async with _tenant(organization) as (connection, organization_id, author):
            now = SYSTEM_CLOCK.now()
            if scope is not None:
                made = await service.create_quota(
                    connection, organization_id, name=name, scope=scope, subject=subject, provider=provider, limits=limits,
                    reason=reason, author=author, at=now,
                )  # fmt: skip
                return made.name, 1
            quota = await _find(connection, name)
            version = await service.publish(
                connection, organization_id, quota.id, limits=limits, reason=reason, author=author, at=now
            )
            return quota.name, version.version

    published, number = _run(work())
    _out.print(f"{published}: version {number} is in force", markup=False)


@app.command(name="roll-back")
def roll_back_quota(name: str, version: int, *, reason: str, organization: Org = "default") -> None:
    """Publish the limits of an earlier version again."""

    async def work() -> int:
        async with _tenant(organization) as (connection, organization_id, author):
            quota = await _find(connection, name)
            made = await service.roll_back(
                connection, organization_id, quota.id, to=version, reason=reason, author=author, at=SYSTEM_CLOCK.now()
            )
            return made.version

    _out.print(f"{name}: version {_run(work())} holds the limits of version {version}", markup=False)


@app.command(name="compare")
def compare_versions(name: str, first: int, second: int, *, organization: Org = "default") -> None:
    """Print what differs between two versions, as JSON."""

    async def work() -> object:
        async with _tenant(organization) as (connection, _, _):
            quota = await _find(connection, name)
            return await service.difference(connection, quota.id, first, second, SYSTEM_CLOCK.now())

    _print_json(_run(work()))
