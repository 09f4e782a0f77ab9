"""Limits as both planes see them: frozen types of what is limited, how, and which calls meet it.

Units are integers: requests, micro-operations, bytes, model tokens, calls in flight, nano-units of money.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from functools import lru_cache
from math import ceil
from types import MappingProxyType
from typing import Literal
from uuid import UUID

import msgspec

Dimension = Literal["requests", "operations", "bytes", "tokens", "concurrency", "money"]
Method = Literal["token_bucket", "leaky_bucket", "fixed_window", "concurrency"]
ScopeKind = Literal["cluster", "organization", "application", "user", "key", "provider", "model", "endpoint", "tag"]
Period = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
FailurePolicy = Literal["closed", "open", "local"]

DIMENSIONS: tuple[Dimension, ...] = ("requests", "operations", "bytes", "tokens", "concurrency", "money")
METHODS: tuple[Method, ...] = ("token_bucket", "leaky_bucket", "fixed_window", "concurrency")
SCOPE_KINDS: tuple[ScopeKind, ...] = (
    "cluster", "organization", "application", "user", "key", "provider", "model", "endpoint", "tag",
)  # fmt: skip
PERIODS: tuple[Period, ...] = ("minute", "hour", "day", "week", "month", "quarter", "year")

ANYBODY = UUID(int=0)
"""Owner of the operation costs that hold for every organization without its own."""
MICRO = 1_000_000
MAX_UNITS = 2**52
"""No capacity and no charge is larger: sums and differences of two stay below 2^53, where doubles are exact."""
MAX_NANO_MONEY = 9_007_199 * 10**9
"""A money limit above this is kept in micro-units."""


class UnrepresentableLimit(ValueError):
    """A limit whose arithmetic would leave the integers that a double holds exactly."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a bucket refills: `numerator / denominator` units a microsecond, in lowest terms.

    Everything computed from it stays below 2^53: see `decide/lua/bucket.lua`.
    """

    numerator: int
    denominator: int

    @classmethod
    def of(cls, units: int, *, per_us: int) -> Rate:
        """Make the rate of so many units in so many microseconds; `UnrepresentableLimit` when it is not exact."""
        if units <= 0 or per_us <= 0:
            raise UnrepresentableLimit("a rate is more than nothing")
        exact = Fraction(units, per_us)
        n, d = exact.numerator, exact.denominator
        # The bounds of the products in `refill`: a rate slower than one in three days is a window's job.
        if d > 2**38 or (d >> 14) * (n % d) >= 2**53 or n // d >= 2**50 or n >= 2**53:
            raise UnrepresentableLimit("give a rate of fewer digits, such as so many a second, minute, hour or day")
        return cls(n, d)

    @property
    def whole(self) -> int:
        """Units a microsecond, rounded down."""
        return self.numerator // self.denominator

    @property
    def part(self) -> int:
        """What `whole` leaves out, in `denominator`-ths of a unit."""
        return self.numerator % self.denominator


@dataclass(slots=True, eq=False)
class Share:
    """What an organization has now of capacity that it shares with others, as this process last saw it.

    For people alone: calls are decided by the bucket in Redis, whatever stands here.
    """

    capacity: int
    rate: Rate
    most: int
    """Units that its bucket could hold if others left it all there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A ceiling on one dimension for one scope, at one version of its configuration."""

    id: UUID
    """The same through all versions: it names the bucket."""
    name: str
    organization_id: UUID
    scope: ScopeKind
    subject: str | None
    """Which cluster, application, key …; None: each of them has a bucket of its own. Ignored for organizations.

    Of tags: `team=search` is one value of a tag, `team` each of its values by itself.
    """
    dimension: Dimension
    method: Method
    capacity: int
    """Bucket: the most it holds. Window: the amount. Concurrency: calls in flight. In `scale` units."""
    rate: Rate | None = None
    """Buckets only."""
    period: Period | None = None
    """Windows only."""
    begins_on: date | None = None
    """A day on which a window begins, such as the 15th of a month; None: windows begin as the calendar's do."""
    zone: str = "UTC"
    reserve: int = 0
    """Kept back for privileged operations."""
    is_shadow: bool = False
    failure: FailurePolicy = "closed"
    version: int = 1
    currency: str = ""
    """Money only."""
    scale: int = 1
    """How many nano-units of money one unit of this limit is: 1, or 1,000."""
    exchange: Fraction = Fraction(1)
    """Units of `currency` for one of the call's own, where calls of another currency are charged."""
    provider: str | None = None
    """Of models: as called at this provider; None: wherever they are called."""
    is_budget: bool = False
    """What is spent is counted by the ledger of calls: the bucket is opened from it, and compared with it."""
    share: Share | None = field(default=None, compare=False)
    """Of capacity that organizations share: what this one has now. Its capacity and rate are those it is guaranteed, and its
    version is 0, so that what Redis was granted is always newer."""

    def __post_init__(self) -> None:
        if not 0 < self.capacity <= MAX_UNITS * (2 if self.dimension == "money" else 1):
            raise UnrepresentableLimit(f"{self.name}: an amount is between 1 and {MAX_UNITS} units")
        if not 0 <= self.reserve < self.capacity:
            raise UnrepresentableLimit(f"{self.name}: a reserve is less than the capacity")
        is_bucket = self.method in {"token_bucket", "leaky_bucket"}
        if is_bucket != (self.rate is not None) or (self.method == "fixed_window") != (self.period is not None):
            raise UnrepresentableLimit(f"{self.name}: buckets have a rate, windows a period, and nothing else does")
        if (self.method == "concurrency") != (self.dimension == "concurrency"):
            raise UnrepresentableLimit(f"{self.name}: calls in flight are counted, not refilled")

    @property
    def present_capacity(self) -> int:
        """What it holds now: of a share, as this process last saw it."""
        return self.capacity if self.share is None else self.share.capacity

    @property
    def present_rate(self) -> Rate | None:
        """How fast it refills now."""
        return self.rate if self.share is None else self.share.rate

    def until_full_us(self, left: int) -> int:
        """Return in how many microseconds a bucket that has so much left is full, rounded up."""
        rate, missing = self.present_rate, self.present_capacity - left
        assert rate is not None
        return -(-missing * rate.denominator // rate.numerator) if missing > 0 else 0

    def charge(self, amount: int) -> int:
        """Return what an amount of the dimension's unit is in this limit's, rounded up."""
        if self.exchange != 1:
            return ceil(amount * self.exchange / self.scale)
        return amount if self.scale == 1 else -(-amount // self.scale)


@dataclass(frozen=True, slots=True)
class OperationCost:
    """Seed of an operation's charge: base + size / quantum x bandwidth, in operations."""

    name: str
    base: Fraction
    quantum: int
    bandwidth: Fraction
    whole_quanta: bool = False
    """Charge begun quanta as whole ones."""

    def micro(self, size_bytes: int) -> int:
        """Return the charge in micro-operations: exact, rounded up once."""
        quanta = Fraction(size_bytes, self.quantum)
        if self.whole_quanta:
            quanta = Fraction(ceil(quanta))
        return ceil((self.base + quanta * self.bandwidth) * MICRO)


_NO_TAGS: Mapping[str, str] = MappingProxyType({})


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a call before it is made: whose it is, where it goes, and what it will be charged.

    A program makes one for each call it asks for: a struct, as a frozen dataclass takes longer to be made than to be decided.
    """

    organization_id: UUID
    application: str = ""
    cluster: str = ""
    user_id: UUID | None = None
    key_id: UUID | None = None
    provider: str = ""
    model: str = ""
    endpoint: str = ""
    requests: int = 1
    operations: int = 0
    """Micro-operations."""
    bytes: int = 0
    tokens: int = 0
    """Model tokens: counted or estimated."""
    money: int = 0
    """Nano-units of `currency`: estimated."""
    currency: str = ""
    tags: Mapping[str, str] = _NO_TAGS
    """For attribution: team, feature, customer and the like."""
    is_privileged: bool = False
    """May use what limits keep in reserve."""

    def amount(self, dimension: Dimension) -> int:
        """Return what the call is charged in one dimension."""
        return 1 if dimension == "concurrency" else int(getattr(self, dimension))

    def subject(self, scope: ScopeKind) -> str:
        """Return which cluster, application, key … the call belongs to; '' for none. Of tags see `LimitTable.of`."""
        if scope == "organization":
            return str(self.organization_id)
        if scope in {"user", "key"}:
            value = self.user_id if scope == "user" else self.key_id
            return "" if value is None else str(value)
        return str(getattr(self, scope))


@dataclass(frozen=True, slots=True)
class LimitTable:
    """All limits, applications' clusters and operation costs at one version. Never changed: a newer one replaces it whole."""

    version: int = 0
    limits: Mapping[UUID, Sequence[Limit]] = field(default_factory=lambda: MappingProxyType({}))
    """By organization, in the order of their names."""
    clusters: Mapping[tuple[UUID, str], str] = field(default_factory=lambda: MappingProxyType({}))
    """The cluster of an application, by organization and application name."""
    operations: Mapping[tuple[UUID, str, str], OperationCost] = field(default_factory=lambda: MappingProxyType({}))
    """By organization, application ('' for all) and operation name."""
    exchange: Mapping[tuple[UUID, str, str], Fraction] = field(default_factory=lambda: MappingProxyType({}))
    """Today's rates by organization, the call's currency and a limit's: so many of the limit's for one of the call's."""
    has_older_headers: bool = False
    """Answers carry `X-RateLimit-*` too."""

    def operation(self, organization_id: UUID, application: str, name: str) -> OperationCost | None:
        """Return an operation's cost for an application: its own rule, else everybody's."""
        for owner, whose in ((organization_id, application), (organization_id, ""), (ANYBODY, "")):
            known = self.operations.get((owner, whose, name))
            if known is not None:
                return known
        return None

    def of(self, call: Call) -> list[tuple[Limit, str]]:
        """Return the limits that a call meets, each with the name of the bucket it is charged to.

        Money of another currency is charged at today's rate; where there is none, that limit is not met: the ledger of calls
        counts what could not be converted.
        """
        met: list[tuple[Limit, str]] = []
        for limit in self.limits.get(call.organization_id, ()):
            if limit.dimension == "money" and limit.currency != call.currency:
                rate = self.exchange.get((call.organization_id, call.currency, limit.currency))
                if rate is None:
                    continue
                limit = _exchanged(limit, rate)
            if limit.scope == "organization":
                met.append((limit, limit.id.hex))
                continue
            if limit.scope == "tag":
                bucket = _tag_bucket(limit, call)
                if bucket:
                    met.append((limit, bucket))
                continue
            subject = call.subject(limit.scope)
            if limit.scope == "cluster" and not subject:
                subject = self.clusters.get((call.organization_id, call.application), "")
            if not subject or limit.subject not in {None, subject} or limit.provider not in {None, call.provider}:
                continue
            met.append((limit, limit.id.hex if limit.subject is not None else f"{limit.id.hex}:{subject}"))
        return met


def _tag_bucket(limit: Limit, call: Call) -> str:
    """Return the bucket of a limit on a tag that a call is charged to; '' where the call has no such tag."""
    name, is_one, wanted = (limit.subject or "").partition("=")
    value = call.tags.get(name)
    if value is None or (is_one and value != wanted):
        return ""
    return limit.id.hex if is_one else f"{limit.id.hex}:{value}"


@lru_cache(maxsize=4096)
def _exchanged(limit: Limit, rate: Fraction) -> Limit:
    return replace(limit, exchange=rate)
