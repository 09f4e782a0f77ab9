"""An adapter for `requests`.

session.mount("https://", nexus_client.requests.Adapter(client))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from nexus_client.exchange import Exchange, begin

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
            response.raw = _Raw(response.raw, exchange)
        return response

    def close(self) -> None:
        """Close the other adapter."""
        self._inner.close()


def watch(client: Client, session: requests.Session) -> requests.Session:
    """Record what an existing session sends from now on, through whatever adapters it has."""
    for prefix, adapter in list(session.adapters.items()):
        if not isinstance(adapter, Adapter):
            session.mount(prefix, Adapter(client, adapter))
    return session


class _Raw:
    """The answer beneath `requests.Response`; everything but reading is the inner one's."""

    def __init__(self, inner: Any, exchange: Exchange) -> None:
        self._nexus_inner = inner
        self._nexus_exchange = exchange

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._nexus_inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nexus_inner, name)

    def __iter__(self) -> Iterator[bytes]:
        return self._passing(iter(self._nexus_inner))

    def stream(self, *arguments: Any, **named: Any) -> Iterator[bytes]:
        """Pass the answer on, part by part."""
        return self._passing(self._nexus_inner.stream(*arguments, **named))

    def read(self, *arguments: Any, **named: Any) -> bytes:
        """Pass on what is read."""
        exchange = self._nexus_exchange
        wants = arguments[0] if arguments else named.get("amt")
        try:
            content = bytes(self._nexus_inner.read(*arguments, **named))
        except BaseException as error:
            with exchange.shield:
                exchange.failed(error)
            raise
        with exchange.shield:
            exchange.took(content)
        if wants is None or (not content and wants != 0):
            self._ended()
        return content

    def close(self) -> None:
        """Close the answer."""
        try:
            self._nexus_inner.close()
        finally:
            self._ended()

    def release_conn(self) -> None:
        """Give the connection back."""
        try:
            self._nexus_inner.release_conn()
        finally:
            self._ended()

    def _passing(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        exchange = self._nexus_exchange
        try:
            for part in parts:
                with exchange.shield:
                    exchange.took(part)
                yield part
        except GeneratorExit:
            raise
        except BaseException as error:
            with exchange.shield:
                exchange.failed(error)
            raise
        self._ended()

    def _ended(self) -> None:
        size = None
        with self._nexus_exchange.shield:
            # What went over the wire, where urllib3 tells (not of chunked answers); what was read is uncompressed.
            tell = getattr(self._nexus_inner, "tell", None)
            size = None if tell is None else tell() or None
        with self._nexus_exchange.shield:
            self._nexus_exchange.ended(size=size)


def _begin(client: Client, request: requests.PreparedRequest) -> Exchange | None:
    with client.counters.shield:
        parts = urlsplit(request.url or "")
        host = parts.hostname or ""
        if client.providers.of(host, parts.port) is None:
            return None
        body: bytes | None = None
        if isinstance(request.body, bytes):
            body = request.body
        elif isinstance(request.body, str):
            body = request.body.encode("utf-8", "replace")
        announced = request.headers.get("content-length", "") or ""
        size = len(body) if body is not None else int(announced) if str(announced).isdigit() else 0
        return begin(client, request.method or "GET", host, parts.port, parts.path, body, size)
    return None
