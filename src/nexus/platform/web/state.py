"""What every route can reach: the database, the settings, the clock, Redis."""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from litestar.connection import ASGIConnection
from redis.asyncio import Redis

from nexus.kit.clock import SYSTEM_CLOCK, Clock
from nexus.platform.db import Database
from nexus.platform.settings import Settings

Part = TypeVar("Part")
_NAME = "nexus"


@dataclass
class WebState:
    """The shared parts of one web process."""

    database: Database
    settings: Settings
    clock: Clock = SYSTEM_CLOCK
    redis: Redis | None = None
    _parts: dict[type, object] = field(default_factory=dict)

    def part(self, kind: type[Part], make: Callable[[], Part]) -> Part:
        """Return the process's one part of a kind; it is made when it is first asked for."""
        if kind not in self._parts:
            self._parts[kind] = make()
        return cast("Part", self._parts[kind])

    def put(self, part: object) -> None:
        """Set the process's one part of its kind."""
        self._parts[type(part)] = part


def give_web_state(scope: MutableMapping[str, Any], state: WebState) -> None:
    """Put the parts of the process that serves a request where `web_state` finds them."""
    scope.setdefault("state", {})[_NAME] = state


def web_state(connection: ASGIConnection[Any, Any, Any, Any]) -> WebState:
    """Return the shared parts of the process that serves this request."""
    state = connection.scope["state"][_NAME]
    assert isinstance(state, WebState)
    return state
