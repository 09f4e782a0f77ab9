"""The acceptance suite's data, and a whole node that is fed with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.races.node import Node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running `nexus up` in a folder of its own."""
    node = Node(tmp_path_factory.mktemp("accept") / "node")
    node.start()
    try:
        asyncio.run(node.wait_ready())
        yield node
        assert asyncio.run(node.stop()) == 0
    finally:
        node.sweep()
