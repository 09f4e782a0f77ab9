"""Visits to the site: browsers that tests use in turn, and what their pages complained about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, BrowserContext, CDPSession, Error, Page, ViewportSize

PATIENCE = 30_000
"""Milliseconds until a wait gives up: a busy machine is slow, and slow is not wrong."""
_KEPT = "cookies,local_storage,indexeddb,cache_storage,service_workers"
"""What a page may leave in a browser."""


@dataclass
class Seat:
    """A context and a page in it that waits for its next visit."""

    context: BrowserContext
    page: Page


@dataclass
class Seats:
    """Where visitors sit: a seat for each who visits at the same time.

    A seat is given on once nothing of its last visit is left but the scripts, compiled. A new page compiles them all anew:
    it opens in twice the processor's time, one in a new context in more.
    """

    browser: Browser
    url: str
    _free: list[Seat] = field(default_factory=list)

    async def take(self) -> Seat:
        """Return a seat that nobody sits in, signed in nowhere."""
        if self._free:
            return self._free.pop()
        context = await self.browser.new_context(accept_downloads=True)
        return Seat(context, await context.new_page())

    async def give_back(self, seat: Seat) -> None:
        """Clear what was left; a seat that cannot be cleared is thrown away."""
        try:
            await self._clear(seat)
        except Error:
            await seat.context.close()
        else:
            self._free.append(seat)

    async def _clear(self, seat: Seat) -> None:
        for page in seat.context.pages:
            if page is not seat.page:
                await page.close()
        if seat.page.is_closed():
            seat.page = await seat.context.new_page()
        await seat.page.unroute_all(behavior="ignoreErrors")
        await seat.page.goto("about:blank")
        await seat.context.clear_cookies()
        await seat.context.clear_permissions()
        session = await seat.context.new_cdp_session(seat.page)
        await session.send("Storage.clearDataForOrigin", {"origin": self.url, "storageTypes": _KEPT})
        await session.detach()


@dataclass
class Visit:
    """One person's browser: opens pages and remembers what they complained about."""

    seat: Seat
    url: str
    viewport: ViewportSize
    zone: str
    media: dict[str, Any]
    complaints: list[str] = field(default_factory=list)
    _listeners: list[tuple[Page, Any, Any]] = field(default_factory=list)
    _sessions: list[CDPSession] = field(default_factory=list)

    @property
    def context(self) -> BrowserContext:
        """Its cookies, and requests that are sent with them."""
        return self.seat.context

    async def page(self, path: str = "/", **options: Any) -> Page:
        """Open a path of the site, in the page that waits if it is the first."""
        page = await self.context.new_page() if self._listeners else self.seat.page
        page.set_default_timeout(PATIENCE)
        self._listen(page, "pageerror", lambda error: self.complaints.append(f"{path}: {error}"))
        self._listen(page, "console", lambda message: message.type == "error" and self._console(path, message.text))
        self._listen(page, "request", lambda request: self._request(path, request.url))
        await page.set_viewport_size(self.viewport)
        await page.emulate_media(**{"color_scheme": "light", "reduced_motion": "no-preference"} | self.media)
        # Of the page and not of its context, which is then of use to visits from everywhere.
        session = await self.context.new_cdp_session(page)
        await session.send("Emulation.setTimezoneOverride", {"timezoneId": self.zone})
        self._sessions.append(session)
        await page.goto(self.url + path, **options)
        return page

    async def end(self) -> None:
        """Listen no longer, and give the page its own time zone back."""
        for page, event, listener in self._listeners:
            page.remove_listener(event, listener)
        for session in self._sessions:
            with suppress(Error):  # the page may be closed, its session with it
                await session.detach()

    def _listen(self, page: Page, event: Any, listener: Any) -> None:
        page.on(event, listener)
        self._listeners.append((page, event, listener))

    def _console(self, path: str, message: str) -> None:
        # A refusal is the server's answer, not a fault of the page.
        if "Failed to load resource" not in message:
            self.complaints.append(f"{path}: {message}")

    def _request(self, path: str, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.complaints.append(f"{path} asks somebody else: {url}")


@asynccontextmanager
async def slowed(page: Page, times: int) -> AsyncIterator[None]:
    """Let a page have the processor for one part in so many, for a while."""
    session = await page.context.new_cdp_session(page)
    await session.send("Emulation.setCPUThrottlingRate", {"rate": times})
    try:
        yield
    finally:
        await session.send("Emulation.setCPUThrottlingRate", {"rate": 1})
        await session.detach()
