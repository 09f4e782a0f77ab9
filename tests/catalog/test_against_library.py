"""Our arithmetic against `genai-prices` itself: same book, any usage, any time, the same cost or a listed reason."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from uuid import uuid4

from genai_prices import Usage
from genai_prices.data import providers as library_providers
from hypothesis import given
from hypothesis import strategies as st

from nexus.catalog.importers import ImportedBook, genai_prices
from nexus.contracts.prices import Component, Document, ModelDocument, PriceBook, PriceDocument, ProviderDocument
from nexus.contracts.pricing import price_call
from nexus.contracts.units import USAGE_KEYS
from nexus.kit.money import round_nanos

# The library bills at least ten seconds of these; the price book has no such rule.
MINIMUM_SECONDS = {"whisper-large-v3", "whisper-large-v3-turbo"}


def documents_of(book: ImportedBook) -> Iterator[Document]:
    """What the snapshot of a catalog with this book would hold."""
    for p in book.providers:
        yield ProviderDocument(p.slug, [], list(p.fallback), p.match)
    for m in book.models:
        yield ModelDocument(m.provider, m.slug, m.match, None, m.position)
    for price in book.prices:
        start, end = (f"{moment}" for moment in price.daily) if price.daily else (None, None)
        yield PriceDocument(
            uuid4(), price.provider, [Component(c.unit, str(c.amount), c.per, c.above) for c in price.components],
            model=price.model, variant=dict(price.variant), position=price.position, daily_from=start, daily_to=end,
            valid_from=price.valid_from, valid_to=price.valid_to, source=book.source,
        )  # fmt: skip


@cache
def our_book() -> PriceBook:
    return PriceBook(documents_of(genai_prices.read_bundled()))


# A model whose own id its rule (or an earlier model's) does not give back cannot be asked for by name.
PAIRS = [(p, m) for p in library_providers for m in p.models if p.find_model(m.id) is m and m.id not in MINIMUM_SECONDS]
CONTEXTS = [
    {}, {"processing": "batch"}, {"service_tier": "flex"}, {"service_tier": "priority"}, {"speed": "fast"}, {"route": "global"},
]  # fmt: skip


@given(
    pair=st.sampled_from(PAIRS),
    at=st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)),
    context=st.sampled_from(CONTEXTS),
    text=st.integers(0, 2_000_000),
    cached=st.integers(0, 300_000),
    written=st.integers(0, 300_000),
    output=st.integers(0, 300_000),
    reasoning=st.integers(0, 300_000),
)
def test_cost_equals_the_library_s(
    pair: tuple[object, object], at: datetime, context: dict[str, str], text: int, cached: int, written: int, output: int,
    reasoning: int,
) -> None:  # fmt: skip
    provider, model = pair
    instant = at.replace(tzinfo=UTC)
    counts = {
        "input_tokens": text + cached + written,
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "output_tokens": output + reasoning,
        "output_reasoning_tokens": reasoning,
    }
    counts = {key: count for key, count in counts.items() if count}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = model.calc_price(  # type: ignore[attr-defined]
            Usage(**counts), provider, genai_request_timestamp=instant, price_context=context or None
        )

    book = our_book()
    ours = price_call(
        book, organization_id=None, tier="standard", provider=provider.id, model=model.id, endpoint=None,  # type: ignore[attr-defined]
        method=None, region=None, at=instant, usage={USAGE_KEYS[key]: count for key, count in counts.items()} | {"requests": 1},
        variant=context,
    )  # fmt: skip

    if ours.cost_nanos is None:
        reason = ours.reason or ""
        allowed = {"no_usage", "no_price_for_model"}
        assert reason in allowed or reason.startswith("no_price_for_unit:")
    else:
        assert ours.cost_nanos == round_nanos(Decimal(theirs.total_price))


def test_every_model_of_the_library_is_found_under_its_own_name() -> None:
    book = our_book()

    missing = [(p.id, m.id) for p, m in PAIRS if getattr(book.find_model(p.id, m.id), "model", None) != m.id]

    assert missing == [] and len(PAIRS) > 1000
