"""What a call costs: exact, rounded once, or a reason why it cannot be told. Pure; used by both planes.

The arithmetic follows `genai-prices` (0.2.3): of each priced unit what is contained in another priced unit is taken off,
each count is paid once, at the rate of the context tier that the input tokens of the call have passed (all of them at that rate).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from nexus.contracts.prices import Candidate, CompiledPrice, Component, PriceBook, Resolution, compile_price
from nexus.contracts.units import DIMENSIONS, contains
from nexus.kit.errors import FieldFault
from nexus.kit.money import NANOS

MAX_NANOS = 2**63 - 1
_NO_VARIANT: Mapping[str, str] = {}
_PARTS: Mapping[str, tuple[str, ...]] = {
    part: tuple(
        whole for whole in ("input", "output", "cached_input", "cache_write", "audio_input") if contains(whole, part)
    )
    for part in DIMENSIONS
}


class Priced(msgspec.Struct, frozen=True):
    """A call's cost in nano-units of the currency, or None and the reason."""

    cost_nanos: int | None
    currency: str
    source: str
    price_id: UUID | None = None
    reason: str | None = None


def _unpriced(reason: str) -> Priced:
    return Priced(None, "", "none", None, reason)


_KNOWN_REASONS = {
    reason: _unpriced(reason)
    for reason in (
        "unknown_provider", "unknown_model", "no_price_for_model", "no_price_for_endpoint", "no_model_or_endpoint",
        "no_price_for_time", "no_usage", "inconsistent_usage", "amount_too_large",
    )
}  # fmt: skip


def price_call(
    book: PriceBook,
    *,
    organization_id: UUID | None,
    tier: str,
    provider: str,
    model: str | None,
    endpoint: str | None,
    method: str | None,
    region: str | None,
    at: datetime,
    usage: Mapping[str, int],
    variant: Mapping[str, str] = _NO_VARIANT,
    currency: str | None = None,
    is_failure: bool = False,
) -> Priced:
    """Price one call by what was in force at its time.

    `usage` counts units by name (`contracts.units`), `requests` among them. A unit that no price pays for makes the
    whole cost unknown: a sum that leaves something out would be a wrong number. A failed call that used nothing costs
    nothing.
    """
    resolution = book.resolve(
        organization_id, tier, provider, model or None, endpoint or None, method, region, currency
    )
    return price_resolved(resolution, at=at, usage=usage, variant=variant, is_failure=is_failure)


def price_resolved(
    resolution: Resolution,
    *,
    at: datetime,
    usage: Mapping[str, int],
    variant: Mapping[str, str] = _NO_VARIANT,
    is_failure: bool = False,
) -> Priced:
    """Price one call, as `price_call` does, whose kind's prices were found in the book before."""
    if resolution.reason:
        return _KNOWN_REASONS[resolution.reason]
    stamp = at.timestamp()
    for candidate in resolution.prices:
        if candidate.is_active(at, stamp):
            break
    else:
        return _KNOWN_REASONS["no_price_for_time"]
    price = candidate.compiled
    if variant and resolution.variants:
        price = _with_variants(resolution, candidate, at, stamp, variant)
    return _cost(price, usage, is_failure)


def _with_variants(
    resolution: Resolution, base: Candidate, at: datetime, stamp: float, variant: Mapping[str, str]
) -> CompiledPrice:
    active = [
        item
        for item in resolution.variants
        if item.is_active(at, stamp) and all(variant.get(key) == value for key, value in item.document.variant.items())
    ]
    if not active:
        return base.compiled
    key = (base.document.id, *(item.document.id for item in active))
    found = resolution.mixed.get(key)
    if found is None:
        # The first variant that names a unit decides its price; units no variant names keep the base's.
        components: dict[str, list[Component]] = {}
        for item in (*active, base):
            named: dict[str, list[Component]] = {}
            for part in item.document.components:
                named.setdefault(part.unit, []).append(part)
            for unit, parts in named.items():
                components.setdefault(unit, parts)
        found = compile_price(base.document, [part for parts in components.values() for part in parts])
        resolution.mixed[key] = found
    return found


def _cost(price: CompiledPrice, usage: Mapping[str, int], is_failure: bool) -> Priced:
    known = price.rates_of(tuple(usage))
    if known.plain:
        total = 0
        for unit, numerator in known.plain:
            if (count := usage[unit]) < 0:
                return _KNOWN_REASONS["inconsistent_usage"]
            total += count * numerator
        return _priced(price, total)
    total = 0
    used = False
    context = usage.get("input", 0)
    own: list[int] = []
    is_used = len(usage) > ("requests" in usage)
    # A failed call that used nothing is not charged for having been made either.
    requests = 0 if is_failure and not is_used else 1
    for rate in known.rates:
        count = requests if rate.unit == "requests" else usage.get(rate.unit, 0)
        for place in rate.parts:
            count -= own[place]
        if count < 0:
            return _KNOWN_REASONS["inconsistent_usage"]
        own.append(count)
        if count:
            used = True
            for above, numerator in rate.steps:
                if context > above or not above:
                    total += count * numerator
                    break
            else:
                # The price begins above a context that this call did not reach.
                return _unpriced(f"no_price_for_unit:{rate.unit}")
    if known.uncovered is not None:
        return _unpriced(f"no_price_for_unit:{known.uncovered}")
    if not used and not is_failure and not is_used:
        return _KNOWN_REASONS["no_usage"]
    return _priced(price, total)


def _priced(price: CompiledPrice, total: int) -> Priced:
    """Round a sum of numerators, half to even."""
    nanos, rest = divmod(total * NANOS, price.denominator)
    twice = 2 * rest
    if twice > price.denominator or (twice == price.denominator and nanos & 1):
        nanos += 1
    if nanos > MAX_NANOS:
        return _KNOWN_REASONS["amount_too_large"]
    return Priced(nanos, price.currency, "book", price.id, None)


def cost_of(price: CompiledPrice, usage: Mapping[str, int], *, is_failure: bool = False) -> Priced:
    """Return what one price alone makes of a call's usage."""
    return _cost(price, usage, is_failure)


def usage_faults(usage: Mapping[str, int]) -> list[FieldFault]:
    """Return what is wrong with counts that contain each other: a part larger than the whole, or without one."""
    faults: list[FieldFault] = []
    for part, count in usage.items():
        for whole in _PARTS.get(part, ()):
            if count > usage.get(whole, 0):
                faults.append(
                    FieldFault(
                        f"tokens.{part}",
                        f"{count} of {part} are more than the {usage.get(whole, 0)} of {whole} that include them: "
                        f"count them into {whole} too",
                    )
                )
                break
    return faults
