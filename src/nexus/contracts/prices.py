"""The price book as both planes share it: an immutable table, built from the catalog's documents.

One price is what a subject (a provider's model or endpoint, for a tier, region, currency and service variant) costs
from one instant to another, possibly in a daily window only. Amounts are exact; nothing here is a float.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from fractions import Fraction
from functools import cached_property
from typing import Any
from uuid import UUID

import msgspec

from nexus.contracts.model_match import Matcher, compile_rule, with_dashed_dates
from nexus.contracts.units import contains, dimensions_of

_CACHE_ENTRIES = 50_000
_MOST_KINDS_OF_USAGE = 1_000


class Component(msgspec.Struct, frozen=True):
    """The amount asked for `per` of a unit, once the context holds more than `above` input tokens."""

    unit: str
    amount: str
    per: int
    above: int = 0


class PriceDocument(msgspec.Struct, frozen=True, tag_field="kind", tag="price"):
    """One price of the book."""

    id: UUID
    provider: str
    components: list[Component]
    organization_id: UUID | None = None
    model: str | None = None
    endpoint: str | None = None
    method: str | None = None
    tier: str = "standard"
    region: str = ""
    currency: str = "USD"
    variant: dict[str, str] = {}
    position: int = 0
    daily_from: str | None = None
    daily_to: str | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    source: str = ""


class ModelDocument(msgspec.Struct, frozen=True, tag_field="kind", tag="model"):
    """One model: how callers' names are matched to it, in the order of positions."""

    provider: str
    model: str
    match: dict[str, Any]
    organization_id: UUID | None = None
    position: int = 0


class ProviderDocument(msgspec.Struct, frozen=True, tag_field="kind", tag="provider"):
    """One provider: other names of it, and whose models its own fall back on. One of an organization has a name only."""

    provider: str
    aliases: list[str] = []
    fallback: list[str] = []
    match: dict[str, Any] | None = None
    organization_id: UUID | None = None


Document = PriceDocument | ModelDocument | ProviderDocument


@dataclass(frozen=True)
class Rate:
    """What one unit costs: numerators over the price's common denominator, by context threshold, highest first."""

    unit: str
    steps: tuple[tuple[int, int], ...]
    parts: tuple[int, ...]
    """Places, in the price's order, of the units contained in this one."""


@dataclass(frozen=True)
class UsageRates:
    """What a price makes of calls that count certain units."""

    rates: tuple[Rate, ...]
    """Those that such a call can be charged by, or whose units contain one that it counts; in the price's order."""
    uncovered: str | None
    """A unit that the price does not pay for."""
    plain: tuple[tuple[str, int], ...] = ()
    """Units and their numerators, where that is all there is to it: each is paid for whatever else the call counts."""


@dataclass(frozen=True)
class CompiledPrice:
    """A price ready for arithmetic in whole numbers."""

    id: UUID
    currency: str
    source: str
    denominator: int
    rates: tuple[Rate, ...]
    """Most specific units first, so that what contains them can subtract them."""
    covered: frozenset[frozenset[tuple[str, str]]]
    _by_units: dict[tuple[str, ...], UsageRates] = field(default_factory=dict, compare=False)

    def covers(self, unit: str) -> bool:
        """Tell whether a count of this unit is paid for, by its own price or by that of what contains it."""
        dimensions = dimensions_of(unit)
        return any(known <= dimensions for known in self.covered)

    def rates_of(self, units: tuple[str, ...]) -> UsageRates:
        """Return the rates for calls that count these units; remembered, as most calls count the same few."""
        found = self._by_units.get(units)
        if found is None:
            if len(self._by_units) >= _MOST_KINDS_OF_USAGE:
                self._by_units.clear()
            found = self._by_units[units] = self._rates_of(units)
        return found

    def _rates_of(self, units: tuple[str, ...]) -> UsageRates:
        kept: dict[int, Rate] = {}
        places: dict[int, int] = {}
        for place, rate in enumerate(self.rates):
            parts = tuple(places[part] for part in rate.parts if part in places)
            # A call is a request whether or not that is counted.
            if parts or rate.unit == "requests" or rate.unit in units:
                places[place] = len(kept)
                kept[place] = Rate(rate.unit, rate.steps, parts)
        uncovered = next((unit for unit in units if unit != "requests" and not self.covers(unit)), None)
        rates = tuple(kept.values())
        is_plain = uncovered is None and all(
            not rate.parts and len(rate.steps) == 1 and not rate.steps[0][0] and rate.unit in units for rate in rates
        )
        # What a call is charged for being made depends on whether it failed.
        is_plain = is_plain and all(rate.unit != "requests" for rate in rates)
        return UsageRates(rates, uncovered, tuple((rate.unit, rate.steps[0][1]) for rate in rates) if is_plain else ())


def compile_price(document: PriceDocument, components: Iterable[Component]) -> CompiledPrice:
    """Bring the components of a price over one denominator, and put contained units before what contains them."""
    by_unit: dict[str, dict[int, Fraction]] = {}
    for item in components:
        by_unit.setdefault(item.unit, {})[item.above] = Fraction(item.amount) / item.per
    denominator = math.lcm(1, *(rate.denominator for steps in by_unit.values() for rate in steps.values()))
    order = sorted(by_unit, key=lambda unit: (-len(dimensions_of(unit)), unit))
    rates = tuple(
        Rate(
            unit,
            tuple((above, int(by_unit[unit][above] * denominator)) for above in sorted(by_unit[unit], reverse=True)),
            tuple(place for place, part in enumerate(order) if contains(unit, part)),
        )
        for unit in order
    )
    covered = frozenset(dimensions_of(unit) for unit in order)
    return CompiledPrice(document.id, document.currency, document.source, denominator, rates, covered)


@dataclass
class Candidate:
    """A price that may apply to a subject, with the variants that may change parts of it."""

    document: PriceDocument
    valid_from: float
    valid_to: float
    daily: tuple[time, time] | None

    @classmethod
    def of(cls, document: PriceDocument) -> Candidate:
        """Prepare a document for comparison with a call's time."""
        daily = None
        if document.daily_from is not None and document.daily_to is not None:
            daily = (time.fromisoformat(document.daily_from), time.fromisoformat(document.daily_to))
        return cls(
            document,
            -math.inf if document.valid_from is None else document.valid_from.timestamp(),
            math.inf if document.valid_to is None else document.valid_to.timestamp(),
            daily,
        )

    @cached_property
    def compiled(self) -> CompiledPrice:
        """The price alone, ready for arithmetic."""
        return compile_price(self.document, self.document.components)

    def is_active(self, at: datetime, stamp: float) -> bool:
        """Tell whether the price is in force at an instant: from its start on, to just before its end."""
        if not self.valid_from <= stamp < self.valid_to:
            return False
        if self.daily is None:
            return True
        clock = at.astimezone(UTC).time()
        start, end = self.daily
        if end < start:
            return clock >= start or clock < end
        return start <= clock < end


@dataclass
class Resolution:
    """All prices that may apply to calls of one kind, best first, and why there is none."""

    prices: list[Candidate] = field(default_factory=list)
    variants: list[Candidate] = field(default_factory=list)
    reason: str = ""
    mixed: dict[tuple[UUID, ...], CompiledPrice] = field(default_factory=dict)


def _plain(name: str) -> str:
    """Write a provider's name as records do: some conventions have underscores where others have hyphens."""
    return name.strip().lower().replace("_", "-").replace(" ", "-")


class PriceBook:
    """Every price in force at any time, found by provider, model or endpoint. Never changed; a newer one replaces it."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._providers: dict[str, ProviderDocument] = {}
        self._names: dict[tuple[UUID | None, str], str] = {}
        self._aliases: dict[str, str] = {}
        self._provider_rules: list[tuple[Matcher, str]] = []
        self._models: dict[str, list[tuple[ModelDocument, Matcher]]] = {}
        self._model_prices: dict[tuple[str, str], list[PriceDocument]] = {}
        self._endpoint_prices: dict[tuple[str, str], list[PriceDocument]] = {}
        for document in documents:
            self._add(document)
        for models in self._models.values():
            models.sort(key=lambda item: (item[0].organization_id is None, item[0].position, item[0].model))
        # In the order of names, as the lists that bring the rules have it; the database gives none.
        self._provider_rules.sort(key=lambda item: item[1])
        self._cache: dict[tuple[object, ...], Resolution] = {}
        self._priced_by: dict[tuple[UUID | None, str, str, str], str] = {}

    @classmethod
    def from_documents(cls, documents: Iterable[object]) -> PriceBook:
        """Build the book from what `catalog.snapshot_prices_v1()` gives."""
        return cls(msgspec.convert(item, Document) for item in documents)

    def _add(self, document: Document) -> None:
        match document:
            case PriceDocument(model=str(model)):
                self._model_prices.setdefault((document.provider, model), []).append(document)
            case PriceDocument(endpoint=endpoint):
                self._endpoint_prices.setdefault((document.provider, endpoint or ""), []).append(document)
            case ModelDocument():
                entry = (document, compile_rule(document.match))
                self._models.setdefault(document.provider, []).append(entry)
            case ProviderDocument():
                self._names[document.organization_id, _plain(document.provider)] = document.provider
                if document.organization_id is not None:
                    return
                self._providers[document.provider] = document
                for alias in document.aliases:
                    self._aliases[_plain(alias)] = document.provider
                if document.match is not None:
                    self._provider_rules.append((compile_rule(document.match), document.provider))

    def provider_of(self, name: str, organization_id: UUID | None = None) -> str | None:
        """Return the catalog's name of a provider; None when nobody knows it.

        A shared name goes before one of the organization's own, a name before an alias, an alias before a rule.
        """
        plain = _plain(name)
        known = self._names.get((None, plain)) or self._names.get((organization_id, plain)) or self._aliases.get(plain)
        if known is not None:
            return known
        lower = name.strip().lower()
        return next((provider for rule, provider in self._provider_rules if rule(lower)), None)

    def _match(self, provider: str, name: str, organization_id: UUID | None) -> ModelDocument | None:
        for document, rule in self._models.get(provider, ()):
            if document.organization_id in {None, organization_id} and rule(name):
                return document
        return None

    def find_model(self, provider: str, name: str, organization_id: UUID | None = None) -> ModelDocument | None:
        """Return the model a caller's name means: the provider's own, else one of those it falls back on (one step)."""
        lower = name.lower()
        for text in dict.fromkeys((lower, with_dashed_dates(lower))):
            found = self._match(provider, text, organization_id)
            if found is not None:
                return found
            document = self._providers.get(provider)
            for other in document.fallback if document else ():
                found = self._match(other, text, organization_id)
                if found is not None:
                    return found
        return None

    def model_to_price(self, provider: str, answered: str, asked: str, organization_id: UUID | None = None) -> str:
        """Return the model a call is priced by: the answer's where the book knows it, else the request's if it knows that."""
        if not answered or not asked or answered == asked:
            return answered or asked
        key = (organization_id, provider, answered, asked)
        found = self._priced_by.get(key)
        if found is None:
            if len(self._priced_by) >= _CACHE_ENTRIES:
                self._priced_by.clear()
            found = self._priced_by[key] = self._model_to_price(*key)
        return found

    def _model_to_price(self, organization_id: UUID | None, provider: str, answered: str, asked: str) -> str:
        known = self.provider_of(provider, organization_id)
        if known is None or self.find_model(known, answered, organization_id) is not None:
            return answered
        return asked if self.find_model(known, asked, organization_id) is not None else answered

    def resolve(
        self,
        organization_id: UUID | None,
        tier: str,
        provider: str,
        model: str | None,
        endpoint: str | None,
        method: str | None,
        region: str | None,
        currency: str | None,
    ) -> Resolution:
        """Return the prices that may apply to calls of one kind; remembered, as most calls are of few kinds."""
        key = (organization_id, tier, provider, model, endpoint, method, region, currency)
        found = self._cache.get(key)
        if found is None:
            if len(self._cache) >= _CACHE_ENTRIES:
                self._cache.clear()
            found = self._cache[key] = self._resolve(*key)
        return found

    def _resolve(
        self,
        organization_id: UUID | None,
        tier: str,
        provider: str,
        model: str | None,
        endpoint: str | None,
        method: str | None,
        region: str | None,
        currency: str | None,
    ) -> Resolution:
        known = self.provider_of(provider, organization_id)
        if known is None and model and provider.lower() == "litellm":
            # The proxy puts the provider's name before the model's.
            prefix, _, model = model.partition("/")
            known = self.provider_of(prefix, organization_id)
        if known is None:
            return Resolution(reason="unknown_provider")
        documents: list[PriceDocument] = []
        reason = "no_model_or_endpoint"
        is_own_model = True
        if model:
            entry = self.find_model(known, model, organization_id)
            if entry is None:
                reason = "unknown_model"
            else:
                is_own_model = entry.provider == known
                documents = self._model_prices.get((entry.provider, entry.model), [])
                reason = "no_price_for_model"
        if not documents and endpoint:
            documents = [
                item
                for item in self._endpoint_prices.get((known, endpoint), [])
                if item.method is None or item.method == (method or "").upper()
            ]
            reason = reason if model else "no_price_for_endpoint"

        def rank(document: PriceDocument) -> tuple[int, ...]:
            wanted = currency or "USD"
            return (
                0 if document.organization_id is not None else 1,
                0 if document.region else 1,
                0 if document.tier == tier and tier != "standard" else 1,
                0 if document.currency == wanted else 1 if document.currency == "USD" else 2,
                0 if document.method is not None else 1,
                # A price for some hours of the day stands before the one for all of them.
                0 if document.daily_from is not None else 1,
                -document.position,
            )

        usable = [
            item
            for item in documents
            if item.organization_id in {None, organization_id}
            and item.tier in {"standard", tier}
            and item.region in {"", region or ""}
        ]
        prices = sorted((item for item in usable if not item.variant), key=rank)
        # Variants belong to the provider's own models, as another's service tiers are not these.
        variants = (
            sorted((item for item in usable if item.variant), key=lambda item: item.position) if is_own_model else []
        )
        return Resolution(
            [Candidate.of(item) for item in prices], [Candidate.of(item) for item in variants], "" if prices else reason
        )
