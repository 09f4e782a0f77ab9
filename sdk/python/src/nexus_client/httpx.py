"""Transports for `httpx`, and so for the libraries of most model providers.

    openai.OpenAI(http_client=nexus_client.httpx.watch(client, httpx.Client()))

A transport passes everything on as it comes: streams are not held back, and errors stay what they were.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, TypeVar, cast

import httpx

from nexus_client.exchange import Exchange, begin

if TYPE_CHECKING:
    from types import TracebackType

    from nexus_client.client import Client

AnyClient = TypeVar("AnyClient", httpx.Client, httpx.AsyncClient)


class Transport(httpx.BaseTransport):
    """Records what passes through another transport; httpx's own unless one is given."""

    def __init__(self, client: Client, inner: httpx.BaseTransport | None = None) -> None:
        self._client = client
        self._inner = httpx.HTTPTransport() if inner is None else inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, and watch the answer."""
        exchange = _begin(self._client, request)
        if exchange is None:
            return self._inner.handle_request(request)
        try:
            response = self._inner.handle_request(request)
        except BaseException as error:
            with exchange.shield:
                exchange.failed(error)
            raise
        with exchange.shield:
            exchange.answered(response.status_code, response.headers)
            response.stream = _Stream(cast("httpx.SyncByteStream", response.stream), exchange)
        return response

    def close(self) -> None:
        """Close the other transport."""
        self._inner.close()

    def __enter__(self) -> Transport:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(exc_type, exc_value, traceback)


class AsyncTransport(httpx.AsyncBaseTransport):
    """Records what passes through another async transport; httpx's own unless one is given."""

    def __init__(self, client: Client, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = client
        self._inner = httpx.AsyncHTTPTransport() if inner is None else inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request, and watch the answer."""
        exchange = _begin(self._client, request)
        if exchange is None:
            return await self._inner.handle_async_request(request)
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            with exchange.shield:
                exchange.failed(error)
            raise
        with exchange.shield:
            exchange.answered(response.status_code, response.headers)
            response.stream = _AsyncStream(cast("httpx.AsyncByteStream", response.stream), exchange)
        return response

    async def aclose(self) -> None:
        """Close the other transport."""
        await self._inner.aclose()

    async def __aenter__(self) -> AsyncTransport:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)


def watch(client: Client, http: AnyClient) -> AnyClient:
    """Record what an existing `httpx.Client` or `httpx.AsyncClient` sends from now on, its proxies included."""
    with client.counters.shield:
        attributes = vars(http)
        mounts = attributes["_mounts"]
        if isinstance(http, httpx.AsyncClient):
            attributes["_transport"] = _watched_async(client, attributes["_transport"])
            for pattern, transport in mounts.items():
                mounts[pattern] = None if transport is None else _watched_async(client, transport)
        else:
            attributes["_transport"] = _watched(client, attributes["_transport"])
            for pattern, transport in mounts.items():
                mounts[pattern] = None if transport is None else _watched(client, transport)
    return http


def _watched(client: Client, inner: httpx.BaseTransport) -> httpx.BaseTransport:
    return inner if isinstance(inner, Transport) else Transport(client, inner)


def _watched_async(client: Client, inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    return inner if isinstance(inner, AsyncTransport) else AsyncTransport(client, inner)


class _Stream(httpx.SyncByteStream):
    def __init__(self, inner: httpx.SyncByteStream, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        exchange = self._exchange
        try:
            for chunk in self._inner:
                with exchange.shield:
                    exchange.took(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            with exchange.shield:
                exchange.failed(error)
            raise
        with exchange.shield:
            exchange.ended()

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            with self._exchange.shield:
                self._exchange.ended()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange = self._exchange
        try:
            async for chunk in self._inner:
                with exchange.shield:
                    exchange.took(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            with exchange.shield:
                exchange.failed(error)
            raise
        with exchange.shield:
            exchange.ended()

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            with self._exchange.shield:
                self._exchange.ended()


def _begin(client: Client, request: httpx.Request) -> Exchange | None:
    with client.counters.shield:
        url = request.url
        if client.providers.of(url.host, url.port) is None:
            return None
        try:
            body: bytes | None = request.content
        except httpx.RequestNotRead:
            body = None
        announced = request.headers.get("content-length", "")
        size = len(body) if body is not None else int(announced) if announced.isdigit() else 0
        return begin(client, request.method, url.host, url.port, url.path, body, size)
    return None
