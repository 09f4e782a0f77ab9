"""Reads `genai-prices` (github.com/pydantic/genai-prices, MIT): its data files of both versions, and the package's own copy."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nexus.catalog.importers.files import amount_of, read_json
from nexus.catalog.importers.types import (
    ImportedBook,
    ImportedComponent,
    ImportedModel,
    ImportedPrice,
    ImportedProvider,
    UnreadablePriceList,
)
from nexus.contracts.model_match import InvalidRule, compile_rule
from nexus.contracts.units import PRICE_KEYS
from nexus.kit.errors import FieldFault

SOURCE = "genai-prices"


def read(path: Path) -> ImportedBook:
    """Read a data file (v1 or v2, plain or compressed)."""
    document, digest = read_json(path)
    if not isinstance(document, list) or not all(isinstance(item, dict) and "models" in item for item in document):
        message = "it is no list of providers with models, as genai-prices' data.json is"
        raise UnreadablePriceList(f"{path}: {message}", faults=[FieldFault("file", message)])
    return build(document, digest)


def read_bundled() -> ImportedBook:
    """Read the copy the installed package brings: no network, no file of ours."""
    from genai_prices.data import providers

    return build([_plain(item) for item in providers], f"genai-prices {version('genai-prices')}")


def _plain(value: Any) -> Any:
    """Turn the package's objects back into what its data file holds."""
    kind = type(value).__name__
    if kind.startswith("Clause"):
        ((name, inner),) = ((item.name, getattr(value, item.name)) for item in dataclasses.fields(value))
        return {name.rstrip("_"): _plain(inner)}
    if kind == "ModelPrice":
        return {key: _plain(item) for key, item in vars(value).items() if item is not None and not key.startswith("_")}
    if kind in {"UsageExtractor", "ArrayMatch", "UsageExtractorMapping"}:
        return None
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def build(document: Sequence[Mapping[str, Any]], digest: str) -> ImportedBook:
    """Turn the list of providers into a book."""
    book = ImportedBook(SOURCE, digest)
    for raw in document:
        slug = str(raw.get("id", "")).lower()
        urls = raw.get("pricing_urls") or []
        book.providers.append(
            ImportedProvider(
                slug, str(raw.get("name") or slug), _rule(raw.get("provider_match"), book, slug),
                tuple(raw.get("fallback_model_providers") or ()), str(urls[0]) if urls else None,
            )
        )  # fmt: skip
        for position, model in enumerate(raw.get("models") or ()):
            _read_model(book, slug, position, model)
    return book


def _rule(raw: Any, book: ImportedBook, what: str) -> dict[str, Any] | None:
    if not raw:
        return None
    try:
        compile_rule(raw)
    except (InvalidRule, TypeError, AttributeError) as error:
        book.skipped.append(f"{what}: {error}")
        return None
    return dict(raw)


def _read_model(book: ImportedBook, provider: str, position: int, raw: Mapping[str, Any]) -> None:
    slug = str(raw.get("id", ""))
    rule = _rule(raw.get("match"), book, f"{provider}/{slug}") or {"equals": slug}
    book.models.append(
        ImportedModel(
            provider, slug, rule, str(raw.get("name") or slug), position, raw.get("context_window"),
            is_deprecated=bool(raw.get("deprecated")),
        )
    )  # fmt: skip
    prices = raw.get("prices") or {}
    entries = prices if isinstance(prices, list) else [{"prices": prices}]
    if entries:
        book.prices += _timeline(book, provider, slug, entries)
    for number, variant in enumerate(raw.get("price_variants") or ()):
        when = tuple(sorted((str(key), str(value)) for key, value in variant["when"].items()))
        components = _components(book, f"{provider}/{slug}", variant["prices"])
        start, daily = _constraint(variant)
        if components:
            book.prices.append(ImportedPrice(provider, slug, components, when, number, daily, start))


def _constraint(entry: Mapping[str, Any]) -> tuple[datetime | None, tuple[time, time] | None]:
    constraint = entry.get("constraint") or {}
    if "start_date" in constraint:
        start = constraint["start_date"]
        day = start if isinstance(start, date) else date.fromisoformat(str(start))
        return datetime(day.year, day.month, day.day, tzinfo=UTC), None
    if "start_time" in constraint:
        return None, (_time(constraint["start_time"]), _time(constraint["end_time"]))
    return None, None


def _time(value: Any) -> time:
    found = value if isinstance(value, time) else time.fromisoformat(str(value).replace("Z", "+00:00"))
    if found.tzinfo is not None:
        found = datetime.combine(date(1970, 1, 2), found).astimezone(UTC).time()
    return found


def _timeline(
    book: ImportedBook, provider: str, slug: str, entries: Sequence[Mapping[str, Any]]
) -> Iterator[ImportedPrice]:
    """Cut conditional prices into periods. In each the last entry whose condition holds counts, or else the first."""
    read = [(*_constraint(entry), _components(book, f"{provider}/{slug}", entry["prices"])) for entry in entries]
    starts = sorted({start for start, _, _ in read if start is not None})
    edges: list[datetime | None] = [None, *starts]
    for number, start in enumerate(edges):
        end = edges[number + 1] if number + 1 < len(edges) else None
        begun = [
            (place, item)
            for place, item in enumerate(read)
            if item[0] is None or (start is not None and item[0] <= start)
        ]
        whole_day = [(place, item) for place, item in begun if item[1] is None]
        base_place, base = whole_day[-1] if whole_day else (0, read[0])
        if base[2]:
            yield ImportedPrice(provider, slug, base[2], valid_from=start, valid_to=end)
        for place, item in begun:
            if item[1] is not None and (place > base_place or not whole_day) and item[2]:
                yield ImportedPrice(
                    provider, slug, item[2], position=place, daily=item[1], valid_from=start, valid_to=end
                )


def _components(book: ImportedBook, what: str, prices: Mapping[str, Any]) -> tuple[ImportedComponent, ...]:
    found: list[ImportedComponent] = []
    for key, value in prices.items():
        if value is None:
            continue
        known = PRICE_KEYS.get(key)
        if known is None:
            book.skipped.append(f"{what}: nobody knows the unit of {key}")
            continue
        unit, per = known
        steps = [(0, value)]
        if isinstance(value, Mapping):
            steps = [(0, value["base"]), *((int(tier["start"]), tier["price"]) for tier in value.get("tiers") or ())]
        for above, raw in steps:
            amount = amount_of(raw if not isinstance(raw, float) else Decimal(str(raw)))
            if amount is None:
                book.skipped.append(f"{what}: {key} is no amount: {str(raw)[:40]}")
            else:
                found.append(ImportedComponent(unit, above, amount, per))
    return tuple(sorted(found))
