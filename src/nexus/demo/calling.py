"""Sends requests through the gateway, many at a time, as customers' programs do; also those who leave before the end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Self

import aiohttp

from nexus.demo.requests import Request

_AT_ONCE = 200
_TOTAL_SECONDS = 120.0
_KNOWN_SECONDS = 30.0


class Caller:
    """Calls from a thread of its own. As a context: at its end, what still runs is given up."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="demo-calls", daemon=True)
        self._session: aiohttp.ClientSession | None = None
        self._running: set[Future[None]] = set()
        self.ends: Counter[str] = Counter()
        """How calls ended: by status code, `left`, or `failed` where nothing answered."""

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for future in list(self._running):
            future.cancel()
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def call(self, key: str, request: Request) -> None:
        """Send a request; returns at once. Whatever comes of it, nothing is raised: it is counted in `ends`."""
        future = asyncio.run_coroutine_threadsafe(self._call(key, request), self._loop)
        self._running.add(future)
        future.add_done_callback(self._done)

    def is_known(self, key: str, provider: str) -> bool:
        """Wait until the gateway knows a key and a provider's credential, which it does within a second of their making."""
        future = asyncio.run_coroutine_threadsafe(self._known(key, provider), self._loop)
        return future.result(_KNOWN_SECONDS + 5)

    def _done(self, future: Future[None]) -> None:
        self._running.discard(future)
        with contextlib.suppress(CancelledError):
            if future.exception() is not None:
                self.ends["failed"] += 1

    async def _open(self) -> None:
        connector = aiohttp.TCPConnector(limit=_AT_ONCE)
        timeout = aiohttp.ClientTimeout(total=_TOTAL_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _call(self, key: str, request: Request) -> None:
        assert self._session is not None
        headers = {**request.headers, "authorization": f"Bearer {key}"}
        try:
            async with asyncio.timeout(request.gives_up_after_seconds):
                answer = await self._session.post(f"{self._url}{request.path}", data=request.body, headers=headers)
        except TimeoutError:
            self.ends["left"] += 1
            return
        size = 0
        async for chunk in answer.content.iter_any():
            size += len(chunk)
            if request.leaves_after_bytes is not None and size > request.leaves_after_bytes:
                # Closed, not given back: that is what a hang-up is.
                answer.close()
                self.ends["left"] += 1
                return
        answer.release()
        self.ends[str(answer.status)] += 1

    async def _known(self, key: str, provider: str) -> bool:
        assert self._session is not None
        loop = asyncio.get_running_loop()
        until = loop.time() + _KNOWN_SECONDS
        while loop.time() < until:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                path = f"{self._url}/gw/{provider}/v1/models"
                async with self._session.get(path, headers={"authorization": f"Bearer {key}"}) as answer:
                    if answer.status < 400:
                        return True
            await asyncio.sleep(0.25)
        return False
