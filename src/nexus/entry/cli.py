"""The command line. Errors that are expected are one line on standard error and exit code 1; nothing is a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import asyncpg
import cyclopts
import redis.exceptions
import sqlalchemy.exc
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

import nexus
from nexus.admission.commands import app as admission_app
from nexus.catalog.commands import app as catalog_app
from nexus.costs.commands import app as costs_app
from nexus.entry.doctor import doctor
from nexus.identity.commands import key_app, org_app, user_app
from nexus.identity.provider_credential_commands import app as credential_app
from nexus.kit.errors import NexusError
from nexus.metering.commands import app as metering_app
from nexus.metering.replay_commands import replay
from nexus.platform.db.commands import app as db_app
from nexus.platform.settings import Settings
from nexus.sandbox.commands import sandbox

app = cyclopts.App(
    name="nexus",
    help="Nexus: admit, forward, measure, price and watch every API call.",
    version=nexus.__version__,
    help_epilogue="Settings are environment variables; `nexus doctor` lists them.",
)
_error = Console(stderr=True, highlight=False, soft_wrap=True)
_EXPECTED = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    sqlalchemy.exc.OperationalError,
    redis.exceptions.RedisError,
)
"""What a command meets when something it needs is away or closed to it."""


@app.command
def up(
    *,
    demo: Annotated[
        bool,
        Parameter(
            negative="",
            help="add two organizations with a month of believable traffic, which goes on; "
            "in a data directory of its own unless NEXUS_DATA_DIR is set",
        ),
    ] = False,
    days: Annotated[int, Parameter(help="of the demo: days to fill before now", validator=Number(gte=1, lte=365))] = 30,
    volume: Annotated[
        float, Parameter(help="of the demo: how much traffic, 1 being about 4,000 calls a day", validator=Number(gt=0))
    ] = 1.0,
) -> None:
    """Start everything in this terminal: PostgreSQL and Redis (unless their URLs are set), worker and web."""
    from nexus.demo.traffic import Amount
    from nexus.entry import all_in_one

    settings = Settings.from_environment()
    if demo:
        all_in_one.up(apart(settings, os.environ), Amount(days, volume))
    else:
        all_in_one.up(settings)


def apart(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Return the settings of the demo: what is made up does not end up among what is not, unless somebody says so."""
    if environ.get("NEXUS_DATA_DIR"):
        return settings
    return replace(settings, data_dir=settings.data_dir.with_name("nexus-demo"))


@app.command
def server() -> None:
    """Serve with NEXUS_WORKERS web processes, for production: databases, migrations and worker run elsewhere."""
    from nexus.entry import production

    production.serve(Settings.from_environment())


@app.command
def worker() -> None:
    """Do the background work, for production. Several, on several machines, are safe."""
    from nexus.entry import production

    production.work(Settings.from_environment())


@app.command
def version() -> None:
    """Print the version."""
    Console(highlight=False).print(nexus.__version__)


app.command(db_app)
app.command(key_app)
app.command(user_app)
app.command(org_app)
app.command(credential_app)
app.command(catalog_app)
app.command(admission_app)
app.command(metering_app)
app.command(costs_app)
app.command(replay, name="replay")
app.command(sandbox, name="sandbox")
app.command(doctor, name="doctor")


def main() -> None:
    """Run the command line."""
    try:
        result = app()
    except NexusError as error:
        _fail(error.detail)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone (`nexus … | head`); nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except _EXPECTED as error:
        text = " ".join(str(error).split()) or type(error).__name__
        _fail(f"{text} (`nexus doctor` tells what is wrong)")
    else:
        sys.exit(result if isinstance(result, int) else 0)


def _fail(text: str) -> None:
    _error.print("[bold red]error:[/]", end=" ")
    _error.print(text, markup=False)
    sys.exit(1)
