"""The outgoing side: one HTTP client for all providers, guarded, and what its failures mean."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from functools import lru_cache

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict
from yarl import URL

from nexus.dataplane.gateway.errors import (
    AddressRefused,
    NoBaseUrl,
    UpstreamError,
    UpstreamNotConnected,
    UpstreamTimeout,
)
from nexus.dataplane.gateway.exchange import Exchange
from nexus.dataplane.gateway.guard import Guard, GuardedResolver, RefusedAddressError
from nexus.dataplane.gateway.request import target_url
from nexus.dataplane.http import HungUpError
from nexus.kit.errors import NexusError
from nexus.platform.deadlines import Deadline

_MAX_HEADER_BYTES = 64 * 1024
_KEEPALIVE_SECONDS = 15.0
# Without these the client would add what the caller did not send.
_NOT_ADDED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class Upstream:
    """Calls providers."""

    def __init__(self, guard: Guard, *, resolver: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make the client."""
        connector = aiohttp.TCPConnector(
            resolver=GuardedResolver(self._guard, self._resolver),
            limit=0,
            ttl_dns_cache=30,
            keepalive_timeout=_KEEPALIVE_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NOT_ADDED,
            trust_env=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            requote_redirect_url=False,
        )

    async def stop(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client."""
        if self._session is None:
            raise RuntimeError("the gateway was not started")
        return self._session

    def check(self, url: URL, name: str) -> None:
        """Raise unless the URL may be called, as far as that can be told before its host is resolved."""
        if url.host is None or url.scheme not in {"http", "https"}:
            raise NoBaseUrl(f"the base URL of {name} is no http or https URL")
        if not self._guard.allows_literal(url.host, url.port or 0):
            raise AddressRefused

    async def send(
        self, exchange: Exchange, headers: CIMultiDict[str], body: bytes | AsyncIterator[bytes] | None
    ) -> aiohttp.ClientResponse:
        """Send a request and return the answer's beginning; raises what the client is told when there is none."""
        target, facts = exchange.target, exchange.target.facts
        try:
            url = target_url(target)
            self.check(url, target.provider.slug)
        except ValueError as error:
            raise NoBaseUrl(f"the base URL of {target.provider.slug} cannot be read") from error
        timeout = _timeout(facts.connect_seconds, facts.idle_seconds)
        try:
            with Deadline(facts.first_byte_seconds):
                answer = await self.session.request(
                    exchange.method, url, headers=headers, data=body, allow_redirects=False, timeout=timeout
                )
        except UPSTREAM_TROUBLE as error:
            # What ends the client's own body arrives here wrapped by the HTTP client.
            if isinstance(error.__cause__, (HungUpError, NexusError)):
                raise error.__cause__ from None
            raise failure(error, target.provider.slug) from error
        exchange.first_byte_seconds = time.perf_counter() - exchange.began
        exchange.status_code = answer.status
        exchange.headers = {name.lower(): value for name, value in answer.headers.items()}
        return answer


@lru_cache(maxsize=256)
def _timeout(connect_seconds: float, idle_seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, sock_read=idle_seconds)


UPSTREAM_TROUBLE = (aiohttp.ClientError, OSError, ValueError)
"""What the HTTP client raises when an upstream fails, or the way to it; time-outs are `OSError`s. Anything else is our fault."""


def failure(error: Exception, provider: str) -> NexusError:
    """Say what a failure of the HTTP client means to who called."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, RefusedAddressError):
        return AddressRefused()
    if isinstance(error, (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError)):
        return UpstreamNotConnected(f"{provider} could not be connected to")
    if isinstance(error, TimeoutError):
        return UpstreamTimeout(f"{provider} did not answer in time")
    return UpstreamError(f"{provider} broke the connection, or its answer is no HTTP")
