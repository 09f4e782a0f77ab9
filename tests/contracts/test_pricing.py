"""What a call costs: every rule of the price book, on books of a few lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.contracts.prices import (
    CompiledPrice,
    Component,
    Document,
    ModelDocument,
    PriceBook,
    PriceDocument,
    ProviderDocument,
    compile_price,
)
from nexus.contracts.pricing import MAX_NANOS, Priced, price_call, usage_faults
from nexus.contracts.units import DIMENSIONS, contains
from nexus.kit.money import NANOS

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
MEGA = 1_000_000
ONE, OTHER = UUID(int=1), UUID(int=2)


def price(number: int = 1, /, *parts: Component, **more: Any) -> PriceDocument:
    """A price of the model `m` of the provider `p`."""
    return PriceDocument(UUID(int=number), "p", list(parts), **({"model": "m"} | more))


def book(*documents: Document) -> PriceBook:
    return PriceBook([ProviderDocument("p"), ModelDocument("p", "m", {"equals": "m"}), *documents])


def ask(prices: PriceBook, usage: dict[str, int], at: datetime = AT, **more: Any) -> Priced:
    question: dict[str, Any] = {
        "organization_id": None, "tier": "standard", "provider": "p", "model": "m", "endpoint": None, "method": None,
        "region": None, "at": at, "usage": usage,
    }  # fmt: skip
    return price_call(prices, **(question | more))


def dollars(amount: str, unit: str = "input", above: int = 0) -> Component:
    """So much for a million of a unit: as many thousand nanos for one."""
    return Component(unit, amount, MEGA, above)


def test_what_is_contained_is_paid_once_and_by_its_own_price() -> None:
    prices = book(
        price(1, dollars("10"), dollars("1", "cached_input"), dollars("20", "cache_write"), dollars("30", "output"))
    )

    priced = ask(prices, {"input": 1000, "cached_input": 300, "cache_write": 200, "output": 100, "reasoning": 40})

    assert priced.cost_nanos == 500 * 10_000 + 300 * 1_000 + 200 * 20_000 + 100 * 30_000
    assert (priced.price_id, priced.currency, priced.source) == (UUID(int=1), "USD", "book")


def test_what_is_contained_in_two_is_taken_off_once() -> None:
    parts = (
        dollars("10"),
        dollars("1", "cached_input"),
        dollars("40", "audio_input"),
        dollars("4", "cached_audio_input"),
    )

    priced = ask(
        book(price(1, *parts)), {"input": 100, "cached_input": 30, "audio_input": 50, "cached_audio_input": 20}
    )

    # 20 cached audio, 30 other audio, 10 cached text, 40 the rest
    assert priced.cost_nanos == 20 * 4_000 + 30 * 40_000 + 10 * 1_000 + 40 * 10_000


def test_a_longer_context_changes_the_price_of_all_tokens_but_not_at_its_edge() -> None:
    prices = book(price(1, dollars("1"), dollars("2", above=200), dollars("3", above=300), dollars("5", "output")))

    costs = [ask(prices, {"input": count}).cost_nanos for count in (200, 201, 300, 301)]

    assert costs == [200 * 1000, 201 * 2000, 300 * 2000, 301 * 3000]
    assert ask(prices, {"input": 201, "output": 1}).cost_nanos == 201 * 2000 + 5000


def test_a_price_that_begins_above_a_context_says_nothing_below_it() -> None:
    prices = book(price(1, dollars("2", above=200)))

    assert ask(prices, {"input": 200}).reason == "no_price_for_unit:input"
    assert ask(prices, {"input": 201}).cost_nanos == 201 * 2000


def test_the_price_in_force_at_the_call_s_time_counts_to_the_microsecond() -> None:
    change = AT + timedelta(days=1)
    prices = book(
        price(1, dollars("1"), valid_from=AT, valid_to=change),
        price(2, dollars("2"), valid_from=change, valid_to=change + timedelta(days=1)),
    )
    tick = timedelta(microseconds=1)

    ids = [
        ask(prices, {"input": 1}, at).price_id for at in (AT, change - tick, change, change + timedelta(days=1) - tick)
    ]

    assert ids == [UUID(int=1), UUID(int=1), UUID(int=2), UUID(int=2)]
    for outside in (AT - tick, change + timedelta(days=1)):
        assert ask(prices, {"input": 1}, outside) == Priced(None, "", "none", None, "no_price_for_time")


@pytest.mark.parametrize(
    ("begin", "end", "inside", "outside"),
    [
        ("06:00:00", "10:00:00", ["06:00", "09:59"], ["05:59", "10:00"]),
        ("22:00:00", "02:00:00", ["22:00", "23:59", "00:00", "01:59"], ["02:00", "21:59"]),
    ],
)
def test_some_hours_of_the_day_have_a_price_of_their_own(
    begin: str, end: str, inside: list[str], outside: list[str]
) -> None:
    prices = book(price(1, dollars("1")), price(2, dollars("2"), daily_from=begin, daily_to=end, position=1))

    def number_at(clock: str) -> int:
        # In another zone than UTC, as the hours are UTC's.
        at = datetime.fromisoformat(f"2026-06-01T{clock}:00+00:00").astimezone(
            datetime.fromisoformat("2026-06-01T00:00:00+05:45").tzinfo
        )
        found = ask(prices, {"input": 1}, at).price_id
        assert found is not None
        return found.int

    assert [number_at(clock) for clock in inside] == [2] * len(inside)
    assert [number_at(clock) for clock in outside] == [1] * len(outside)


def test_own_price_then_region_then_tier_then_currency() -> None:
    prices = book(
        price(1, dollars("1")),
        price(2, dollars("1"), currency="EUR"),
        price(3, dollars("1"), tier="enterprise"),
        price(4, dollars("1"), region="eu"),
        price(5, dollars("1"), organization_id=ONE),
    )

    def number(**more: Any) -> int | None:
        found = ask(prices, {"input": 1}, **more).price_id
        return None if found is None else found.int

    assert number() == 1
    assert number(currency="EUR") == 2
    assert number(currency="GBP") == 1
    assert number(tier="enterprise", currency="EUR") == 3
    assert number(tier="academic") == 1
    assert number(region="eu", tier="enterprise") == 4
    assert number(region="us") == 1
    assert number(organization_id=ONE, region="eu", tier="enterprise") == 5
    assert number(organization_id=OTHER) == 1


def test_a_service_variant_changes_what_it_names_and_the_first_that_names_it_decides() -> None:
    batch = {"processing": "batch"}
    prices = book(
        price(1, dollars("10"), dollars("20", "output")),
        price(2, dollars("5"), variant=batch, position=1, valid_from=AT),
        price(3, dollars("4"), dollars("7", "output"), variant=batch, position=2),
        price(4, dollars("99"), variant={"processing": "batch", "speed": "fast"}, position=0),
    )
    usage = {"input": 1, "output": 1}

    assert ask(prices, usage).cost_nanos == 30_000
    assert ask(prices, usage, variant={"processing": "Batch"}).cost_nanos == 30_000
    assert ask(prices, usage, variant=batch).cost_nanos == 12_000
    assert ask(prices, usage, AT - timedelta(days=1), variant=batch).cost_nanos == 11_000
    assert ask(prices, usage, variant={**batch, "speed": "fast"}).cost_nanos == 99_000 + 7_000


def test_requests_and_other_units_have_prices() -> None:
    prices = book(price(1, dollars("1"), Component("requests", "5", 1000), Component("web_searches", "10", 1000)))

    assert ask(prices, {"input": 1, "requests": 1, "web_searches": 3}).cost_nanos == 1000 + 5_000_000 + 30_000_000
    # An amount too small for the tenth place of a decimal still counts.
    assert (
        ask(book(price(1, Component("characters", "0.000001", MEGA))), {"characters": 1_500_000_000}).cost_nanos
        == 1_500_000
    )


def test_an_endpoint_s_price_is_asked_where_no_model_has_one_and_its_own_method_s_first() -> None:
    prices = book(
        price(1, Component("requests", "0.01", 1), model=None, endpoint="/sms"),
        price(
            2, Component("requests", "0.02", 1), Component("input", "1", 1), model=None, endpoint="/sms", method="POST"
        ),
    )

    def asked(**more: Any) -> Priced:
        return ask(prices, {"requests": 1}, **({"model": None, "endpoint": "/sms"} | more))

    assert asked(method="GET").cost_nanos == asked().cost_nanos == 10_000_000
    assert asked(method="post").cost_nanos == asked(model="nothing", method="POST").cost_nanos == 20_000_000
    assert (
        ask(prices, {"requests": 1, "input": 2}, model=None, endpoint="/sms", method="POST").cost_nanos == 2_020_000_000
    )
    assert asked(endpoint="/fax").reason == "no_price_for_endpoint"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"provider": "q"}, "unknown_provider"),
        ({"model": "n"}, "unknown_model"),
        ({"model": None}, "no_model_or_endpoint"),
        ({"usage": {"input": 1, "pages": 1}}, "no_price_for_unit:pages"),
        ({"usage": {"input": 1, "cached_input": 2}}, "inconsistent_usage"),
        ({"usage": {"requests": 1}}, "no_usage"),
        ({"usage": {"input": 10**15}}, "amount_too_large"),
    ],
)
def test_a_cost_that_cannot_be_told_is_none_with_the_reason(more: dict[str, Any], reason: str) -> None:
    parts = (dollars("10000"), dollars("1", "cached_input"))

    priced = ask(book(price(1, *parts)), **({"usage": {"input": 1}} | more))

    assert (priced.cost_nanos, priced.price_id, priced.source, priced.reason) == (None, None, "none", reason)


def test_a_model_without_a_price_is_not_free() -> None:
    assert ask(book(), {"input": 1}).reason == "no_price_for_model"


def test_a_failed_call_that_used_nothing_costs_nothing() -> None:
    prices = book(price(1, dollars("1"), Component("requests", "1", 1)))

    assert ask(prices, {"requests": 1}, is_failure=True).cost_nanos == 0
    assert ask(prices, {"requests": 1}).cost_nanos == NANOS
    assert ask(prices, {"requests": 1, "input": 1}, is_failure=True).cost_nanos == NANOS + 1000


@pytest.mark.parametrize(
    ("amount", "nanos"), [("0.5", 0), ("1.5", 2), ("2.5", 2), ("0.50000000001", 1), ("1.49999999999", 1)]
)
def test_half_a_nano_goes_to_the_even_side(amount: str, nanos: int) -> None:
    assert ask(book(price(1, Component("input", amount, NANOS))), {"input": 1}).cost_nanos == nanos


def test_rounding_happens_once_for_the_whole_call() -> None:
    parts = (Component("input", "0.4", NANOS), Component("output", "0.4", NANOS), Component("images", "0.4", NANOS))

    assert ask(book(price(1, *parts)), {"input": 1, "output": 1, "images": 1}).cost_nanos == 1


def test_a_proxy_s_model_names_its_provider() -> None:
    assert ask(book(price(1, dollars("1"))), {"input": 1}, provider="litellm", model="p/m").cost_nanos == 1000
    assert ask(book(), {"input": 1}, provider="litellm", model="m").reason == "unknown_provider"


def test_a_provider_that_sells_another_s_models_has_its_prices_unless_it_has_its_own() -> None:
    shop = ProviderDocument("shop", fallback=["p"])
    own = ModelDocument("shop", "m2", {"equals": "m2"})
    prices = book(shop, own, price(1, dollars("1")), PriceDocument(UUID(int=2), "shop", [dollars("2")], model="m2"))

    assert ask(prices, {"input": 1}, provider="shop").price_id == UUID(int=1)
    assert ask(prices, {"input": 1}, provider="shop", model="m2").price_id == UUID(int=2)


def test_a_book_without_documents_prices_nothing() -> None:
    assert ask(PriceBook.from_documents([]), {"input": 1}).reason == "unknown_provider"


# Units of which none contains another and no two can overlap: their costs just add up.
_APART = ("output", "images", "pages", "web_searches", "video_seconds", "input")
amounts = st.decimals(min_value=0, max_value=1000, places=12)


@given(
    rates=st.dictionaries(
        st.sampled_from(_APART), st.tuples(amounts, st.sampled_from([1, 7, 1000, 3600, MEGA])), min_size=1
    ),
    data=st.data(),
)
def test_a_cost_is_the_exact_sum_rounded_once(rates: dict[str, tuple[Decimal, int]], data: st.DataObject) -> None:
    usage = {unit: data.draw(st.integers(1, 10**7), label=unit) for unit in rates}
    exact = sum((Fraction(amount) / per * usage[unit] for unit, (amount, per) in rates.items()), Fraction(0)) * NANOS

    prices = book(price(1, *(Component(unit, format(amount, "f"), per) for unit, (amount, per) in rates.items())))
    priced = ask(prices, usage)

    if exact > MAX_NANOS:
        assert priced.reason == "amount_too_large"
        return
    assert priced.cost_nanos is not None
    assert abs(priced.cost_nanos - exact) <= Fraction(1, 2)
    if abs(priced.cost_nanos - exact) == Fraction(1, 2):
        assert priced.cost_nanos % 2 == 0


@given(
    text=st.integers(0, 10**6), cached=st.integers(0, 10**6), written=st.integers(0, 10**6),
    output=st.integers(0, 10**6), reasoning=st.integers(0, 10**6), amount=amounts,
)  # fmt: skip
def test_with_one_amount_for_all_tokens_classes_do_not_matter(
    text: int, cached: int, written: int, output: int, reasoning: int, amount: Decimal
) -> None:
    """However tokens are classed, each is paid once."""
    units = ("input", "cached_input", "cache_write", "output", "reasoning")
    prices = book(price(1, *(Component(unit, format(amount, "f"), MEGA) for unit in units)))
    plain = book(price(1, *(Component(unit, format(amount, "f"), MEGA) for unit in ("input", "output"))))
    whole = {"input": text + cached + written, "output": output + reasoning}
    classed = {**whole, "cached_input": cached, "cache_write": written, "reasoning": reasoning}

    assert ask(prices, classed).cost_nanos == ask(plain, whole).cost_nanos


_UNITS = (
    "input",
    "cached_input",
    "cached_audio_input",
    "audio_input",
    "output",
    "reasoning",
    "web_searches",
    "requests",
)


def _by_every_rate(price: CompiledPrice, usage: dict[str, int]) -> int | None:
    """The whole amount by a walk through all rates of a price, in its denominator; None where it cannot be told."""
    own: list[int] = []
    total = 0
    for rate in price.rates:
        count = 1 if rate.unit == "requests" else usage.get(rate.unit, 0)
        own.append(count - sum(own[place] for place in rate.parts))
        total += own[-1] * rate.steps[0][1]
    if min(own) < 0 or any(unit != "requests" and not price.covers(unit) for unit in usage):
        return None
    return total


@given(
    priced=st.sets(st.sampled_from(_UNITS), min_size=1),
    usages=st.lists(st.dictionaries(st.sampled_from(_UNITS), st.integers(0, 9)), min_size=1, max_size=6),
)
def test_only_the_rates_of_what_a_call_counts_are_asked_and_all_that_matter(
    priced: set[str], usages: list[dict[str, int]]
) -> None:
    document = price(1, *(Component(unit, str(number), 1) for number, unit in enumerate(sorted(priced), 1)))
    compiled = compile_price(document, document.components)
    prices = book(document)

    for usage in usages:
        told = ask(prices, usage)
        total = _by_every_rate(compiled, usage)
        if told.reason == "no_usage":
            assert not total and not usage.keys() - {"requests"}
        else:
            assert told.cost_nanos == (None if total is None else total * NANOS)


def test_counts_that_cannot_be_are_named_with_the_remedy() -> None:
    faults = usage_faults({"input": 10, "cached_input": 11, "reasoning": 3, "audio_input": 4})

    assert {fault.field for fault in faults} == {"tokens.cached_input", "tokens.reasoning"}
    assert all("count them into" in fault.message for fault in faults)
    assert usage_faults({"input": 10, "cached_input": 10, "output": 3, "reasoning": 3}) == []


def test_containment_is_a_strict_order() -> None:
    for whole in DIMENSIONS:
        assert not contains(whole, whole)
        for part in DIMENSIONS:
            assert not (contains(whole, part) and contains(part, whole))
