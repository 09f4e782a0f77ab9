"""Limits as people write them, and what they mean in whole units: the one place where one becomes the other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from nexus.contracts.limits import (
    MAX_NANO_MONEY,
    MICRO,
    Dimension,
    FailurePolicy,
    Limit,
    Method,
    Period,
    Rate,
    ScopeKind,
    UnrepresentableLimit,
)
from nexus.kit.errors import FieldFault
from nexus.kit.ids import opaque_uuid
from nexus.kit.money import NANOS, parse_decimal

Amount = Annotated[str, msgspec.Meta(min_length=1, max_length=40, pattern=r"^[0-9]+(\.[0-9]+)?$")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.\-]{0,62}$")]
Per = Literal["second", "minute", "hour", "day"]
_PER_SECONDS: dict[Per, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_SECOND_US = 1_000_000


class LimitSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One limit of a quota. Buckets have a rate; windows and calls in flight have an amount. Amounts are decimal strings."""

    name: Name
    dimension: Dimension
    method: Method = "token_bucket"
    rate: Amount | None = None
    """Buckets: operations, requests, bytes or model tokens, `per` second, minute, hour or day."""
    per: Per = "second"
    burst: Amount | None = None
    """Buckets: the rate for `burst_seconds` at most."""
    burst_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60
    capacity: Amount | None = None
    """Buckets: what they hold, instead of a burst. Without either: what refills in one `per`."""
    amount: Amount | None = None
    period: Period | None = None
    begins_on: date | None = None
    """Windows of days or longer: a day on which one begins, such as the 15th; otherwise they begin as the calendar's do."""
    zone: Annotated[str, msgspec.Meta(max_length=64)] = "UTC"
    reserve: Amount = "0"
    """Kept back for privileged operations."""
    shadow: bool = False
    """Count what would be refused, and refuse nothing."""
    failure: FailurePolicy | None = None
    """While Redis is away; by default money is closed, anything else decided locally."""
    currency: Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{3})?$")] = ""


def _units(text: str, dimension: Dimension) -> Fraction:
    exact = Fraction(Decimal(text))
    if dimension == "operations":
        return exact * MICRO
    return exact * NANOS if dimension == "money" else exact


def money_scale(nanos: Fraction | int) -> int:
    """Return how many nano-units one unit of a money limit of this size is: 1, or 1,000 where doubles would not hold it."""
    return 1000 if nanos > MAX_NANO_MONEY else 1


def known_zone(zone: str) -> bool:
    """Whether Python knows a time zone of this name."""
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _shape_faults(spec: LimitSpec) -> list[FieldFault]:
    faults: list[FieldFault] = []

    def need(field: str, is_right: bool, message: str) -> None:
        if not is_right:
            faults.append(FieldFault(field, message))

    is_bucket = spec.method in {"token_bucket", "leaky_bucket"}
    if is_bucket:
        need("rate", spec.rate is not None, "a bucket needs a rate")
        need("amount", spec.amount is None, "a bucket has a rate, not an amount")
        need("capacity", spec.capacity is None or spec.burst is None, "give a burst or a capacity, not both")
        need("dimension", spec.dimension != "money", "money is limited in windows: use the method fixed_window")
    else:
        need("amount", spec.amount is not None, "give an amount")
        need("rate", spec.rate is None and spec.burst is None and spec.capacity is None, "only buckets have a rate")
    need(
        "period",
        (spec.method == "fixed_window") == (spec.period is not None),
        "windows have a period, others have none",
    )
    need(
        "begins_on",
        spec.begins_on is None or (spec.period not in {None, "minute", "hour"} and 1970 <= spec.begins_on.year < 2200),
        "only windows of a day or longer begin on a day, and it lies between 1970 and 2200",
    )
    need("zone", known_zone(spec.zone), "give the name of a time zone, such as Europe/Zurich")
    need("method", (spec.method == "concurrency") == (spec.dimension == "concurrency"), "calls in flight are counted")
    need("currency", (spec.dimension == "money") == bool(spec.currency), "money, and nothing else, has a currency")
    for field in ("rate", "burst", "capacity", "amount", "reserve"):
        text = getattr(spec, field)
        if text is not None and _units(text, spec.dimension).denominator != 1 and field != "rate":
            faults.append(FieldFault(field, "too many decimals: it has to be a whole number of the smallest unit"))
    return faults


def compile_limit(
    spec: LimitSpec,
    *,
    organization_id: UUID,
    quota_id: UUID,
    scope: ScopeKind,
    subject: str | None,
    version: int,
    provider: str | None = None,
) -> Limit:
    """Turn what was written into whole units; `UnrepresentableLimit` for what has none."""
    scale, rate, period = 1, None, spec.period
    reserve = _units(spec.reserve, spec.dimension)
    if spec.rate is not None:
        per_us = _PER_SECONDS[spec.per] * _SECOND_US
        a_second = _units(spec.rate, spec.dimension) / _PER_SECONDS[spec.per]
        exact = a_second / _SECOND_US
        if exact <= 0:
            raise UnrepresentableLimit("a rate is more than nothing")
        rate = Rate.of(exact.numerator, per_us=exact.denominator)
        if spec.capacity is not None:
            capacity = _units(spec.capacity, spec.dimension)
        elif spec.burst is not None:
            burst = _units(spec.burst, spec.dimension) / _PER_SECONDS[spec.per]
            if burst < a_second:
                raise UnrepresentableLimit("a burst is at least the rate")
            capacity = max((burst - a_second) * spec.burst_seconds, a_second)
        else:
            capacity = exact * per_us
    else:
        capacity = _units(spec.amount or "0", spec.dimension)
        if spec.dimension == "money":
            scale = money_scale(capacity)
            capacity, reserve = capacity / scale, reserve / scale
    return Limit(
        id=opaque_uuid(f"{quota_id}:{spec.name}"),
        name=spec.name,
        organization_id=organization_id,
        scope=scope,
        subject=subject,
        provider=provider,
        dimension=spec.dimension,
        method=spec.method,
        capacity=ceil(capacity),
        rate=rate,
        period=period,
        begins_on=spec.begins_on,
        zone=spec.zone,
        reserve=ceil(reserve),
        is_shadow=spec.shadow,
        failure=spec.failure or ("closed" if spec.dimension == "money" else "local"),
        version=version,
        currency=spec.currency,
        scale=scale,
    )


def faults_of(specs: Sequence[LimitSpec]) -> list[FieldFault]:
    """Return everything that is wrong with the limits of one version, by field."""
    faults: list[FieldFault] = []
    seen: set[str] = set()
    nobody = UUID(int=0)
    for index, spec in enumerate(specs):
        found = _shape_faults(spec)
        if spec.name in seen:
            found.append(FieldFault("name", "two limits of one quota have different names"))
        seen.add(spec.name)
        if not found:
            try:
                compile_limit(
                    spec, organization_id=nobody, quota_id=nobody, scope="organization", subject=None, version=1
                )
            except UnrepresentableLimit as error:
                found.append(FieldFault("rate" if spec.rate is not None else "amount", str(error)))
        faults += [FieldFault(f"limits.{index}.{fault.field}", fault.message) for fault in found]
    return faults


def decimal_fraction(text: str) -> Fraction:
    """Read a decimal number exactly."""
    return Fraction(parse_decimal(text))
