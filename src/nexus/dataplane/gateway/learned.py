"""Limits as providers tell them in their answers' headers: the last that was said to each credential, and when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import msgspec

_NAMED = re.compile(
    r"(?:anthropic-ratelimit-(?P<a_kind>[a-z-]+)-(?P<a_part>limit|remaining|reset)"
    r"|x-ratelimit-(?P<part>limit|remaining|reset)(?:-(?P<kind>[a-z-]+?))?(?:-(?P<window>minute|day|month))?)"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
MAX_CREDENTIALS = 10_000


class LearnedLimit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One limit as a provider told it: `kind` is what is limited, such as `requests` or `tokens`."""

    kind: str
    limit: int | None = None
    remaining: int | None = None
    resets_in_seconds: float | None = None


class LearnedLimits(msgspec.Struct, frozen=True):
    """What a provider last said about one credential."""

    at: datetime
    status_code: int
    limits: list[LearnedLimit]
    retry_after_seconds: float | None = None


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
    limits = [
        LearnedLimit(
            kind,
            _whole(item.get("limit")),
            _whole(item.get("remaining")),
            _seconds(item.get("reset"), at),
        )
        for kind, item in sorted(parts.items())
    ]
    retry_after = _seconds(headers.get("retry-after"), at) if status_code in {429, 503, 529} else None
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
    """The last limits of each credential this process used."""

    def __init__(self) -> None:
        self._by_credential: dict[UUID, LearnedLimits] = {}
        self.changed: set[UUID] = set()

    def note(self, credential_id: UUID, headers: Mapping[str, str], *, status_code: int, at: datetime) -> None:
        """Keep what an answer tells."""
        found = read_limits(headers, status_code=status_code, at=at)
        if found is None:
            return
        if len(self._by_credential) >= MAX_CREDENTIALS:
            self._by_credential.clear()
        self._by_credential[credential_id] = found
        self.changed.add(credential_id)

    def get(self, credential_id: UUID) -> LearnedLimits | None:
        """Return what was last told to a credential."""
        return self._by_credential.get(credential_id)
