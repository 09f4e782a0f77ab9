"""The sum that made a call's cost, line by line, for whoever wants to see it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import msgspec

from nexus.contracts.prices import CompiledPrice
from nexus.contracts.units import contains

_PLACES = 15


class CostLine(msgspec.Struct, frozen=True):
    """So many of a unit at a price; `cost` is exact, or cut after 15 places where it does not end."""

    unit: str
    count: int
    amount: str
    per: int
    cost: str


def cost_lines(price: CompiledPrice, usage: Mapping[str, int], *, is_failure: bool = False) -> list[CostLine]:
    """Return what `price_call` adds up for this usage: each count once, what is contained in another unit taken off.

    Units that were not used have no line. The lines say nothing of units that the price does not cover.
    """
    context = usage.get("input", 0)
    own: list[int] = []
    lines = []
    for rate in price.rates:
        requests = 0 if is_failure and not any(unit != "requests" for unit in usage) else 1
        count = requests if rate.unit == "requests" else usage.get(rate.unit, 0)
        count = max(0, count - sum(own[place] for place in rate.parts))
        own.append(count)
        numerator = next((step for above, step in rate.steps if context > above or not above), None)
        if count and numerator is not None:
            each = Fraction(numerator, price.denominator)
            per = 1_000_000 if _is_token_class(rate.unit) else 1
            lines.append(CostLine(rate.unit, count, _decimal(each * per), per, _decimal(each * count)))
    return lines


def _is_token_class(unit: str) -> bool:
    """Tell whether a unit is a class of model tokens, which are priced by the million."""
    return any(contains(whole, unit) or unit == whole for whole in ("input", "output"))


def _decimal(value: Fraction) -> str:
    scaled = int(value * 10**_PLACES)
    whole, rest = divmod(scaled, 10**_PLACES)
    return f"{whole}.{rest:0{_PLACES}d}".rstrip("0").rstrip(".")
