"""`nexus credential`: what an operator on the machine may do with provider credentials."""

from __future__ import annotations

import asyncio
import getpass
import sys
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import cyclopts
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from nexus.identity import provider_credentials as service
from nexus.identity import store
from nexus.identity.errors import UnknownOrganization
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import Actor, Connection, open_database
from nexus.platform.db.secrets import secret_keys
from nexus.platform.sealing import Sealer
from nexus.platform.settings import Settings

app = cyclopts.App(name="credential", help="Keep, list, remove and reseal provider credentials.")
_out = Console(highlight=False, soft_wrap=True)
Org = Annotated[str, Parameter(name=["--organization", "-o"], help="slug or id of the organization")]


def _actor() -> Actor:
    return Actor(label=f"operator {getpass.getuser()}")


async def _organization_id(connection: Connection, name: str) -> UUID:
    found = await store.organization_by_slug(connection, name)
    if found is None:
        raise UnknownOrganization(f"there is no organization {name[:100]!r}; see `nexus org list`")
    return found.id


@app.command(name="add")
def add_credential(
    provider: str,
    *,
    organization: Org = "default",
    name: str = "default",
    base_url: str | None = None,
    auth_form: str = "",
    weight: int = 1,
    days: int | None = None,
) -> None:
    """Keep what Nexus sends to a provider. Asks for the secret, or reads a line from standard input."""
    secret = getpass.getpass("Secret: ") if sys.stdin.isatty() else sys.stdin.readline()
    settings = Settings.from_environment()
    sealer = Sealer(secret_keys(settings))

    async def work() -> service.ProviderCredential:
        at = SYSTEM_CLOCK.now()
        async with open_database(settings) as database, database.as_system(_actor()) as connection:
            return await service.create(
                connection, await _organization_id(connection, organization), sealer, provider=provider, name=name,
                secret=secret, base_url=base_url, auth_form=auth_form, weight=weight, at=at,
                expires_at=at + timedelta(days=days) if days is not None else None,
            )  # fmt: skip

    made = asyncio.run(work())
    _out.print(f"{made.id}  {made.provider}  {made.prefix}…", markup=False)


@app.command(name="list")
def list_credentials(
    *, organization: Org = "default", json: Annotated[bool, Parameter(name="--json", negative="")] = False
) -> None:
    """List provider credentials, never their secrets."""

    async def work() -> list[Any]:
        async with open_database(Settings.from_environment()) as database, database.as_system(_actor()) as connection:
            organization_id = await _organization_id(connection, organization)
            found: list[Any] = []
            while True:
                after = found[-1].id if found else None
                more = await service.list_all(connection, organization_id, after=after, provider=None, limit=500)
                found += more
                if len(more) < 500:
                    return found

    found = asyncio.run(work())
    if json:
        _out.print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode(), markup=False)
        return
    columns = ["id", "provider", "name", "prefix", "base_url", "weight", "is_active", "expires_at"]
    table = Table(*columns, box=None, pad_edge=False)
    for item in found:
        values = [getattr(item, column) for column in columns]
        table.add_row(*("-" if value is None else str(value) for value in values))
    _out.print(table)


@app.command(name="remove")
def remove_credential(credential_id: UUID, *, organization: Org = "default") -> None:
    """Forget a provider credential, everywhere within a second."""

    async def work() -> None:
        async with open_database(Settings.from_environment()) as database, database.as_system(_actor()) as connection:
            await service.delete(connection, await _organization_id(connection, organization), credential_id)

    asyncio.run(work())
    _out.print("removed")
