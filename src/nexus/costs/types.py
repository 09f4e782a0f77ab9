"""What costs are asked, and what they answer. Money is decimal strings, fractions are of the amount."""

# Annotations are read when the API is built, so this module does not postpone them.
from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from nexus.contracts.limits import FailurePolicy

BudgetScope = Literal["organization", "application", "user", "key", "provider", "model", "tag"]
BudgetPeriod = Literal["day", "week", "month", "quarter", "year"]
BudgetState = Literal["within", "warned", "over", "paused", "inactive"]
"""*warned*: a threshold below the whole is crossed. *over*: all is spent. *paused*: it refuses calls."""
DEFAULT_THRESHOLDS: list[float] = [0.5, 0.75, 0.9, 1.0]

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.\-]{0,62}$", description="Such as `search-monthly`.")]
Amount = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,10}(\.[0-9]{1,9})?$", description="Such as `250.00`.")]
CurrencyCode = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.")]
Subject = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=500, pattern=r"^[^\x00]+$",
        description="Which application, user (id), key (id), provider or model; of tags `name=value`."
        " Left out: each of them by itself; of tags `name`: each of its values.",
    ),
]  # fmt: skip
Zone = Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="Zone in which periods begin.")]
Threshold = Annotated[float, msgspec.Meta(gt=0, le=10)]
Thresholds = Annotated[list[Threshold], msgspec.Meta(max_length=20, description="Fractions of the amount.")]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
Description = Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00]*$")]


class BudgetNew(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A budget to make."""

    name: Name
    amount: Amount
    reason: Reason
    scope: BudgetScope = "organization"
    subject: Subject | None = None
    currency: CurrencyCode | None = None
    """Left out: the organization's."""
    period: BudgetPeriod = "month"
    begins_on: date | None = None
    """A day on which a period begins: the 15th, a Sunday, the first of April. Left out: as the calendar's do."""
    zone: Zone | None = None
    """Left out: the organization's reporting zone."""
    thresholds: Thresholds | None = None
    pauses: bool = False
    """Refuse calls that would pass it, before they are made."""
    failure: FailurePolicy = "closed"
    """Of a pausing budget, while its counter is away: refuse, admit, or share what was left when it was last seen."""
    description: Description = ""


class BudgetChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What is to change of a budget; what is left out stays. Of `subject` and `begins_on` null takes away."""

    reason: Reason
    name: Name | msgspec.UnsetType = msgspec.UNSET
    amount: Amount | msgspec.UnsetType = msgspec.UNSET
    scope: BudgetScope | msgspec.UnsetType = msgspec.UNSET
    subject: Subject | msgspec.UnsetType | None = msgspec.UNSET
    currency: CurrencyCode | msgspec.UnsetType = msgspec.UNSET
    period: BudgetPeriod | msgspec.UnsetType = msgspec.UNSET
    begins_on: date | msgspec.UnsetType | None = msgspec.UNSET
    zone: Zone | msgspec.UnsetType = msgspec.UNSET
    thresholds: Thresholds | msgspec.UnsetType = msgspec.UNSET
    pauses: bool | msgspec.UnsetType = msgspec.UNSET
    failure: FailurePolicy | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType = msgspec.UNSET
    is_active: bool | msgspec.UnsetType = msgspec.UNSET


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A budget as it was said last."""

    id: UUID
    name: str
    description: str
    scope: BudgetScope
    subject: str | None
    amount: str
    currency: str
    period: BudgetPeriod
    begins_on: date | None
    zone: str
    thresholds: list[float]
    pauses: bool
    failure: FailurePolicy
    is_active: bool
    version: int
    reason: str
    author: str
    created_at: datetime
    updated_at: datetime


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a budget stands in its period, of one subject where each has it by itself."""

    subject: str | None
    state: BudgetState
    spent: str
    """Exactly what the dashboards show for the same calls, plus what was converted."""
    held: str | None
    """What calls in flight may still cost; null where nothing is held, or the limiter does not answer."""
    left: str
    """Never below nothing; `over` says by how much it is."""
    over: str
    fraction: float
    crossed: list[float]
    requests: int
    unpriced: int
    """Calls whose cost nobody knows: not in `spent`."""
    unconverted: dict[str, str]
    """By currency, what no exchange rate tells: not in `spent`."""
    paused_since: datetime | None = None
    """When a call was first refused in this period."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the period will come to if it goes on as in its last days, or why nobody can tell."""

    method: Literal["mean_of_last_whole_days", "mean_of_last_whole_hours"]
    period_end: str | None
    """Spend when the period ends."""
    rate: str | None
    """Spend in one step."""
    steps: int
    """Whole days, or hours, that the rate is the mean of."""
    reaches_amount_at: datetime | None = None
    reason: str | None = None
    """Why there is none."""


class BudgetStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A budget and how it stands now."""

    budget: Budget
    period_starts_at: datetime
    period_ends_at: datetime
    as_of: datetime
    standing: Standing
    """Of a budget for each of a scope: of the one that has spent most of it."""
    subjects: int
    """How many have spent anything, of a budget for each of a scope."""


class SpendPoint(msgspec.Struct, frozen=True):
    """What one day, or hour, of the period cost, and the period until its end."""

    at: datetime
    spent: str
    total: str


class BudgetDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A budget with all that its page shows of one period and subject."""

    budget: Budget
    period_starts_at: datetime
    period_ends_at: datetime
    as_of: datetime
    standing: Standing
    step: Literal["day", "hour"]
    points: list[SpendPoint]
    forecast: Forecast | None
    """Of the period that runs; null for one that is over."""
    subjects: list[Standing]
    """Of a budget for each of a scope: those that have spent most, a hundred at most."""


class BreakdownGroup(msgspec.Struct, frozen=True):
    """What one of a dimension spent."""

    value: str | None
    cost: str
    """In the budget's currency."""
    other: dict[str, str]
    """By currency, what is not in it."""
    requests: int
    unpriced: int


class Breakdown(msgspec.Struct, frozen=True):
    """Who spends a budget."""

    by: str
    groups: list[BreakdownGroup]
    reason: str | None = None
    """Why there are none: the two are not kept together that long."""


class BudgetEvent(msgspec.Struct, frozen=True):
    """A threshold was crossed, or calls were paused."""

    id: UUID
    kind: Literal["threshold", "paused"]
    subject: str | None
    threshold: float | None
    spent: str
    amount: str
    currency: str
    period_starts_at: datetime
    period_ends_at: datetime
    occurred_at: datetime


class FieldChange(msgspec.Struct, frozen=True):
    """How one field will differ."""

    field: str
    before: str | None
    after: str | None


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a budget would be, before it is made or changed."""

    period_starts_at: datetime
    period_ends_at: datetime
    standing: Standing
    changes: list[FieldChange]
    will_pause: bool
    """It would refuse the next call."""


class ExchangeRate(msgspec.Struct, frozen=True):
    """What one unit of `base` was in `quote` on a day."""

    base: str
    quote: str
    rated_on: date
    rate: str
    source: str
    is_shared: bool


class RatesNew(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A list of exchange rates: the European Central Bank's CSV or XML as it is published, or lines `date,base,quote,rate`."""

    content: Annotated[str, msgspec.Meta(min_length=1, max_length=16 * 1024 * 1024)]
    source: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")] = "upload"


class RatesImported(msgspec.Struct, frozen=True):
    """What an import did."""

    read: int
    added: int
    changed: int
    first_on: date
    last_on: date
    currencies: list[str]
