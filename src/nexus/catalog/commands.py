"""`nexus catalog`: import price lists, look at prices and conflicts, price a call."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import cyclopts
import msgspec
from cyclopts import Parameter

from nexus.catalog import service, store
from nexus.catalog.types import ImportSummary, PriceComponent
from nexus.contracts.pricing import Priced
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.kit.money import format_nanos
from nexus.platform.db import Actor, Connection, open_database
from nexus.platform.settings import Settings
from nexus.platform.terminal import open_console, print_table

app = cyclopts.App(name="catalog", help="Providers, models, prices: list, import, price a call.")
_out = open_console()
T = TypeVar("T")
Json = Annotated[bool, Parameter(name="--json", negative="", help="print JSON")]
_NO_ACTOR = Actor(label=f"operator {getpass.getuser()}")


@asynccontextmanager
async def _catalog() -> AsyncIterator[Connection]:
    async with open_database(Settings.from_environment()) as database, database.as_system(_NO_ACTOR) as connection:
        yield connection


def _run(work: Callable[[Connection], Awaitable[T]]) -> T:
    async def inside() -> T:
        async with _catalog() as connection:
            return await work(connection)

    return asyncio.run(inside())


def _show(items: list[Any], columns: list[str], as_json: bool) -> None:
    if as_json:
        _out.print(msgspec.json.format(msgspec.json.encode(items), indent=2).decode(), markup=False)
        return
    print_table(_out, columns, [[_cell(getattr(item, column)) for column in columns] for item in items])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list) and value and isinstance(value[0], PriceComponent):
        return ", ".join(
            f"{item.unit}{f' above {item.context_above}' if item.context_above else ''} {item.amount}/{item.per}"
            for item in value
        )
    return str(value)


@app.command(name="import")
def import_(
    source: Literal["genai-prices", "litellm", "models.dev"],
    file: Path | None = None,
    *,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Import a price list. The same again changes nothing; what another source said is never overwritten, only listed."""
    book = service.read_price_list(source, file)

    async def work(connection: Connection) -> ImportSummary:
        return await service.import_price_list(
            connection, book, at=SYSTEM_CLOCK.now(), actor_label=_NO_ACTOR.label, dry_run=dry_run
        )

    done = _run(work)
    if json:
        _out.print(msgspec.json.format(msgspec.json.encode(done), indent=2).decode(), markup=False)
        return
    _out.print(f"{'would do' if dry_run else 'done'}: {book.source}, {len(book.prices)} prices", markup=False)
    for name in (
        "providers_added", "providers_changed", "models_added", "models_changed", "prices_added", "prices_changed",
        "prices_unchanged", "conflicts",
    ):  # fmt: skip
        _out.print(f"  {name.replace('_', ' '):18} {getattr(done, name)}")
    for line in done.skipped[:20]:
        _out.print(f"  skipped: {line}", markup=False)
    if len(done.skipped) > 20:
        _out.print(f"  … and {len(done.skipped) - 20} more skipped (--json lists them)")
    if done.conflicts:
        _out.print("  `nexus catalog conflicts` lists the conflicts")


@app.command
def conflicts(*, provider: str | None = None, resolved: bool = False, json: Json = False) -> None:
    """List where sources say different things."""
    found = _run(lambda connection: store.list_conflicts(connection, None, resolved, provider, 10_000))
    _show(found, ["id", "provider", "model", "in_force_source", "in_force", "source", "proposed"], json)


@app.command
def resolve(conflict_id: UUID, decision: Literal["keep", "take"]) -> None:
    """Decide a conflict: keep the price in force, or take the other source's from now on."""
    _run(
        lambda connection: service.resolve_conflict(
            connection, conflict_id, take=decision == "take", at=SYSTEM_CLOCK.now(), actor_label=_NO_ACTOR.label
        )
    )
    _out.print("resolved")


@app.command
def providers(*, json: Json = False) -> None:
    """List providers."""
    found = _run(lambda connection: store.list_providers(connection, None, None, None, 10_000))
    _show(found, ["slug", "name", "category", "status", "website_url"], json)


@app.command
def models(*, provider: str | None = None, search: str | None = None, json: Json = False) -> None:
    """List models."""
    found = _run(lambda connection: store.list_models(connection, None, provider, search, 100_000))
    _show(found, ["provider", "slug", "name", "context_window", "source"], json)


@app.command
def prices(*, provider: str | None = None, model: str | None = None, json: Json = False) -> None:
    """List prices with their components and times."""
    found = _run(lambda connection: store.list_prices(connection, provider=provider, model=model, limit=100_000))
    _show(found, ["provider", "model", "valid_from", "valid_to", "components", "source"], json)


@app.command
def price(
    provider: str,
    model: str,
    *,
    input: int = 0,  # noqa: A002  # the name of the option
    output: int = 0,
    unit: dict[str, int] | None = None,
) -> None:
    """Show what a call would cost now, as in `nexus catalog price openai gpt-4o --input 1000 --unit.cached_input 400`."""
    usage = {name: count for name, count in {"input": input, "output": output, **(unit or {})}.items() if count}

    async def work(connection: Connection) -> Priced:
        return await service.estimate(
            connection, organization_id=None, tier="standard", provider=provider, model=model, endpoint=None,
            method=None, region=None, at=SYSTEM_CLOCK.now(), usage=usage | {"requests": 1}, variant={},
        )  # fmt: skip

    priced = _run(work)
    if priced.cost_nanos is None:
        _out.print(f"unpriced: {priced.reason}", markup=False)
    else:
        _out.print(f"{format_nanos(priced.cost_nanos)} {priced.currency} (price {priced.price_id})", markup=False)
