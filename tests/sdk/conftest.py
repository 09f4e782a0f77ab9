"""A whole node for the client to send to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.races.node import Node, until


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[Node]:
    """A running `nexus up` in a folder of its own."""
    node = Node(tmp_path_factory.mktemp("sdk") / "node", prepared=prepared)
    node.start()
    try:
        asyncio.run(until(node.is_ready, "the node is ready", within_seconds=300))
        yield node
    finally:
        node.sweep()
