"""What every route can reach: the database, the settings, the clock, Redis."""

from dataclasses import dataclass, field
from typing import Any

from litestar.connection import ASGIConnection
from redis.asyncio import Redis

from nexus.kit.clock import SYSTEM_CLOCK, Clock
from nexus.platform.db import Database
from nexus.platform.settings import Settings


@dataclass
class WebState:
    """The shared parts of one web process."""

    database: Database
    settings: Settings
    clock: Clock = SYSTEM_CLOCK
    redis: Redis | None = None
    parts: dict[str, Any] = field(default_factory=dict)
    """Further parts, by the name of the slice that put them there."""


def web_state(connection: ASGIConnection[Any, Any, Any, Any]) -> WebState:
    """Return the shared parts of the process that serves this request."""
    state = connection.app.state.nexus
    assert isinstance(state, WebState)  # noqa: S101
    return state
