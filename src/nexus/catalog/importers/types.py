"""The one form that every price list is read into."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, time
from decimal import Decimal
from typing import Any

from nexus.kit.errors import InvalidRequest


class UnreadablePriceList(InvalidRequest):
    """The file is no price list of this form."""

    code = "unreadable_price_list"


@dataclass(frozen=True, order=True)
class ImportedComponent:
    """An amount asked for `per` of a unit, above a context of so many input tokens."""

    unit: str
    above: int
    amount: Decimal
    per: int

    @property
    def rate(self) -> tuple[str, int, Decimal]:
        """What is compared between sources: the amount for one million, however it was written."""
        return self.unit, self.above, (self.amount * 1_000_000 / self.per).normalize()


@dataclass(frozen=True)
class ImportedPrice:
    """What a model costs in one period."""

    provider: str
    model: str
    components: tuple[ImportedComponent, ...]
    variant: tuple[tuple[str, str], ...] = ()
    position: int = 0
    daily: tuple[time, time] | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None

    @property
    def subject(self) -> tuple[object, ...]:
        """What the price is of."""
        return (self.provider, self.model, self.variant, self.position if self.variant else 0, self.daily)

    @property
    def rates(self) -> frozenset[tuple[str, int, Decimal]]:
        """The amounts, comparable between sources."""
        return frozenset(item.rate for item in self.components)


@dataclass(frozen=True)
class ImportedModel:
    """A model, with the rule that tells which names mean it."""

    provider: str
    slug: str
    match: dict[str, Any]
    name: str = ""
    position: int = 0
    context_window: int | None = None
    max_output: int | None = None
    is_deprecated: bool = False


@dataclass(frozen=True)
class ImportedProvider:
    """A provider as a price list knows it."""

    slug: str
    name: str
    match: dict[str, Any] | None = None
    fallback: tuple[str, ...] = ()
    website_url: str | None = None


@dataclass
class ImportedBook:
    """All that a price list says, and what of it could not be taken."""

    source: str
    digest: str
    providers: list[ImportedProvider] = field(default_factory=list)
    models: list[ImportedModel] = field(default_factory=list)
    prices: list[ImportedPrice] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
