"""Product analytics of Nexus's own use: counted per day here, told to nobody else, off by `analytics.enabled`.

An event and its page come from closed lists and nothing else is taken, so that no text of a person, no id and no address
can get in. Who it was is kept as a keyed hash that is another one each month.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

import msgspec

from nexus.dashboards import store
from nexus.platform.db import Connection
from nexus.platform.db.configuration import get_configuration

Event = Literal[
    "page_viewed", "range_changed", "chart_zoomed", "filter_used", "figure_followed", "call_opened", "exported",
    "searched", "palette_used", "organization_switched", "theme_changed", "snippet_copied", "help_opened",
]  # fmt: skip
Page = Literal[
    "overview", "calls", "costs", "keys", "members", "providers", "prices", "audit", "settings", "limits", "mcp",
    "errors", "health", "models", "alerts", "budgets", "status", "sign-in", "other",
]  # fmt: skip
EVENTS: tuple[str, ...] = get_args(Event)
PAGES: tuple[str, ...] = get_args(Page)
LONGEST_MS = 3_600_000


class UsageDay(msgspec.Struct, frozen=True):
    """How often something was done on a page on a day (UTC), by how many people, for how long together."""

    day: str
    event: str
    page: str
    events: int
    visitors: int
    duration_ms: int


class Made(msgspec.Struct, frozen=True):
    """How many of something were made on a day (UTC): alert rules, keys, members; from the audit log."""

    day: str
    what: str
    made: int


class Usage(msgspec.Struct, frozen=True):
    """How Nexus is used; empty while analytics are off."""

    is_enabled: bool
    days: list[UsageDay]
    made: list[Made]


def visitor_of(secret: str, organization_id: UUID, user_id: UUID, at: datetime) -> bytes:
    """Return who it was, as a text that cannot be turned back and is another one next month."""
    text = f"{at:%Y-%m}".encode() + organization_id.bytes + user_id.bytes
    return hmac.digest(secret.encode(), b"nexus usage visitor" + text, "sha256")[:16]


async def is_enabled(connection: Connection) -> bool:
    """Tell whether use is measured."""
    return bool((await get_configuration(connection))["analytics.enabled"])


async def count(
    connection: Connection, organization_id: UUID, visitor: bytes, events: Sequence[tuple[str, str, int]]
) -> bool:
    """Count events (name, page, milliseconds) of today; False while analytics are off, and then nothing is kept."""
    if not await is_enabled(connection):
        return False
    await store.count_usage(connection, organization_id, visitor, events)
    return True


async def report(connection: Connection, organization_id: UUID, days: int) -> Usage:
    """Return the use of the last days and of today."""
    if not await is_enabled(connection):
        return Usage(False, [], [])
    return Usage(
        True,
        [UsageDay(**row) for row in await store.usage(connection, organization_id, days)],
        [Made(**row) for row in await store.made(connection, organization_id, days)],
    )
