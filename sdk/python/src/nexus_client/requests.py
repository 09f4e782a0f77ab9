"""An adapter for `requests`.

session.mount("https://", nexus_client.requests.Adapter(client))
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from nexus_client.exchange import Exchange

if TYPE_CHECKING:
    from nexus_client.client import Client


class Adapter(BaseAdapter):
    """Records what passes through another adapter; requests' own unless one is given."""

    def __init__(self, client: Client, inner: BaseAdapter | None = None) -> None:
        super().__init__()
        self._client = client
        self._inner = HTTPAdapter() if inner is None else inner

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        """Send the request, and watch the answer."""
        exchange = _begin(self._client, request)
        if exchange is None:
            return self._inner.send(request, *arguments, **named)
        try:
            response = self._inner.send(request, *arguments, **named)
        except BaseException as error:
            with exchange.shield:
                exchange.failed(error)
            raise
        with exchange.shield:
            exchange.answered(response.status_code, response.headers, is_decoded=True)
            _watch_answer(response.raw, exchange)
        return response

    def close(self) -> None:
        """Close the other adapter."""
        self._inner.close()


def watch(client: Client, session: requests.Session) -> requests.Session:
    """Record what an existing session sends from now on, through whatever adapters it has."""
    with client.counters.shield:
        if not isinstance(session, requests.Session):
            raise TypeError(f"{type(session).__name__} is no session of requests: it is not watched")
        for prefix, adapter in list(session.adapters.items()):
            if not isinstance(adapter, Adapter):
                session.mount(prefix, Adapter(client, adapter))
    return session


class _Watch:
    """Who wants to know what is read of an answer."""

    __slots__ = ("exchanges", "is_inside")

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.is_inside = False
        """Whether one of the answer's own methods runs: what these read of each other is not counted again."""

    def took(self, content: bytes) -> None:
        for exchange in self.exchanges:
            with exchange.shield:
                exchange.took(content)

    def failed(self, error: BaseException) -> None:
        for exchange in self.exchanges:
            with exchange.shield:
                exchange.failed(error)

    def ended(self, answer: Any) -> None:
        for exchange in self.exchanges:
            size: int | None = None
            with exchange.shield:
                # What went over the wire, where urllib3 tells (not of chunked answers); what was read is uncompressed.
                tell = getattr(answer, "tell", None)
                size = None if tell is None else tell() or None
            with exchange.shield:
                exchange.ended(size=size)


def _watch_answer(answer: Any, exchange: Exchange) -> None:
    """Have the answer beneath a `requests.Response` tell what is read of it.

    It becomes one of a class derived from its own, so that it stays what it was for whoever looks: an answer of urllib3,
    with every method and attribute. Where an object cannot change its class (an adapter of somebody's own may answer with
    a file), the call is recorded without what the answer says.
    """
    kind: type = type(answer)
    if not hasattr(kind, "nexus_tells"):
        try:
            answer.nexus_watch = _Watch()
            answer.__class__ = _telling(kind)
        except (AttributeError, TypeError):
            exchange.ended()
            return
    answer.nexus_watch.exchanges.append(exchange)


@functools.cache
def _telling(kind: type) -> type:
    methods = {name: telling(getattr(kind, name)) for name, telling in _TELLING.items() if hasattr(kind, name)}
    return type(kind.__name__, (kind,), {"__slots__": (), "nexus_tells": True, **methods})


def _reading(read: Callable[..., Any], *, is_whole: bool) -> Callable[..., Any]:
    @functools.wraps(read)
    def telling(self: Any, *arguments: Any, **named: Any) -> Any:
        watch: _Watch = self.nexus_watch
        if watch.is_inside:
            return read(self, *arguments, **named)
        wants = arguments[0] if arguments else named.get("amt")
        watch.is_inside = True
        try:
            content = read(self, *arguments, **named)
        except BaseException as error:
            watch.failed(error)
            raise
        finally:
            watch.is_inside = False
        watch.took(content)
        if (is_whole and wants is None) or (not content and wants != 0):
            watch.ended(self)
        return content

    return telling


def _streaming(stream: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
    def passing(self: Any, parts: Iterator[bytes]) -> Iterator[bytes]:
        watch: _Watch = self.nexus_watch
        try:
            while True:
                watch.is_inside = True
                try:
                    part = next(parts)
                except StopIteration:
                    break
                finally:
                    watch.is_inside = False
                watch.took(part)
                yield part
        except GeneratorExit:
            raise
        except BaseException as error:
            watch.failed(error)
            raise
        watch.ended(self)

    @functools.wraps(stream)
    def telling(self: Any, *arguments: Any, **named: Any) -> Iterator[bytes]:
        parts = stream(self, *arguments, **named)
        return parts if self.nexus_watch.is_inside else passing(self, parts)

    return telling


def _ending(end: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(end)
    def telling(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return end(self, *arguments, **named)
        finally:
            # urllib3 gives the connection back before it hands over the last part.
            if not self.nexus_watch.is_inside:
                self.nexus_watch.ended(self)

    return telling


_TELLING: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "read": functools.partial(_reading, is_whole=True),
    "read1": functools.partial(_reading, is_whole=False),
    "stream": _streaming,
    "read_chunked": _streaming,
    "close": _ending,
    "release_conn": _ending,
}


def _begin(client: Client, request: requests.PreparedRequest) -> Exchange | None:
    with client.counters.shield:
        parts = urlsplit(request.url or "")
        provider = client.providers.of(parts.hostname or "", parts.port)
        if provider is None:
            return None
        body: bytes | None = None
        if isinstance(request.body, bytes):
            body = request.body
        elif isinstance(request.body, str):
            body = request.body.encode("utf-8", "replace")
        announced = str(request.headers.get("content-length") or "")
        return Exchange(client, provider, request.method or "GET", parts.path, body, announced)
    return None
