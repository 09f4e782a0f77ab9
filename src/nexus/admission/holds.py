"""What became of one held call, told from the trail: what each limit had, was charged, and got back.

A hold's transactions carry its id, so this reads them and keeps nothing of its own. What the trail cannot tell is null: what a
window had whose limit is in force no more, and what came back to a window that was over when the call ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.admission import store
from nexus.admission.errors import UnknownHold
from nexus.admission.view_types import Hold, HoldLimit, HoldState
from nexus.contracts.limits import Limit
from nexus.dataplane.decide.scripts import keys_of
from nexus.platform.db import Connection

_ENDS: Mapping[str, HoldState] = {"settle": "settled", "release": "released", "reap": "expired"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def explain(
    connection: Connection, redis: Redis | None, organization_id: UUID, limits: Sequence[Limit], hold_id: str
) -> Hold:
    """Tell what became of a hold; `UnknownHold` where the trail has none of this name."""
    rows = await store.rows(connection, "transactions_of_hold", organization_id, hold_id)
    charges = [row for row in rows if row["kind"] == "charge"]
    if not charges:
        raise UnknownHold
    ends = [row for row in rows if row["kind"] in _ENDS]
    known = {limit.id.hex: limit for limit in limits}
    state: HoldState = _ENDS[ends[-1]["kind"]] if ends else "open"
    return Hold(
        hold_id, state, charges[0]["occurred_at"], ends[-1]["occurred_at"] if ends else None,
        None if ends else await _expiry(redis, organization_id, hold_id),
        [_of_limit(row, [end for end in ends if end["bucket"] == row["bucket"]], bool(ends), known) for row in charges],
    )  # fmt: skip


def _of_limit(charge: Any, ends: Sequence[Any], has_ended: bool, known: Mapping[str, Limit]) -> HoldLimit:
    limit_id, _, subject = charge["bucket"].partition(":")
    limit = known.get(limit_id)
    # A bucket's level falls by a charge; of windows and calls in flight, what is taken rises.
    is_bucket = charge["changed"] < 0 if limit is None else limit.rate is not None
    sign = -1 if is_bucket else 1
    charged = sign * charge["changed"]
    had = left = None
    if is_bucket:
        had, left = charge["level"] - charge["changed"], charge["level"]
    elif limit is not None:
        had, left = limit.capacity - charge["level"] + charge["changed"], limit.capacity - charge["level"]
    settled = None
    if ends:
        settled = charged + sum(sign * end["changed"] for end in ends)
    return HoldLimit(
        charge["bucket"], limit.name if limit else "", limit.scope if limit else "",
        subject or (limit.subject or "" if limit else ""), limit.dimension if limit else "", limit.scale if limit else 1,
        had, charged, left, settled, None if settled is None else charged - settled, has_ended and not ends,
    )  # fmt: skip


async def _expiry(redis: Redis | None, organization_id: UUID, hold_id: str) -> datetime | None:
    """Return when an open hold ends by itself; None where Redis cannot say."""
    try:
        at_us = None if redis is None else await redis.zscore(keys_of(organization_id).open_holds, hold_id)
    except (RedisError, OSError, TimeoutError):
        return None
    return None if at_us is None else _EPOCH + timedelta(microseconds=int(at_us))
