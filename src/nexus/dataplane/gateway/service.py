"""The gateway of one process: finds out who calls what, forwards it, and records each attempt.

`forward` is the way of one attempt: it is admitted before anything is sent, and `end`, where the usage is known, settles
what was reserved for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, MutableMapping, Sequence
from typing import Any

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver
from redis.asyncio import Redis

from nexus.contracts.gateway import CredentialEntry, ProviderEntry, Reach
from nexus.contracts.keys import KeyEntry
from nexus.contracts.limits import Dimension
from nexus.dataplane.decide.asgi import LimiterAway, QuotaExceeded, refusal
from nexus.dataplane.decide.explanation import explain
from nexus.dataplane.decide.gate import Gate, Ticket
from nexus.dataplane.decide.headers import rate_limit_headers
from nexus.dataplane.endpoints import guess_template
from nexus.dataplane.gateway.bodies import Bodies, reader_of
from nexus.dataplane.gateway.drain import ClientGoneError, Drain, send_to_client
from nexus.dataplane.gateway.errors import (
    AllEndpointsDown,
    NoBaseUrl,
    NoCredential,
    NotAllowedHere,
    UnknownProvider,
    UpstreamNotConnected,
    stream_error,
)
from nexus.dataplane.gateway.exchange import Caller, Exchange, Inquiry, Target
from nexus.dataplane.gateway.guard import Guard
from nexus.dataplane.gateway.health import HealthBook, endpoint_of, is_unwell
from nexus.dataplane.gateway.journal import Journal, journal_folder
from nexus.dataplane.gateway.learned import LimitBook
from nexus.dataplane.gateway.metrics import GatewayMetrics
from nexus.dataplane.gateway.reading import AnswerReader
from nexus.dataplane.gateway.recorder import Recorder
from nexus.dataplane.gateway.refusals import Refusals
from nexus.dataplane.gateway.request import client_headers, inspect, model_in_path, upstream_headers
from nexus.dataplane.gateway.routing import (
    MAX_ATTEMPTS,
    RETRIED_STATUSES,
    Candidate,
    Router,
    is_retried,
    pause_seconds,
    retry_after_of,
    with_model,
)
from nexus.dataplane.gateway.told_health import HealthTeller
from nexus.dataplane.gateway.upstream import UPSTREAM_TROUBLE, Upstream, failure
from nexus.dataplane.gateway.usage import Usage, load_wire
from nexus.dataplane.http import Receive, Send
from nexus.dataplane.ingest.service import Ingest
from nexus.kit.errors import NexusError
from nexus.platform.settings import Settings

_WHOLE_BYTES = 256 * 1024
"""Answers up to this length are read whole and sent in one piece."""
_DISCARD_SECONDS = 5.0

log = structlog.get_logger(__name__)


class BrokenAnswerError(Exception):
    """The answer ended in the middle: the connection to the client must not look as if it were whole."""


class Gateway:
    """Forwards and records. One for each process; `start` and `stop` frame its life."""

    def __init__(
        self,
        *,
        ingest: Ingest,
        settings: Settings,
        metrics: GatewayMetrics | None = None,
        gate: Gate | None = None,
        redis: Redis | None = None,
        resolver: AbstractResolver | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        self.ingest = ingest
        self.snapshots = ingest.snapshots
        self.clock = ingest.clock
        self.metrics = metrics or GatewayMetrics()
        self.wire = load_wire()
        allowed = [part.strip() for part in (settings.gateway_allow or "").split(",") if part.strip()]
        self.upstream = Upstream(Guard(allowed), resolver=resolver)
        self.journal = Journal(journal_folder(settings))
        self.recorder = Recorder(ingest, self.journal, self.metrics)
        self.refusals = Refusals()
        self.health = HealthBook()
        self.health_teller = HealthTeller(self.health, redis, self.clock)
        self.limits = LimitBook(redis)
        self.gate = gate
        self.bodies = bodies
        self.router = Router(self.snapshots, self.wire, self.health)
        self.leaving = asyncio.Event()
        """Set when the process is about to end: sessions that would go on for ever are told to end."""
        self._open: set[Exchange] = set()
        self._turn = 0

    async def start(self) -> None:
        """Begin. Ingest and snapshots are started by whoever made them, before."""
        await self.upstream.start()
        self.recorder.start()
        self.limits.start()
        self.health_teller.start()

    async def stop(self) -> None:
        """End: calls that still run are recorded as interrupted, finished ones are brought to ingest."""
        for exchange in list(self._open):
            exchange.error_type, exchange.error_message = (
                "interrupted",
                "the process was stopped before the answer ended",
            )
            if not exchange.usage.counts:
                exchange.usage = Usage({"input": count} if (count := exchange.inquiry.exact_input()) else {}, False)
            self.end(exchange)
        await self.upstream.stop()
        await self.limits.stop()
        await self.health_teller.stop()
        await self.recorder.stop()
        if self.gate is not None:
            await self.gate.stop()
        self.journal.close()

    def target(self, key: KeyEntry, name: str, path: str, query: bytes) -> Target:
        """Find out where a call goes: the provider, and one of the organization's credentials for it."""
        table = self.snapshots.gateway
        provider = table.provider(key.organization_id, name)
        if provider is None or not provider.is_active:
            raise UnknownProvider(f"there is no provider {name[:64]!r}: see /api/catalog/providers")
        facts = self.wire.facts(provider.slug, provider.options)
        credential = self._credential(key, provider)
        base_url = (credential.base_url if credential else "") or provider.base_url
        if not base_url:
            raise NoBaseUrl
        form = (credential.auth_form if credential else "") or facts.auth or _form_of(provider)
        if credential is None and form != "none":
            raise NoCredential(f"your organization has no credential for {provider.slug}: add one")
        return Target(provider, facts, credential, base_url, form, path, query)

    def reach(self, key: KeyEntry) -> Reach | None:
        """Return what an access key may use; None is everything."""
        reaches = self.snapshots.gateway.reaches
        return reaches.get(key.id) if reaches else None

    def check_reach(self, key: KeyEntry, target: Target, inquiry: Inquiry, *, is_post: bool) -> None:
        """Raise `NotAllowedHere` when the access key may not make this call."""
        reach = self.reach(key)
        if reach is None:
            return
        slug = target.provider.slug
        if not reach.allows(slug, target.path):
            raise NotAllowedHere(f"the access key may not call {target.path[:200]} of {slug}")
        # Where path and body both name a model, we do not know which the provider heeds.
        models = {name for name in (inquiry.model, model_in_path(target.path)) if name}
        if reach.names_models and is_post and not models:
            raise NotAllowedHere("the access key may use certain models only, and the request's model cannot be told")
        for name in models:
            if not reach.allows_model(name):
                raise NotAllowedHere(f"the access key may not use the model {name}")

    def within_reach(self, key: KeyEntry, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the endpoints the access key may use; `NotAllowedHere` when there is none."""
        reach = self.reach(key)
        if reach is None:
            return list(candidates)
        kept = [
            item
            for item in candidates
            if reach.allows(item.target.provider.slug, item.target.path) and reach.allows_model(item.model)
        ]
        if not kept:
            raise NotAllowedHere
        return kept

    def _credential(self, key: KeyEntry, provider: ProviderEntry) -> CredentialEntry | None:
        """Choose one of several credentials: in turn, each as often as its weight says."""
        found = self.snapshots.gateway.credentials.get((key.organization_id, provider.slug))
        if not found:
            return None
        now = self.clock.now()
        usable = [item for item in found if item.is_valid_at(now) and item.weight > 0]
        if len(usable) <= 1:
            return usable[0] if usable else None
        self._turn += 1
        place = self._turn % sum(item.weight for item in usable)
        for item in usable:
            place -= item.weight
            if place < 0:
                return item
        return usable[-1]

    async def forward(
        self,
        caller: Caller,
        target: Target,
        *,
        method: str,
        inquiry: Inquiry,
        headers: Any,
        body: bytes | AsyncIterator[bytes] | None,
        request_bytes: int,
        attempt: int = 1,
    ) -> tuple[Exchange, aiohttp.ClientResponse]:
        """Send one attempt and return it with the answer's beginning.

        Raises what the client is told when there is no answer; the attempt is recorded then. What a limit refused is recorded
        as refused, though of many only some. With an answer, `relay` must follow.
        """
        exchange = Exchange(caller, target, method, full_path(target), inquiry, attempt)
        exchange.request_bytes = request_bytes
        await self.admit(exchange)
        self.begin(exchange)
        if self.bodies is not None and self.snapshots.gateway.bodies:
            body = self.bodies.begin(exchange, headers, body)
        try:
            answer = await self.upstream.send(exchange, headers, body)
        except BaseException as error:
            exchange.error_type = error.code if isinstance(error, NexusError) else "client_left"
            exchange.error_message = error.detail if isinstance(error, NexusError) else "the client left"
            exchange.client_left = not isinstance(error, NexusError)
            if isinstance(error, NexusError) and is_retried(error):
                self._note_health(exchange, worked=False, failure=error.code)
            self.end(exchange)
            raise
        failure = f"http_{answer.status}" if is_unwell(answer.status) else ""
        self._note_health(exchange, worked=not failure, failure=failure)
        if target.credential is not None:
            self.limits.note(target.credential, exchange.headers, status_code=answer.status, at=self.clock.now())
        return exchange, answer

    def _note_health(self, exchange: Exchange, *, worked: bool, failure: str) -> None:
        endpoint = endpoint_of(exchange.caller.key.organization_id, exchange.target)
        self.health.of(endpoint).note(worked=worked, now=time.monotonic(), failure=failure)

    async def admit(self, exchange: Exchange) -> None:
        """Reserve what the attempt is thought to take; raises what the client is told when a limit refuses."""
        key, target, inquiry = exchange.caller.key, exchange.target, exchange.inquiry
        if self.gate is None or not self.gate.concerns(key):
            return
        slug, facts = target.provider.slug, target.facts
        endpoint = self.snapshots.prices.endpoints.find(slug, exchange.method, exchange.path)
        ticket = await self.gate.ask(
            key, provider=slug, model=inquiry.model, endpoint=endpoint or guess_template(exchange.path),
            method=exchange.method, region=target.region, tags=exchange.caller.tags,
            input_tokens=inquiry.rough_input(), most_output=inquiry.most_output, request_bytes=exchange.request_bytes,
            # As long as the call may last: a hold that ends before it would be charged as estimated.
            hold_seconds=facts.connect_seconds + facts.total_seconds + facts.drain_seconds,
        )  # fmt: skip
        if ticket is not None and not ticket.decision.is_admitted:
            error = refusal(ticket.decision)
            if self.refusals.describes(exchange, ticket, error):
                self.end(exchange)
            raise error
        exchange.ticket = ticket

    def _actual(self, gate: Gate, ticket: Ticket, exchange: Exchange) -> dict[Dimension, int] | None:
        """Say what the attempt took of what was reserved; what nobody knows is left out. None: it was never made."""
        if exchange.error_type == UpstreamNotConnected.code:
            return None
        counts = exchange.usage.counts
        is_failure = exchange.status_code >= 400
        tokens = cost = None
        if counts or is_failure:
            tokens = counts.get("input", 0) + counts.get("output", 0)
            usage = {name.removeprefix("units."): count for name, count in counts.items()} | {"requests": 1}
            cost = gate.cost(ticket, usage, model=exchange.model, variant=exchange.variant, is_failure=is_failure)
        size_bytes = exchange.request_bytes + exchange.response_bytes
        return gate.actual(ticket, tokens=tokens, cost_nanos=cost, size_bytes=size_bytes)

    def _settle(self, gate: Gate, ticket: Ticket, exchange: Exchange) -> None:
        """Settle what was reserved to what the attempt took, and write down what was decided of it."""
        actual = self._actual(gate, ticket, exchange)
        finished = gate.release(ticket) if actual is None else gate.settle_to(ticket, actual)
        if ticket.decision.standings:
            exchange.decision, exchange.limit_set = explain(ticket.organization_id, ticket.decision, finished, actual)

    async def forward_routed(
        self,
        caller: Caller,
        candidates: Sequence[Candidate],
        *,
        method: str,
        inquiry: Inquiry,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes,
    ) -> tuple[Exchange, aiohttp.ClientResponse]:
        """Send a request to one endpoint after the other until one answers; each attempt is recorded.

        Returns the first answer that another attempt would not better, or the last there is.
        """
        headers = list(headers)
        attempt = 0
        last_error: NexusError | None = None
        for place, candidate in enumerate(candidates):
            health = self.health.of(endpoint_of(caller.key.organization_id, candidate.target))
            is_last_endpoint = place == len(candidates) - 1
            for number in range(2):
                if attempt >= MAX_ATTEMPTS or not health.allows(time.monotonic()):
                    break
                attempt += 1
                target = candidate.target
                asks = self.wire.asks_usage(target.facts, target.path)
                asked, sent = inspect(with_model(body, candidate.model), target.path, asks_usage=asks)
                asked.end_user = inquiry.end_user
                wait: float | None = None
                try:
                    exchange, answer = await self.forward(
                        caller, target, method=method, inquiry=asked, headers=upstream_headers(headers, target, asked),
                        body=sent, request_bytes=len(sent), attempt=attempt,
                    )  # fmt: skip
                except (QuotaExceeded, LimiterAway) as error:
                    # Nothing was sent. Another endpoint may have limits of its own.
                    health.is_trying = False
                    last_error = error
                except NexusError as error:
                    if not is_retried(error):
                        health.is_trying = False
                        raise
                    last_error = error
                    wait = pause_seconds(number, None)
                except BaseException:
                    health.is_trying = False
                    raise
                else:
                    is_failure = answer.status in RETRIED_STATUSES
                    wait = pause_seconds(number, retry_after_of(exchange.headers)) if is_failure else None
                    has_more = attempt < MAX_ATTEMPTS and (not is_last_endpoint or (number == 0 and wait is not None))
                    if not is_failure or not has_more:
                        return exchange, answer
                    await self._discard(exchange, answer)
                if number == 1 or wait is None:
                    break
                await asyncio.sleep(wait)
        raise last_error or AllEndpointsDown(retry_after_seconds=5)

    async def _discard(self, exchange: Exchange, answer: aiohttp.ClientResponse) -> None:
        """Record an attempt whose answer the client does not get."""
        reader = self._reader(exchange, answer)
        try:
            async with asyncio.timeout(_DISCARD_SECONDS):
                content = await answer.content.read(_WHOLE_BYTES)
            exchange.response_bytes = len(content)
            reader.feed(content)
        except (aiohttp.ClientError, OSError, TimeoutError):
            answer.close()
        self._finish(exchange, reader)
        self.end(exchange)
        answer.release()

    def begin(self, exchange: Exchange) -> None:
        """Note that an attempt is sent; `end` must follow."""
        try:
            exchange.open_call = self.journal.begin(exchange.begin_mark())
        except OSError as error:
            # Served all the same: its record is in memory, and lost only if the process dies before it is stored.
            self.metrics.unjournaled.inc()
            log.error("the gateway's journal cannot be written", error=repr(error))
        exchange.began = time.perf_counter()
        self._open.add(exchange)

    async def relay(self, exchange: Exchange, answer: aiohttp.ClientResponse, receive: Receive, send: Send) -> None:
        """Pass an answer to the client, and record the attempt before its last byte is sent."""
        reader = self._reader(exchange, answer)
        credential = exchange.target.credential
        start = {
            "type": "http.response.start",
            "status": answer.status,
            "headers": client_headers(
                answer.raw_headers,
                is_rewritten=reader.hides,
                secret=credential.secret if credential and exchange.target.auth_form == "query_key" else "",
                request_id=exchange.caller.request_id,
            )
            + (rate_limit_headers(exchange.ticket.decision) if exchange.ticket else []),
        }
        try:
            length = answer.content_length
            if exchange.method == "HEAD" or (length is not None and length <= _WHOLE_BYTES and not reader.is_stream):
                await self._relay_whole(exchange, answer, reader, start, send)
            else:
                await self._relay_stream(exchange, answer, reader, start, receive, send)
        finally:
            if not exchange.is_recorded:
                self._finish(exchange, reader)
                self.end(exchange)
            # What was not read to its end cannot be used again; aiohttp sees to that.
            answer.release()

    def _reader(self, exchange: Exchange, answer: aiohttp.ClientResponse) -> AnswerReader:
        target, headers = exchange.target, exchange.headers
        return reader_of(exchange)(
            self.wire,
            self.wire.rules(target.facts, target.path),
            media_type=headers.get("content-type", ""),
            encoding=headers.get("content-encoding", "").strip().lower(),
            headers=headers,
            hides_usage=exchange.inquiry.hides_usage and answer.status < 400,
        )

    async def _relay_whole(
        self,
        exchange: Exchange,
        answer: aiohttp.ClientResponse,
        reader: AnswerReader,
        start: MutableMapping[str, Any],
        send: Send,
    ) -> None:
        try:
            if answer.content.is_eof():
                content = answer.content.read_nowait()
            else:
                async with asyncio.timeout(exchange.target.facts.total_seconds):
                    content = await answer.read()
        except UPSTREAM_TROUBLE as error:
            broken = failure(error, exchange.target.provider.slug)
            kind = "total_timeout" if type(error) is TimeoutError else "upstream_broke"
            exchange.error_type, exchange.error_message = kind, broken.detail
            exchange.status_code = 0
            raise broken from error
        exchange.response_bytes = len(content)
        reader.feed(content)
        self._finish(exchange, reader)
        self.end(exchange)
        exchange.was_sent = True
        with contextlib.suppress(OSError, RuntimeError):
            await send(start)
            await send({"type": "http.response.body", "body": content})

    async def _relay_stream(
        self,
        exchange: Exchange,
        answer: aiohttp.ClientResponse,
        reader: AnswerReader,
        start: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        facts = exchange.target.facts
        exchange.was_sent = True
        drain = Drain(exchange, answer, facts.drain_seconds, facts.drain_bytes)
        watching = asyncio.ensure_future(drain.watch(receive))
        error: Exception | None = None
        try:
            await drain.to_client(send, start)
            async for chunk in answer.content.iter_any():
                exchange.response_bytes += len(chunk)
                passed = reader.feed(chunk)
                if passed:
                    await drain.to_client(send, {"type": "http.response.body", "body": passed, "more_body": True})
                if drain.is_over:
                    answer.close()
                    break
                if time.perf_counter() - exchange.began > facts.total_seconds:
                    answer.close()
                    exchange.error_type = "total_timeout"
                    raise TimeoutError
        except (aiohttp.ClientError, OSError, TimeoutError) as broken:
            error = broken
        finally:
            watching.cancel()
            drain.end()
        last, takes_event = reader.held_back(), reader.takes_event
        if error is not None and not exchange.client_left:
            exchange.error_type = exchange.error_type or "upstream_broke"
            exchange.error_message = failure(error, exchange.target.provider.slug).detail
        self._finish(exchange, reader)
        self.end(exchange)
        if exchange.client_left:
            return
        if error is not None:
            told = failure(error, exchange.target.provider.slug)
            # What is held back is half an event, of use to nobody.
            last = stream_error(told, facts.stream_error or facts.error) if takes_event else b""
            if not last:
                raise BrokenAnswerError from error
        with contextlib.suppress(ClientGoneError):
            await send_to_client(send, {"type": "http.response.body", "body": last})

    def _finish(self, exchange: Exchange, reader: AnswerReader) -> None:
        """Take from the reader what it learned, once the last byte has passed."""
        exchange.last_byte_seconds = time.perf_counter() - exchange.began
        is_error = exchange.status_code >= 400 or exchange.status_code == 0
        usage = reader.finish(
            is_error=is_error,
            path_is_estimated=exchange.method == "POST" and self.wire.is_estimated(exchange.target.path),
            estimate_input=exchange.inquiry.exact_input,
        )
        exchange.usage, exchange.model, exchange.variant = usage, reader.model, reader.variant
        exchange.response_id = reader.response_id
        if reader.error_type or is_error:
            exchange.error_type = exchange.error_type or reader.error_type or f"http_{exchange.status_code}"
            exchange.error_message = exchange.error_message or reader.error_message
        if exchange.client_left and not exchange.error_type:
            exchange.error_type = "client_left"
            exchange.error_message = "the client left before the answer ended"

    def end(self, exchange: Exchange) -> None:
        """Note the attempt's record in the journal. An admitted call is settled here."""
        if exchange.is_recorded:
            return
        exchange.is_recorded = True
        self._open.discard(exchange)
        if self.gate is not None and exchange.ticket is not None:
            # Before the record, which tells what came back.
            self._settle(self.gate, exchange.ticket, exchange)
        mark = exchange.end_mark(self.snapshots.prices.book)
        try:
            self.journal.end(exchange.open_call, mark, exchange.limit_set)
        except OSError as error:
            self.metrics.unjournaled.inc()
            log.error("the gateway's journal cannot be written", error=repr(error))
            self.recorder.add_unjournaled(mark, exchange.limit_set)
        if exchange.refused_by is not None:
            return
        self.metrics.ended(exchange.target.provider.slug, exchange.status_code)
        if exchange.client_left:
            self.metrics.hang_ups.inc()
        if not exchange.usage.is_exact:
            self.metrics.estimated.inc()
        if exchange.capture is not None and self.bodies is not None:
            self.bodies.end(exchange, exchange.capture)


def full_path(target: Target) -> str:
    """The path as the provider sees it: that of the base URL, and the call's own."""
    _, _, rest = target.base_url.partition("://")
    slash = rest.find("/")
    return (rest[slash:] if slash >= 0 else "") + target.path


def _form_of(provider: ProviderEntry) -> str:
    """How a credential is sent to a provider we have no facts of: as the catalog says it authenticates."""
    for kind, form in (("bearer", "bearer"), ("api_key", "x-api-key"), ("basic", "basic"), ("oauth2", "bearer")):
        if kind in provider.auth_types:
            return form
    return "none"
