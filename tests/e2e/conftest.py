"""A whole node with a week of calls in it, and the system's Chromium in front of it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, StorageState, ViewportSize, async_playwright, expect

from tests.e2e.forwarded import Forwarded, forward, sandbox_process
from tests.e2e.limited import Limited, limit
from tests.e2e.traffic import COUNT, send_week
from tests.e2e.visits import PATIENCE, Seats, Visit
from tests.races.node import Node, until

CHROMIUM = os.environ.get("NEXUS_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
]  # fmt: skip
BUILT = Path(__file__).parents[2] / "src" / "nexus" / "entry" / "web" / "index.html"
WIDE: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
expect.set_options(timeout=PATIENCE)


def rfc(at: datetime) -> str:
    """An instant as the address carries it."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Site:
    """A running node and its administrator's way in."""

    node: Node
    email: str
    password: str
    key: str
    state: StorageState
    """The cookies of somebody who is signed in."""
    span: dict[str, str]
    """`from` and `to` of a range with the week's calls and no others: tests that send more do not move its figures."""

    @property
    def url(self) -> str:
        return self.node.url


@pytest.fixture(scope="session")
def sandbox() -> Iterator[str]:
    """Where a sandbox provider listens, which the node's gateway may reach."""
    with sandbox_process() as address:
        yield address


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, prepared: Path, sandbox: str) -> Iterator[Node]:
    """A running `nexus up` that no browser has visited yet."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: `apt-get install chromium`, or name one in NEXUS_TEST_CHROMIUM")
    if not BUILT.exists():
        pytest.skip("the web application is not built: `make web`")
    node = Node(
        tmp_path_factory.mktemp("e2e") / "node",
        environment={"NEXUS_WORKERS": "1", "NEXUS_GATEWAY_ALLOW": sandbox},
        prepared=prepared,
    )
    node.start()
    try:
        asyncio.run(node.wait_ready())
        yield node
    finally:
        # Stopping cleanly is tested elsewhere and waits for open streams.
        if node.process is not None:
            asyncio.run(node.kill_everything())
        node.sweep()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(node: Node) -> AsyncIterator[Browser]:
    """The system's Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(node: Node, browser: Browser) -> Site:
    """The node with a week of calls, and a session of its administrator."""
    first = node.first_start()
    await send_week(node.url, first["access_key"])
    span = {"from": "2026-01-01T00:00:00Z", "to": rfc(datetime.now(UTC))}

    async def is_stored() -> bool:
        found = await node.ask("/api/metering/summary", **span)
        return bool(found["total"]["requests"] == COUNT)

    await until(is_stored, "the week is stored")
    context = await browser.new_context()
    await context.request.post(
        f"{node.url}/api/identity/sign-in",
        data={"email": first["admin_email"], "password": first["admin_password"]},
        headers={"origin": node.url},
    )
    state = await context.storage_state()
    await context.close()
    return Site(node, first["admin_email"], first["admin_password"], first["access_key"], state, span)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def forwarded(site: Site, sandbox: str, browser: Browser) -> AsyncIterator[Forwarded]:
    """An organization of its own, whose calls go through the gateway to the sandbox."""
    context = await browser.new_context(storage_state=site.state)
    yield await forward(site.url, sandbox, context.request)
    await context.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def limited(site: Site, browser: Browser) -> AsyncIterator[Limited]:
    """An organization of its own, whose calls are limited."""
    context = await browser.new_context(storage_state=site.state)
    yield await limit(site.url, context.request)
    await context.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def seats(site: Site, browser: Browser) -> Seats:
    """Where visitors sit in turn."""
    return Seats(browser, site.url)


@pytest_asyncio.fixture(loop_scope="session")
async def visit(site: Site, seats: Seats) -> AsyncIterator[Any]:
    """Make visits: signed in, wide and in Berlin unless said otherwise. A page's own complaint fails the test."""
    made: list[Visit] = []

    async def make(
        *, signed_in: bool = True, viewport: ViewportSize = WIDE, zone: str = "Europe/Berlin", **media: Any
    ) -> Visit:
        found = Visit(await seats.take(), site.url, viewport, zone, media)
        made.append(found)
        if signed_in:
            await found.context.add_cookies(site.state["cookies"])
        await found.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site.url)
        return found

    yield make
    for found in made:
        await found.end()
        await seats.give_back(found.seat)
    assert [line for found in made for line in found.complaints] == []
