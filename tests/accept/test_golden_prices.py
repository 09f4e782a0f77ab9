"""Calls whose cost somebody else computed: ours is the same, or says why it is not.

Reads `genai_prices_usage_golden*.jsonl*` and, from the folder it lies in, the price list `genai_prices_data*.json*` of
the same date; looked for in the folder that NEXUS_ACCEPT_DATA names, and below it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage, types
from genai_prices.data_snapshot import DataSnapshot, find_provider_by_id

from nexus.catalog import service
from nexus.catalog.importers.files import read_bytes, read_json
from nexus.contracts.prices import PriceBook
from nexus.contracts.pricing import Priced, price_call
from nexus.contracts.units import USAGE_KEYS
from nexus.kit.money import format_nanos, round_nanos
from nexus.platform.db import Database

FOLDER = os.environ.get("NEXUS_ACCEPT_DATA", "")
GOLDEN = sorted(Path(FOLDER).rglob("genai_prices_usage_golden*.jsonl*")) if FOLDER else []
# The list's day, at the hour that tells peak from off-peak prices as the pairs do. The price in force depends on both.
AT = datetime.fromisoformat(os.environ.get("NEXUS_ACCEPT_PRICES_AT", "2026-08-21T12:00:00+00:00"))

pytestmark = pytest.mark.skipif(not FOLDER, reason="NEXUS_ACCEPT_DATA names no folder")


@dataclass(frozen=True)
class Pair:
    """One usage, priced by one provider's prices."""

    row: int
    provider: str
    model: str
    usage: Mapping[str, int]
    cost: Decimal


def pairs_of(path: Path) -> Iterator[Pair]:
    for number, line in enumerate(read_bytes(path).splitlines()):
        row = json.loads(line)
        for extracted in row.get("extracted") or ():
            for priced in extracted["extractors"]:
                if "input_price" in priced:
                    parts = Decimal(priced["input_price"]) + Decimal(priced["output_price"])
                    total = Decimal(priced["total_price"]) if "total_price" in priced else parts
                    yield Pair(number, priced["provider_id"], row["model"], extracted["usage"], total)


def price(book: PriceBook, pair: Pair) -> Priced:
    usage = {USAGE_KEYS[key]: count for key, count in pair.usage.items()}
    return price_call(
        book, organization_id=None, tier="standard", provider=pair.provider, model=pair.model, endpoint=None,
        method=None, region=None, at=AT, usage={**usage, "requests": 1},
    )  # fmt: skip


def why_not(pair: Pair, priced: Priced, library: DataSnapshot) -> str | None:
    """Return the reason why a cost is another, proved by the price list of that date as its own library reads it."""
    try:
        provider, model = library.find_provider_model(pair.model, None, pair.provider, None)
    except LookupError:
        is_known = find_provider_by_id(library.providers, pair.provider) is not None
        wanted = "unknown_model" if is_known else "unknown_provider"
        return f"{wanted}: not in the price list of that date" if priced.reason == wanted else None
    of_the_list = model.calc_price(Usage(**pair.usage), provider, genai_request_timestamp=AT).total_price
    prices = {key for key, value in vars(model.get_prices(AT)).items() if value is not None}
    if priced.cost_nanos is not None:
        is_the_lists = priced.cost_nanos == round_nanos(of_the_list) != round_nanos(pair.cost)
        return "the price list of that date gives another cost, and ours is that" if is_the_lists else None
    reason = priced.reason or ""
    if reason == "no_usage" and not pair.usage:
        return "no_usage: nothing was counted, so nothing can be priced"
    if reason == "no_price_for_model" and not prices:
        return "no_price_for_model: the list has none, and none is not free"
    if reason.startswith("no_price_for_unit:"):
        unit = reason.partition(":")[2]
        (key,) = [key for key, name in USAGE_KEYS.items() if name == unit]
        if pair.usage.get(key) and f"{key}_kcount" not in prices and key.replace("_tokens", "_mtok") not in prices:
            return f"{reason}: the list of that date does not say what it costs"
    return None


def as_library_reads(document: list[Any]) -> DataSnapshot:
    return DataSnapshot(providers=types._providers_from_raw(document), from_auto_update=False)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
async def test_calls_cost_what_others_computed_or_the_reason_is_listed(database: Database, path: Path) -> None:
    (price_list,) = sorted(path.parent.glob("genai_prices_data*.json*"))
    library = as_library_reads(read_json(price_list)[0])
    pairs = list(pairs_of(path))
    imported = service.read_price_list("genai-prices", price_list)
    async with database.as_system() as connection:
        await service.import_price_list(connection, imported, at=AT, actor_label="test")
        book = await service.price_book(connection)

    exact: Counter[int] = Counter()
    listed: Counter[str] = Counter()
    unexplained: list[str] = []
    for pair in pairs:
        priced = price(book, pair)
        if priced.cost_nanos == round_nanos(pair.cost):
            exact[pair.row] += 1
            continue
        reason = why_not(pair, priced, library)
        if reason is not None:
            listed[reason] += 1
            continue
        ours = priced.reason if priced.cost_nanos is None else format_nanos(priced.cost_nanos)
        unexplained.append(f"{pair.provider} {pair.model} {dict(pair.usage)}: {ours}, not {pair.cost}")

    rows = len({pair.row for pair in pairs})
    print(f"{path.name}: {rows} rows, {len(pairs)} costs, {exact.total()} the same to the nano")
    for reason, count in listed.most_common():
        print(f"  {count:>5}  {reason}")
    assert not unexplained, "\n".join(unexplained)
    assert pairs, "the file holds no priced pair"
    assert exact.total() >= 0.95 * len(pairs), "so many reasons are no reasons"


def test_there_are_golden_pairs() -> None:
    assert GOLDEN, f"{FOLDER} holds no genai_prices_usage_golden*.jsonl*"
    assert AT.tzinfo is not None and datetime.now(UTC) >= AT
