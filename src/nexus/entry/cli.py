"""The command line. Errors that are expected are one line on standard error and exit code 1; nothing is a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

import nexus
from nexus.kit.errors import NexusError
from nexus.platform.settings import Settings

app = cyclopts.App(
    name="nexus",
    help="Nexus: admit, forward, measure, price and watch every API call.",
    version=nexus.__version__,
    help_epilogue="Settings are environment variables; `nexus doctor` lists them.",
)
_error = Console(stderr=True, highlight=False, soft_wrap=True)
_EXPECTED = (
    ("builtins", "OSError"),
    ("builtins", "TimeoutError"),
    ("asyncpg", "PostgresError"),
    ("asyncpg", "InterfaceError"),
    ("sqlalchemy.exc", "OperationalError"),
    ("redis.exceptions", "RedisError"),
)
"""What a command meets when something it needs is away or closed to it."""


def _expected() -> tuple[type[Exception], ...]:
    """Return them as types: of what no command imported nothing was raised."""
    return tuple(getattr(sys.modules[module], name) for module, name in _EXPECTED if module in sys.modules)


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
    # First: whoever mistyped a setting need not wait for all that a node imports.
    settings = Settings.from_environment()
    from nexus.demo.traffic import Amount
    from nexus.entry import all_in_one

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
    settings = Settings.from_environment()
    from nexus.entry import production

    production.serve(settings)


@app.command
def worker() -> None:
    """Do the background work, for production. Several, on several machines, are safe."""
    settings = Settings.from_environment()
    from nexus.entry import production

    production.work(settings)


@app.command
def version() -> None:
    """Print the version."""
    Console(highlight=False).print(nexus.__version__)


_ELSEWHERE = (
    ("db", "nexus.platform.db.commands:app", "Make, migrate and check the database."),
    ("key", "nexus.identity.commands:key_app", "Make, list, rotate and revoke access keys."),
    ("user", "nexus.identity.commands:user_app", "Make, list, unlock and deactivate people."),
    ("org", "nexus.identity.commands:org_app", "Make and list organizations."),
    (
        "credential",
        "nexus.entry.credential_commands:app",
        "Keep, list, remove and reseal provider credentials.",
    ),
    ("catalog", "nexus.catalog.commands:app", "Providers, models, prices: list, import, price a call."),
    ("quota", "nexus.admission.commands:app", "List, publish, compare and roll back quotas."),
    ("metering", "nexus.metering.commands:app", "Price stored calls again, fold rollups."),
    ("costs", "nexus.costs.commands:app", "Take exchange rates in, list budgets."),
    (
        "replay",
        "nexus.metering.replay_commands:replay",
        "Send a recording: NDJSON of records, an Azure LLM trace (CSV), or an access log of Apache or nginx.",
    ),
    (
        "sandbox",
        "nexus.sandbox.commands:sandbox",
        "Serve a provider on this machine that answers as OpenAI and Anthropic do; Ctrl-C stops it.",
    ),
    ("doctor", "nexus.entry.doctor:doctor", "Say what is wrong and how to mend it; exit code 1 when something is."),
)
"""Commands, where they are, what they are for. They are imported when they are used: none waits for what another needs."""

for _name, _place, _help in _ELSEWHERE:
    app.command(_place, name=_name, help=_help)


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
    except _expected() as error:
        text = " ".join(str(error).split()) or type(error).__name__
        _fail(f"{text} (`nexus doctor` tells what is wrong)")
    else:
        sys.exit(result if isinstance(result, int) else 0)


def _fail(text: str) -> None:
    _error.print("[bold red]error:[/]", end=" ")
    _error.print(text, markup=False)
    sys.exit(1)
