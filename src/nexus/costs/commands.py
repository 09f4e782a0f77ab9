"""`nexus costs`: what an operator on the machine may do with budgets and exchange rates without signing in."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import cyclopts
import msgspec
from cyclopts import Parameter

from nexus.costs import service, store
from nexus.costs.types import Budget, BudgetStanding, RatesImported
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.kit.errors import NotFound
from nexus.platform.db import Actor, open_database
from nexus.platform.settings import Settings
from nexus.platform.terminal import open_console, print_table

app = cyclopts.App(name="costs", help="Take exchange rates in, list budgets.")
_out = open_console()
T = TypeVar("T")
Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON")]
_MOST = 1000


def _actor() -> Actor:
    return Actor(label=f"operator {getpass.getuser()}")


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def _print_json(value: object) -> None:
    _out.print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), markup=False)


@app.command(name="import-rates")
def import_rates(
    file: Path,
    *,
    source: Annotated[str | None, Parameter(help="who published them; the file's name where it is left out")] = None,
    json: Json = False,
) -> None:
    """Take in exchange rates for all organizations: the European Central Bank's CSV or XML, or lines `date,base,quote,rate`."""

    content = file.read_text("utf-8-sig")

    async def work() -> RatesImported:
        actor = _actor()
        async with open_database(Settings.from_environment()) as database, database.as_system(actor) as connection:
            return await service.import_rates(connection, None, content, source=source or file.name, author=actor.label)

    done = _run(work())
    if json:
        _print_json(done)
        return
    _out.print(
        f"{done.read} rates of {len(done.currencies)} currencies from {done.first_on} to {done.last_on}:"
        f" {done.added} new, {done.changed} changed",
        markup=False,
    )


@app.command(name="budgets")
def list_budgets(
    *, organization: Annotated[str, Parameter(name=["--organization", "-o"], help="slug of the organization")] = "default",
    json: Json = False,
) -> None:  # fmt: skip
    """List budgets and what is spent of them in the period that runs."""

    async def work() -> list[BudgetStanding]:
        async with open_database(Settings.from_environment()) as database:
            async with database.as_system() as system:
                organization_id = await store.value(system, "organization_by_slug", organization)
            if organization_id is None:
                raise NotFound(f"there is no organization {organization[:100]!r}; see `nexus org list`")
            async with database.tenant(organization_id, _actor(), readonly=True, snapshot=True) as connection:
                found = await store.many(connection, Budget, "list_budgets", None, None, _MOST, False)
                return await service.standings(connection, organization_id, found, SYSTEM_CLOCK.now(), {})

    found = _run(work())
    if json:
        _print_json(found)
        return
    print_table(
        _out,
        ["name", "scope", "subject", "spent", "amount", "currency", "period ends", "state"],
        [
            [
                item.budget.name, item.budget.scope, item.budget.subject or "each", item.standing.spent, item.budget.amount,
                item.budget.currency, item.period_ends_at.isoformat(timespec="minutes"), item.standing.state,
            ]
            for item in found
        ],
    )  # fmt: skip
