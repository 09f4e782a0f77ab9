"""Questions to the meter whose answers are shared by everybody who looks at the same page, for as long as they hold.

An answer is taken out of use when calls of the organization are stored (ingest raises its version), and within a second
when prices change or stored calls are priced again. It is never older than its kind's lifetime.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from nexus.dashboards import store
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.metering import service as meter
from nexus.metering.parameters import read_question
from nexus.metering.types import Question
from nexus.platform.db import Database
from nexus.platform.redis.cache import Kept, Kind, ReadCache

Parameters = Mapping[str, Sequence[str]]
LAST = {
    "15m": timedelta(minutes=15), "1h": timedelta(hours=1), "6h": timedelta(hours=6), "24h": timedelta(hours=24),
    "7d": timedelta(days=7), "30d": timedelta(days=30), "90d": timedelta(days=90),
}  # fmt: skip
PRICES_SECONDS = 1.0
_MANY = 10_000


def kind_of(question: Question) -> Kind:
    """Return how long an answer may be kept: by the length of its points, or of its range where it has none."""
    if question.interval is not None:
        if question.interval in {"1m", "5m", "15m"}:
            return Kind.METRICS_REALTIME
        return Kind.METRICS_HOURLY if question.interval == "1h" else Kind.METRICS_DAILY
    length = question.end - question.start
    if length <= timedelta(hours=6):
        return Kind.METRICS_REALTIME
    return Kind.METRICS_HOURLY if length <= timedelta(days=7) else Kind.METRICS_DAILY


def with_range(parameters: Parameters, at: datetime) -> Parameters:
    """Put the range into the parameters where `last` names it; so everybody who asks for it asks the same question."""
    last = parameters.get("last")
    if last is None:
        return parameters
    rest = {name: values for name, values in parameters.items() if name != "last"}
    if len(last) != 1 or last[0] not in LAST or "from" in rest or "to" in rest:
        message = f"give one of {', '.join(LAST)}, without `from` and `to`"
        raise InvalidRequest(f"last: {message}", faults=[FieldFault("last", message)])
    start = at - LAST[last[0]]
    return {**rest, "from": [_text(start)], "to": [_text(at)]}


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


class CachedMeter:
    """The meter's questions of one process, through the cache."""

    def __init__(self, database: Database, cache: ReadCache) -> None:
        self._database = database
        self._cache = cache
        self._prices: dict[UUID, tuple[float, str]] = {}

    async def ask(self, organization_id: UUID, parameters: Parameters, at: datetime, *, is_series: bool) -> Kept:
        """Answer a summary or a series as JSON. Faulty parameters are refused before anything is looked up."""
        question, _ = read_question(with_range(parameters, at), at, is_series=is_series)

        async def compute() -> bytes:
            async with self._database.tenant(organization_id, readonly=True, snapshot=True) as connection:
                answer = await (meter.series if is_series else meter.summary)(connection, organization_id, question)
            return msgspec.json.encode(answer)

        asked = {name: sorted(values) for name, values in parameters.items() if name != "format"}
        text = msgspec.json.encode([is_series, sorted(asked.items())])
        salt = await self._prices_version(organization_id)
        return await self._cache.read(organization_id, kind_of(question), text, compute, salt=salt)

    async def _prices_version(self, organization_id: UUID) -> str:
        """Return what says that costs have changed; looked up once a second at most."""
        now = time.monotonic()
        known = self._prices.get(organization_id)
        if known is None or now - known[0] >= PRICES_SECONDS:
            async with self._database.tenant(organization_id, readonly=True) as connection:
                version = await store.prices_version(connection, organization_id)
            if len(self._prices) >= _MANY:
                self._prices.clear()
            known = self._prices[organization_id] = (now, version)
        return known[1]
