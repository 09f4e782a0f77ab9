"""Copies of the bodies of one attempt, made as they pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from nexus.contracts.bodies import BodyRule
from nexus.dataplane.gateway.body_text import MARGIN_BYTES
from nexus.dataplane.gateway.metrics import BodyMetrics

OVERHEAD_BYTES = 1024
"""What a call takes beside its bytes."""


class Room(Protocol):
    """The memory that the bodies of all calls share, and what is counted of them."""

    metrics: BodyMetrics

    def hold(self, count: int) -> bool:
        """Take room for bytes; False when there is none."""

    def release(self, count: int) -> None:
        """Give room back."""


class Side:
    """The first bytes of a body that passes."""

    __slots__ = ("encoding", "held", "is_cut", "limit", "media_type", "size")

    def __init__(self, limit: int, headers: Mapping[str, str]) -> None:
        self.limit = limit
        self.media_type = headers.get("content-type", "")
        self.encoding = headers.get("content-encoding", "")
        self.held = bytearray()
        self.is_cut = False
        self.size = 0


class Capture:
    """The bodies of one attempt, while it runs."""

    __slots__ = ("_room", "rule", "sides")

    def __init__(self, room: Room, rule: BodyRule) -> None:
        self._room = room
        self.rule = rule
        self.sides: dict[str, Side] | None = {}
        """None: what was held is given up."""

    def begin(self, side: str, headers: Mapping[str, str]) -> None:
        """Say what a body says of itself."""
        if self.sides is not None:
            self.sides[side] = Side(self.rule.max_bytes + MARGIN_BYTES, headers)

    def add(self, side: str, chunk: bytes) -> None:
        """Take a copy of the bytes that pass, as far as they are wanted."""
        if self.sides is None:
            return
        kept = self.sides[side]
        kept.size += len(chunk)
        room = kept.limit - len(kept.held)
        if len(chunk) > room:
            kept.is_cut = True
            chunk = chunk[:room]
        if not chunk:
            return
        if self._room.hold(len(chunk)):
            kept.held += chunk
        else:
            self.give_up("memory")

    async def passing(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass a request's body on, and take a copy."""
        async for chunk in chunks:
            self.add("request", chunk)
            yield chunk

    def give_up(self, reason: str | None = None) -> None:
        """Keep nothing; with a reason, it is counted as a loss."""
        if self.sides is not None:
            self._room.release(self.held_bytes)
            self.sides = None
            if reason is not None:
                self._room.metrics.lost.labels(reason).inc()

    @property
    def held_bytes(self) -> int:
        """How many bytes are held."""
        return OVERHEAD_BYTES + sum(len(side.held) for side in (self.sides or {}).values())
