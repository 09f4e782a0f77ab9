"""Limits as providers tell them in their answers' headers: the last that was said to each credential, and when."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.contracts.gateway import CredentialEntry
from nexus.contracts.learned import LearnedLimit, LearnedLimits
from nexus.contracts.redis_keys import learned_limits
from nexus.platform.tasks import Repeated

_NAMED = re.compile(
    r"(?:anthropic-ratelimit-(?P<a_kind>[a-z-]+)-(?P<a_part>limit|remaining|reset)"
    r"|x-ratelimit-(?P<part>limit|remaining|reset)(?:-(?P<kind>[a-z-]+?))?(?:-(?P<window>minute|day|month))?)"
)
_WAITS = frozenset({429, 503, 529})
"""Statuses with which `retry-after` tells of a limit."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
MAX_CREDENTIALS = 10_000
KEPT_SECONDS = 86_400
"""How long the control plane can show what was told: after a day it says nothing about now."""
_EVERY_SECONDS = 1.0
_TIMEOUT_SECONDS = 1.0

log = structlog.get_logger(__name__)


def read_limits(headers: Mapping[str, str], *, status_code: int, at: datetime) -> LearnedLimits | None:
    """Read what headers (names in lower case) tell of limits; None where they tell nothing."""
    parts: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        if "ratelimit" not in name:
            continue
        found = _NAMED.fullmatch(name)
        if found is None:
            continue
        kind = found["a_kind"] or found["kind"] or "requests"
        if found["window"]:
            kind = f"{kind}_per_{found['window']}"
        parts.setdefault(kind, {})[found["a_part"] or found["part"]] = value
    if not parts and status_code not in _WAITS:
        return None
    limits = [
        LearnedLimit(
            kind,
            _whole(item.get("limit")),
            _whole(item.get("remaining")),
            _seconds(item.get("reset"), at),
        )
        for kind, item in sorted(parts.items())
    ]
    retry_after = _seconds(headers.get("retry-after"), at) if status_code in _WAITS else None
    if not limits and retry_after is None:
        return None
    return LearnedLimits(at, status_code, limits, retry_after)


def _whole(text: str | None) -> int | None:
    # Some write a list, whose first item is the number: `100, 100;w=60`.
    digits = (text or "").partition(",")[0].partition(";")[0].strip()
    if digits.isdecimal() and len(digits) < 16:
        return int(digits)
    return int(float(digits)) if re.fullmatch(r"\d{1,15}\.\d+", digits) else None


def _seconds(text: str | None, at: datetime) -> float | None:
    """Read `12`, `6m0s`, `250ms`, or an instant; times gone by are 0."""
    if not text:
        return None
    text = text.strip()
    if re.fullmatch(r"\d{1,12}(\.\d+)?", text):
        number = float(text)
        # Larger numbers are no spans but instants, in seconds or milliseconds since 1970.
        if number > 1e11:
            return max(0.0, number / 1000 - at.timestamp())
        return max(0.0, number - at.timestamp()) if number > 1e9 else number
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (moment - at).total_seconds()) if moment.tzinfo is not None else None


class LimitBook:
    """The last limits of each credential this process used, told to the control plane through Redis.

    Redis away: what was learned waits, the newest in place of the older. Of two processes the one that tells last is shown;
    what a provider says is of that moment anyway.
    """

    def __init__(self, redis: Redis | None = None) -> None:
        self._redis = redis
        self._by_credential: dict[UUID, LearnedLimits] = {}
        self._untold: dict[tuple[UUID, UUID], LearnedLimits] = {}
        self._telling = Repeated(self.tell, every_seconds=_EVERY_SECONDS, name="gateway-learned")

    def note(self, credential: CredentialEntry, headers: Mapping[str, str], *, status_code: int, at: datetime) -> None:
        """Keep what an answer tells."""
        found = read_limits(headers, status_code=status_code, at=at)
        if found is None:
            return
        if len(self._by_credential) >= MAX_CREDENTIALS:
            self._by_credential.clear()
            self._untold.clear()
        self._by_credential[credential.id] = found
        if self._redis is not None:
            self._untold[credential.organization_id, credential.id] = found

    def get(self, credential_id: UUID) -> LearnedLimits | None:
        """Return what was last told to a credential."""
        return self._by_credential.get(credential_id)

    def start(self) -> None:
        """Begin to tell."""
        if self._redis is not None:
            self._telling.start()

    async def stop(self) -> None:
        """Tell what is left, if Redis answers at once, and stop."""
        await self._telling.stop()

    async def tell(self) -> None:
        """Put what was learned where the control plane reads it."""
        if self._redis is None or not self._untold:
            return
        untold, self._untold = self._untold, {}
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                pipeline = self._redis.pipeline(transaction=False)
                for (organization_id, credential_id), found in untold.items():
                    pipeline.set(
                        learned_limits(organization_id, credential_id), msgspec.json.encode(found), ex=KEPT_SECONDS
                    )
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._untold = {**untold, **self._untold}
            log.debug("learned limits wait for Redis", error=repr(error))
