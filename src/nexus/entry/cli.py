"""The command line. Errors that are expected are one line on standard error and exit code 1; nothing is a traceback."""

from __future__ import annotations

import sys

import cyclopts
from rich.console import Console

import nexus
from nexus.catalog.commands import app as catalog_app
from nexus.entry.doctor import doctor
from nexus.identity.commands import key_app, org_app, user_app
from nexus.kit.errors import NexusError
from nexus.metering.replay_commands import replay
from nexus.platform.db.commands import app as db_app
from nexus.platform.settings import Settings

app = cyclopts.App(
    name="nexus",
    help="Nexus: admit, forward, measure, price and watch every API call.",
    version=nexus.__version__,
    help_epilogue="Settings are environment variables; `nexus doctor` lists them.",
)
_error = Console(stderr=True, highlight=False, soft_wrap=True)


@app.command
def up() -> None:
    """Start everything in this terminal: PostgreSQL and Redis (unless their URLs are set), worker and web."""
    from nexus.entry import all_in_one

    all_in_one.up(Settings.from_environment())


@app.command
def server() -> None:
    """Serve with NEXUS_WORKERS web processes, for production: databases, migrations and worker run elsewhere."""
    from nexus.entry import production

    production.serve(Settings.from_environment())


@app.command
def worker() -> None:
    """Do the background work, for production. Several, on several machines, are safe."""
    from nexus.entry import processes

    processes.run_worker()


app.command(db_app)
app.command(key_app)
app.command(user_app)
app.command(org_app)
app.command(catalog_app)
try:
    from nexus.metering.commands import app as metering_app
except ImportError:
    pass
else:
    app.command(metering_app)
app.command(replay, name="replay")
app.command(doctor, name="doctor")


def main() -> None:
    """Run the command line."""
    try:
        result = app()
    except NexusError as error:
        _error.print(f"[bold red]error:[/] {_plain(error.detail)}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except (ConnectionError, FileNotFoundError, TimeoutError) as error:
        _error.print(f"[bold red]error:[/] {_plain(str(error))} (is it running? `nexus doctor` tells)")
        sys.exit(1)
    sys.exit(result if isinstance(result, int) else 0)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
