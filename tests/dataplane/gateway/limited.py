"""Limits of a gateway's organization, set by a test, and how they stand in Redis."""

from __future__ import annotations

import asyncio
import dataclasses
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nexus.contracts.limits import Limit, LimitTable
from nexus.dataplane.decide.gate import Gate
from nexus.dataplane.decide.scripts import BucketState, keys_of
from nexus.metering import service as metering
from tests.dataplane.decide.cases import SECOND
from tests.dataplane.decide.test_engine import Node as Engine

if TYPE_CHECKING:
    from tests.dataplane.gateway.conftest import Node

DAY = 86_400 * SECOND


class Limited:
    """A node whose organization has limits."""

    def __init__(self, node: Node, engine: Engine) -> None:
        self.node = node
        self._engine = engine
        node.gateway.gate = Gate(
            engine.engine, keys=lambda: node.snapshots.keys, prices=lambda: node.snapshots.prices.book
        )

    def have(self, *limits: Limit) -> None:
        """Put limits in force."""
        mine = tuple(dataclasses.replace(item, organization_id=self.node.organization_id) for item in limits)
        self._engine.table = LimitTable(1, MappingProxyType({self.node.organization_id: mine}))

    async def calls(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many calls are stored; returns them as callers of the API see them, in the order of their ids."""
        node, organization_id = self.node, self.node.organization_id
        rows = await node.calls(count)
        async with node.database.tenant(organization_id, readonly=True) as connection:
            return [await metering.call(connection, organization_id, row["id"]) for row in rows]

    async def used(self, number: int = 1) -> tuple[int, int]:
        """What is taken of a limit, and how much of that is still held."""
        data = await self._engine.client.get(keys_of(self.node.organization_id).buckets + f"{number:032x}")
        if data is None:
            return 0, 0
        state = BucketState.unpack(data)
        return state.capacity - state.level, state.held

    async def settled(self, number: int = 1) -> int:
        """Wait until nothing is held any more; returns what is taken."""
        for _ in range(500):
            taken, held = await self.used(number)
            if not held:
                return taken
            await asyncio.sleep(0.02)
        raise AssertionError(f"{held} are held for ever")
