"""Transports for `httpx`.

httpx.Client(transport=nexus_client.httpx.Transport(client))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import httpx

from nexus_client.transports import AsyncParts, AsyncWatching, SyncParts, SyncWatching, wrap_transports

if TYPE_CHECKING:
    from nexus_client.client import Client

AnyClient = TypeVar("AnyClient", httpx.Client, httpx.AsyncClient)


class _Parts(SyncParts, httpx.SyncByteStream):
    pass


class _AsyncParts(AsyncParts, httpx.AsyncByteStream):
    pass


class Transport(SyncWatching, httpx.BaseTransport):
    """Records what passes through another transport; httpx's own unless one is given."""

    _parts = _Parts

    def __init__(self, client: Client, inner: httpx.BaseTransport | None = None) -> None:
        super().__init__(client, httpx.HTTPTransport() if inner is None else inner)


class AsyncTransport(AsyncWatching, httpx.AsyncBaseTransport):
    """Records what passes through another async transport; httpx's own unless one is given."""

    _parts = _AsyncParts

    def __init__(self, client: Client, inner: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(client, httpx.AsyncHTTPTransport() if inner is None else inner)


def watch(client: Client, http: AnyClient) -> AnyClient:
    """Record what an existing `httpx.Client` or `httpx.AsyncClient` sends from now on, its proxies included."""
    with client.counters.shield:
        if isinstance(http, httpx.AsyncClient):
            wrap_transports(
                http, lambda inner: inner if isinstance(inner, AsyncTransport) else AsyncTransport(client, inner)
            )
        elif isinstance(http, httpx.Client):
            wrap_transports(http, lambda inner: inner if isinstance(inner, Transport) else Transport(client, inner))
        else:
            raise TypeError(f"{type(http).__name__} is no client of httpx: it is not watched")
    return http
