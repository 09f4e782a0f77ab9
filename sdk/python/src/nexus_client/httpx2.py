"""Transports for `httpx2`, and so for the libraries of most model providers.

openai.OpenAI(http_client=nexus_client.httpx2.watch(client, openai.DefaultHttpxClient()))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import httpx2

from nexus_client.transports import AsyncParts, AsyncWatching, SyncParts, SyncWatching, wrap_transports

if TYPE_CHECKING:
    from nexus_client.client import Client

AnyClient = TypeVar("AnyClient", httpx2.Client, httpx2.AsyncClient)


class _Parts(SyncParts, httpx2.SyncByteStream):
    pass


class _AsyncParts(AsyncParts, httpx2.AsyncByteStream):
    pass


class Transport(SyncWatching, httpx2.BaseTransport):
    """Records what passes through another transport; httpx2's own unless one is given."""

    _parts = _Parts

    def __init__(self, client: Client, inner: httpx2.BaseTransport | None = None) -> None:
        super().__init__(client, httpx2.HTTPTransport() if inner is None else inner)


class AsyncTransport(AsyncWatching, httpx2.AsyncBaseTransport):
    """Records what passes through another async transport; httpx2's own unless one is given."""

    _parts = _AsyncParts

    def __init__(self, client: Client, inner: httpx2.AsyncBaseTransport | None = None) -> None:
        super().__init__(client, httpx2.AsyncHTTPTransport() if inner is None else inner)


def watch(client: Client, http: AnyClient) -> AnyClient:
    """Record what an existing `httpx2.Client` or `httpx2.AsyncClient` sends from now on, its proxies included."""
    with client.counters.shield:
        if isinstance(http, httpx2.AsyncClient):
            wrap_transports(
                http, lambda inner: inner if isinstance(inner, AsyncTransport) else AsyncTransport(client, inner)
            )
        elif isinstance(http, httpx2.Client):
            wrap_transports(http, lambda inner: inner if isinstance(inner, Transport) else Transport(client, inner))
        else:
            raise TypeError(f"{type(http).__name__} is no client of httpx2: it is not watched")
    return http
