"""Whole nodes for the tests of the entry: `nexus up` as a person starts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.races.node import Node

EMAIL = "root@acme.example"
PASSWORD = "correct horse battery staple"
KEY = "nx_bootstrap-0123456789-0123456789-0123456789"


@pytest.fixture
async def make_node(tmp_path: Path) -> AsyncIterator[Callable[..., Node]]:
    """Makes nodes in folders of the test; what it leaves running is ended."""
    made: list[Node] = []

    def make(name: str = "node", *, prepared: Path | None = None, **environment: str) -> Node:
        node = Node(tmp_path / name, environment={"NEXUS_WORKERS": "1", **environment}, prepared=prepared)
        made.append(node)
        return node

    yield make
    for node in made:
        node.sweep()


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running node whose first administrator, password and key were chosen."""
    chosen = {"NEXUS_ADMIN_EMAIL": EMAIL, "NEXUS_ADMIN_PASSWORD": PASSWORD, "NEXUS_BOOTSTRAP_KEY": KEY}
    node = Node(tmp_path_factory.mktemp("entry") / "node", environment=chosen)
    node.start()
    try:
        asyncio.run(node.wait_ready())
        yield node
    finally:
        node.sweep()
