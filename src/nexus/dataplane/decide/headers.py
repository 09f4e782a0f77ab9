"""RateLimit headers: `RateLimit-Policy`, `RateLimit` (IETF draft, structured fields) and `Retry-After`.

`"app-iops";q=100;w=1` says: 100 in 1 second; `"app-iops";r=50;t=1` says: 50 are left, all again in 1 second. Operations are
told in whole operations and money in whole units of its currency, rounded so that nobody is promised more than there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

from nexus.contracts.limits import MICRO, Limit
from nexus.dataplane.decide.purses import Page, Standings
from nexus.dataplane.decide.types import Decision, LimitStanding
from nexus.kit.money import NANOS

_SECOND_US = 1_000_000
_LARGEST = 999_999_999_999_999
"""Integers of structured fields have 15 digits."""


def per_unit(limit: Limit) -> int:
    """Return how many of a limit's units make one of what people count in."""
    if limit.dimension == "operations":
        return MICRO
    return NANOS // limit.scale if limit.dimension == "money" else 1


def _decimal(units: int, per: int) -> str:
    text = format(Decimal(units) / per, "f") if per > 1 else str(units)
    return text.rstrip("0").rstrip(".") if "." in text else text


def decimal_units(units: int, limit: Limit) -> str:
    """Write an amount of a limit as people do: operations and money as decimals."""
    return _decimal(units, per_unit(limit))


def decimal_operations(micro: int) -> str:
    """Write micro-operations as operations."""
    return _decimal(micro, MICRO)


def _ceil(amount: int, per: int) -> int:
    return -(-amount // per)


def _policy(limit: Limit) -> str:
    # What a share is changes from one second to the next.
    return _lasting_policy(limit) if limit.share is None else _policy_now(limit)


def _policy_now(limit: Limit) -> str:
    quota = min(limit.present_capacity // per_unit(limit), _LARGEST)
    text = f'"{limit.name}";q={quota}'
    if limit.rate is not None:
        microseconds = limit.until_full_us(0)
        text += f";w={max(1, _ceil(microseconds, _SECOND_US))}"
    elif limit.period is not None:
        text += f";w={_PERIOD_SECONDS[limit.period]}"
    return text


_lasting_policy = lru_cache(maxsize=4096)(_policy_now)

_PERIOD_SECONDS = {
    "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800, "month": 2_592_000, "quarter": 7_776_000, "year": 31_536_000,
}  # fmt: skip


def _left(item: LimitStanding) -> str:
    left = max(0, item.left or 0) // per_unit(item.limit)
    text = f'"{item.limit.name}";r={min(left, _LARGEST)}'
    return text + (f";t={_ceil(item.reset_us, _SECOND_US)}" if item.reset_us > 0 else "")


def _older(decision: Decision, told: Sequence[LimitStanding]) -> list[tuple[bytes, bytes]]:
    """Tell of one limit, as these headers can: the one that refused, or else the one of which the least is left."""
    refused = [item for item in told if item.limit is decision.refused_by]
    item = min(refused or told, key=lambda item: max(0, item.left or 0) / item.limit.present_capacity)
    per = per_unit(item.limit)
    return [
        (b"x-ratelimit-limit", str(item.limit.present_capacity // per).encode()),
        (b"x-ratelimit-remaining", str(max(0, item.left or 0) // per).encode()),
        (b"x-ratelimit-reset", str(max(0, _ceil(item.reset_us, _SECOND_US))).encode()),
    ]


def rate_limit_headers(decision: Decision) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell a caller how its limits stand; none where it has no limits."""
    if isinstance(decision.standings, Standings):
        return _headers_of_page(decision.standings.page)
    known = [item for item in decision.standings if not item.limit.is_shadow]
    headers: list[tuple[bytes, bytes]] = []
    if known:
        headers.append((b"ratelimit-policy", ", ".join(_policy(item.limit) for item in known).encode()))
        told = [item for item in known if item.left is not None]
        if told:
            headers.append((b"ratelimit", ", ".join(map(_left, told)).encode()))
            if decision.has_older_headers:
                headers += _older(decision, told)
    if decision.outcome in {"refused", "unavailable"}:
        headers.append((b"retry-after", str(retry_after_seconds(decision)).encode()))
    return headers


def _headers_of_page(page: Page) -> list[tuple[bytes, bytes]]:
    """Return the headers of calls that are paid for by one purse, made once for all of them.

    They say what is left when all that was set aside is spent, so nobody is promised more than there is.
    """
    if page.headers is None:
        standings = page.standings(None, [0] * len(page.taken))
        has_older = page.plan.table.has_older_headers
        page.headers = rate_limit_headers(Decision("admitted", standings, has_older_headers=has_older))
    return page.headers


def retry_after_seconds(decision: Decision) -> int:
    """Return after how many whole seconds to try again."""
    return max(1, _ceil(decision.retry_us, _SECOND_US))
