"""`nexus metering`: what an operator on the machine may ask of the meter."""

from __future__ import annotations

import asyncio
import getpass
from datetime import datetime
from typing import Annotated

import cyclopts
import msgspec
from cyclopts import Parameter
from rich.progress import Progress, SpinnerColumn, TextColumn

from nexus.catalog import service as catalog
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.kit.errors import InvalidRequest, invalid
from nexus.metering import repricing, store
from nexus.metering.jobs import FOLD_ROWS
from nexus.metering.types import Repricing, RepricingNew
from nexus.platform.db import Actor, Database, open_database
from nexus.platform.settings import Settings
from nexus.platform.terminal import open_console, print_table

app = cyclopts.App(name="metering", help="Price stored calls again, fold rollups.")
_out = open_console()


def _instant(name: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(name, f"--{name}: give an instant such as 2026-11-01T00:00:00Z") from None
    if at.tzinfo is None:
        raise invalid(name, f"--{name}: give the zone too, such as Z")
    return at


@app.command
def reprice(
    *,
    organization: Annotated[str, Parameter(name=["--organization", "-o"], help="slug of the organization")],
    start: Annotated[str, Parameter(name="--from", help="start of the range, RFC 3339")],
    end: Annotated[str, Parameter(name="--to", help="end of the range, which no longer belongs to it")],
    provider: str | None = None,
    model: str | None = None,
    dry_run: Annotated[bool, Parameter(negative="", help="tell what would change, change nothing")] = False,
    only_unpriced: Annotated[bool, Parameter(negative="", help="only calls whose cost is not known")] = False,
    include_given: Annotated[bool, Parameter(negative="", help="also costs that callers gave")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="", help="print JSON")] = False,
) -> None:
    """Compute the cost of stored calls again from today's price book, now, and show what changed."""
    new = RepricingNew(
        start=_instant("from", start),
        end=_instant("to", end),
        provider=provider,
        model=model,
        dry_run=dry_run,
        only_unpriced=only_unpriced,
        include_given=include_given,
    )
    done = asyncio.run(_reprice(organization, new))
    if json:
        _out.print(msgspec.json.format(msgspec.json.encode(done), indent=2).decode(), markup=False)
    else:
        _show(done)
    if done.state == "failed":
        raise InvalidRequest(done.error)


async def _reprice(slug: str, new: RepricingNew) -> Repricing:
    actor = Actor(label=f"operator {getpass.getuser()}")
    async with open_database(Settings.from_environment()) as database:
        async with database.as_system(actor) as connection:
            organization_id = await store.organization_by_slug(connection, slug)
        if organization_id is None:
            raise invalid("organization", f"there is no organization {slug[:100]!r}; see `nexus org list`")
        async with database.tenant(organization_id, actor) as connection:
            ordered = await repricing.start(connection, organization_id, new, at=SYSTEM_CLOCK.now())
        with Progress(SpinnerColumn(), TextColumn("{task.description}"), transient=True, console=_out) as progress:
            task = progress.add_task("waiting")
            while True:
                # A worker may take the order first; then this waits for it.
                await _work(database)
                async with database.tenant(organization_id, readonly=True) as connection:
                    found = await repricing.get(connection, organization_id, ordered.id)
                if found.state in {"done", "failed"}:
                    return found
                progress.update(task, description=f"{found.examined:,} calls examined, {found.changed:,} differ")


async def _work(database: Database) -> None:
    async with database.as_system() as connection:
        book = await catalog.price_book(connection)
    for _ in range(50):
        async with database.as_system() as connection:
            if not await repricing.work_chunk(connection, book):
                await asyncio.sleep(0.2)
                return


def _show(done: Repricing) -> None:
    word = "would change" if done.dry_run else "changed"
    _out.print(f"{done.state}: {done.examined:,} calls examined, {done.changed:,} {word}")
    rows = []
    for item in done.totals:
        unpriced = f"{item.unpriced_before:,} → {item.unpriced_after:,}"
        numbers = (f"{item.calls:,}", f"{item.changed:,}", item.cost_before, item.cost_after, unpriced)
        rows.append([item.provider, item.model or "-", item.currency, *numbers])
    columns = ["provider", "model", "currency", "calls", word, "before", "after", "unpriced"]
    print_table(_out, columns, rows)


@app.command
def fold() -> None:
    """Move everything that waits in the journal into the rollups. Answers do not change; the worker does it anyway."""

    async def work() -> int:
        total = 0
        async with open_database(Settings.from_environment()) as database:
            while True:
                async with database.as_system() as connection:
                    moved = await store.fold(connection, FOLD_ROWS)
                if moved <= 0:
                    return total
                total += moved

    _out.print(f"{asyncio.run(work()):,} journal rows folded")
