"""Limits as a provider told them to a credential: read by the gateway from answers, shown by the control plane."""

from __future__ import annotations

from datetime import datetime

import msgspec


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
