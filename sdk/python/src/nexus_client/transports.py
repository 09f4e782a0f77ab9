"""What the transports of `httpx` and `httpx2` have in common: two libraries of one form, whose classes are strangers.

Each class here is mixed into one of the library's own. A transport passes everything on as it comes: streams are not held
back, and errors stay what they were.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from nexus_client.exchange import Exchange

if TYPE_CHECKING:
    from types import TracebackType

    from nexus_client.client import Client


class SyncParts:
    """Tells of the parts of an answer as they pass."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
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
        """Close the answer."""
        try:
            self._inner.close()
        finally:
            with self._exchange.shield:
                self._exchange.ended()


class AsyncParts:
    """Tells of the parts of an answer as they pass."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
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
        """Close the answer."""
        try:
            await self._inner.aclose()
        finally:
            with self._exchange.shield:
                self._exchange.ended()


class SyncWatching:
    """Records what passes through another transport."""

    _parts: type[SyncParts]

    def __init__(self, client: Client, inner: Any) -> None:
        self._client = client
        self._inner = inner

    def handle_request(self, request: Any) -> Any:
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
            response.stream = self._parts(response.stream, exchange)
        return response

    def close(self) -> None:
        """Close the other transport."""
        self._inner.close()

    def __enter__(self) -> Any:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(exc_type, exc_value, traceback)


class AsyncWatching:
    """Records what passes through another async transport."""

    _parts: type[AsyncParts]

    def __init__(self, client: Client, inner: Any) -> None:
        self._client = client
        self._inner = inner

    async def handle_async_request(self, request: Any) -> Any:
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
            response.stream = self._parts(response.stream, exchange)
        return response

    async def aclose(self) -> None:
        """Close the other transport."""
        await self._inner.aclose()

    async def __aenter__(self) -> Any:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)


def wrap_transports(http: object, wrap: Callable[[Any], Any]) -> None:
    """Put something around every transport of a client, those of its proxies included."""
    attributes = vars(http)
    mounts = attributes["_mounts"]
    attributes["_transport"] = wrap(attributes["_transport"])
    for pattern, transport in mounts.items():
        # None: what matches goes through the transport of all.
        mounts[pattern] = None if transport is None else wrap(transport)


def _begin(client: Client, request: Any) -> Exchange | None:
    with client.counters.shield:
        url = request.url
        provider = client.providers.of(url.host, url.port)
        if provider is None:
            return None
        try:
            body: bytes | None = request.content
        except RuntimeError:
            # It is a stream that nobody has read: it is sent as it comes, and its model is not known.
            body = None
        return Exchange(client, provider, request.method, url.path, body, request.headers.get("content-length", ""))
    return None
