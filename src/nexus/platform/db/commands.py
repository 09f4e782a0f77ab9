"""`nexus db`: make the roles and the database, migrate, check."""

from __future__ import annotations

import asyncio

import cyclopts
from rich.console import Console

from nexus.platform.db.checks import database_faults
from nexus.platform.db.migrate import state
from nexus.platform.db.pool import DatabaseUrls, open_database
from nexus.platform.db.setup import initialise_database, migrate_database
from nexus.platform.settings import InvalidSettings, Settings

app = cyclopts.App(name="db", help="Make, migrate and check the database.")
_out = Console(highlight=False, soft_wrap=True)


@app.command
def init() -> None:
    """Make roles, logins and the database with NEXUS_ADMIN_URL, then migrate. Re-runnable."""
    settings = Settings.from_environment()
    if settings.embeds_postgres:
        raise InvalidSettings("the embedded server is made by `nexus up`; set NEXUS_ADMIN_URL for one of your own")
    report = asyncio.run(initialise_database(settings))
    for role in report.created_roles:
        _out.print(f"made the role {role}")
    for warning in report.warnings:
        _out.print(f"[yellow]warning:[/] {warning}")
    migrate()


@app.command
def migrate() -> None:
    """Bring the schema to the newest revision."""
    settings = Settings.from_environment()
    after = asyncio.run(migrate_database(DatabaseUrls.from_settings(settings).owner))
    _out.print(f"the schema is at revision {after.current}")


@app.command
def check() -> int:
    """Tell whether the schema is current and keeps tenants apart; exit code 1 when not."""
    settings = Settings.from_environment()
    urls = DatabaseUrls.from_settings(settings)
    faults = 0
    if urls.owner is not None:
        now = state(urls.owner)
        if not now.is_current:
            faults += 1
            _out.print(f"[red]the schema is at {now.current or 'nothing'}, not {now.head}[/]: run `nexus db migrate`")

    async def look() -> int:
        async with open_database(settings) as database:
            found = await database_faults(database)
        for fault in found:
            _out.print(f"[red]{fault.what}[/]: {fault.remedy}")
        return len(found)

    faults += asyncio.run(look())
    if not faults:
        _out.print("the database is current and keeps tenants apart")
    return 1 if faults else 0
