"""Sending an answer to a client that may leave in the middle: what was asked for is read on then, so that its usage is known."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import aiohttp

from nexus.dataplane.gateway.exchange import Exchange
from nexus.dataplane.http import Receive, Send


class ClientGoneError(Exception):
    """The client takes nothing any more."""


class Drain:
    """What goes on when a client leaves: nothing is sent any more, and the answer is read on within a cap."""

    def __init__(self, exchange: Exchange, answer: aiohttp.ClientResponse, seconds: float, count: int) -> None:
        self._exchange = exchange
        self._answer = answer
        self._seconds = seconds
        self._bytes = count
        self._limit: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def watch(self, receive: Receive) -> None:
        """Wait for the client to leave."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._left()
                return

    def _left(self) -> None:
        if self._limit is None:
            self._exchange.client_left = True
            self._limit = self._exchange.response_bytes + self._bytes
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._answer.close)

    async def to_client(self, send: Send, message: MutableMapping[str, Any]) -> None:
        """Send to a client that is there."""
        if self._limit is None:
            try:
                await send_to_client(send, message)
            except ClientGoneError:
                self._left()

    @property
    def is_over(self) -> bool:
        """Whether as much was read on as may be."""
        return self._limit is not None and self._exchange.response_bytes > self._limit

    def end(self) -> None:
        """Forget the time limit."""
        if self._timer is not None:
            self._timer.cancel()


async def send_to_client(send: Send, message: MutableMapping[str, Any]) -> None:
    """Send one message; `ClientGoneError` when the client takes it no more. The server ends who takes nothing for long."""
    try:
        await send(message)
    except (OSError, RuntimeError) as error:
        raise ClientGoneError from error
