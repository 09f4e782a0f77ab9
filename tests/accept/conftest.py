"""The acceptance suite's data, and a whole node that is fed with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.races.node import Node

_LONGEST_SECONDS = 3600
"""What a test may take before it counts as hung: there is more data here, and every variant of what is tried."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests longer than others."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_LONGEST_SECONDS))


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
