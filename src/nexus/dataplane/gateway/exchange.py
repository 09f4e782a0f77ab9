"""One attempt to call a provider: what is known of it while it runs, and the record made of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from nexus.contracts.calls import MAX_PATH_CHARS, MAX_USER_AGENT_CHARS, ApiCall
from nexus.contracts.gateway import CredentialEntry, ProviderEntry
from nexus.contracts.keys import KeyEntry
from nexus.contracts.limit_sets import LimitSet
from nexus.contracts.prices import PriceBook
from nexus.dataplane.decide.gate import Ticket
from nexus.dataplane.gateway.captures import Capture
from nexus.dataplane.gateway.journal import Begin, End, OpenCall
from nexus.dataplane.gateway.usage import ProviderFacts, Usage, text_of
from nexus.kit.ids import uuid7_text

_MAX_NAME = 200
# Smaller bodies hold little but text; larger ones may hold pictures, which are not counted as text.
_ROUGH_BYTES = 16 * 1024
_PROVIDER_IDS = ("x-request-id", "request-id", "x-amzn-requestid", "apim-request-id", "x-goog-request-id", "cf-ray")
KEPT_ANSWER_HEADERS = frozenset(
    {
        "content-type", "content-encoding", "retry-after", "server", "openai-processing-ms", "openai-version",
        "x-request-id", "request-id", "cf-ray", "ratelimit", "ratelimit-policy",
        "x-ratelimit-limit-requests", "x-ratelimit-limit-tokens", "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens",
    }
)  # fmt: skip


@dataclass(slots=True)
class Inquiry:
    """What a request asks for, as far as it can be told: nothing of it is known of a body that is no JSON."""

    model: str = ""
    is_streaming: bool = False
    hides_usage: bool = False
    """Whether usage was asked for that the client did not ask for."""
    end_user: str | None = None
    most_output: int | None = None
    """How many model tokens the answer may have by the request's own word."""
    body: bytes = b""
    """The JSON that was sent, kept for an estimate."""

    def rough_input(self) -> int:
        """About how many model tokens were sent, cheaply: what an interrupted call is priced by."""
        return self.exact_input() if len(self.body) > _ROUGH_BYTES else -(-len(self.body) // 4)

    def exact_input(self) -> int:
        """Estimate the model tokens of the text that was sent."""
        try:
            return text_of(msgspec.json.decode(self.body)) if self.body else 0
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return 0


@dataclass(slots=True)
class Target:
    """Where a call goes."""

    provider: ProviderEntry
    facts: ProviderFacts
    credential: CredentialEntry | None
    base_url: str
    auth_form: str
    path: str
    """Path below the base URL, as the client wrote it, with its leading slash."""
    query: bytes
    region: str | None = None


@dataclass(slots=True)
class Caller:
    """Who calls, and from where."""

    key: KeyEntry
    request_id: str
    user_agent: str = ""
    ip_address: str | None = None
    session_id: str | None = None
    trace_id: str | None = None
    parent_span_id: str | None = None
    """The client's span that the call was made in."""
    trace_flags: str = "01"
    """Of the client's trace context: whether it keeps the trace."""
    trace_state: str = ""
    """What other systems carry along with the trace."""
    tags: dict[str, str] | None = None
    came: float = field(default_factory=time.perf_counter)
    """When the request's head was read, on the monotonic clock."""


@dataclass(slots=True, eq=False)
class Exchange:
    """One attempt."""

    caller: Caller
    target: Target
    method: str
    path: str
    """The path as the provider sees it, without query."""
    inquiry: Inquiry
    attempt: int = 1
    id: str = field(default_factory=uuid7_text)
    ticket: Ticket | None = None
    """What was reserved for it, where its organization has limits."""
    decision: dict[str, Any] | None = None
    """What limits decided of it, once it is refused or settled, as `decide/explanation.py` writes it down."""
    limit_set: LimitSet | None = None
    """The limits that `decision` names."""
    refused_by: str | None = None
    """The limit that refused it: it was never sent."""
    open_call: OpenCall | None = None
    """Its mark in the journal; None where the journal could not be written."""
    began: float = field(default_factory=time.perf_counter)
    """When the attempt began, on the monotonic clock."""
    status_code: int = 0
    first_byte_seconds: float | None = None
    last_byte_seconds: float | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    error_type: str = ""
    error_message: str = ""
    model: str = ""
    response_id: str = ""
    """The provider's id of the answer."""
    usage: Usage = field(default_factory=Usage)
    variant: dict[str, str] = field(default_factory=dict)
    client_left: bool = False
    is_recorded: bool = False
    capture: Capture | None = None
    """The copy of its bodies, where its organization wants one."""
    was_sent: bool = False
    """Whether anything of the answer reached the client."""

    def begin_mark(self) -> Begin:
        """Make the mark that the call is sent."""
        key = self.caller.key
        return Begin(
            self.id, key.id, key.organization_id, self.target.provider.slug, self.method, self.path[:MAX_PATH_CHARS],
            self.inquiry.model, self.caller.request_id, self.request_bytes, self.inquiry.rough_input(), key.application,
            key.user_id,
        )  # fmt: skip

    def end_mark(self, book: PriceBook) -> End:
        """Make the mark that the call ended, with its record."""
        key = self.caller.key
        return End(self.id, key.id, key.organization_id, self.record(book), key.application, key.user_id)

    def record(self, book: PriceBook) -> ApiCall:
        """Make the record of a call that ended."""
        elapsed = self.last_byte_seconds
        if elapsed is None:
            elapsed = time.perf_counter() - self.began
        caller = self.caller
        metadata: dict[str, Any] = {"gateway": self._details()}
        return ApiCall(
            provider=self.target.provider.slug,
            status_code=self.status_code,
            # When it was made stands in its id.
            id=self.id,
            path=self.path[:MAX_PATH_CHARS],
            method=self.method,
            response_time_ms=elapsed * 1000,
            time_to_first_byte_ms=None if self.first_byte_seconds is None else self.first_byte_seconds * 1000,
            request_size_bytes=self.request_bytes,
            response_size_bytes=self.response_bytes,
            model=book.model_to_price(
                self.target.provider.slug, self.model, self.inquiry.model, caller.key.organization_id
            )
            or None,
            tokens=self.usage.tokens(),
            units=self.usage.units(),
            service_variant=self.variant or None,
            end_user=self.inquiry.end_user,
            region=self.target.region,
            session_id=caller.session_id,
            request_id=caller.request_id[:_MAX_NAME],
            trace_id=caller.trace_id,
            tags=caller.tags,
            metadata=metadata,
            error_type=_clean(self.error_type, _MAX_NAME) or None,
            error_message=_clean(self.error_message, 2000) or None,
            user_agent=_clean(caller.user_agent, MAX_USER_AGENT_CHARS) or None,
            ip_address=caller.ip_address,
            response_headers={name: value[:1000] for name, value in self.headers.items() if name in KEPT_ANSWER_HEADERS}
            or None,
            refused_by=None if self.refused_by is None else _clean(self.refused_by, _MAX_NAME),
        )

    def _details(self) -> dict[str, Any]:
        queue_ms = int((self.began - self.caller.came) * 1e6) / 1000
        details: dict[str, Any] = {"attempt": self.attempt, "queue_ms": queue_ms}
        if self.usage.counts or not self.usage.is_exact:
            details["usage"] = "exact" if self.usage.is_exact else "estimated"
        if self.inquiry.is_streaming:
            details["streamed"] = True
        if self.client_left:
            details["client_left"] = True
        if self.decision is not None:
            details |= self.decision
        if self.target.credential is not None:
            details["credential"] = self.target.credential.id
        if self.caller.parent_span_id:
            details["parent_span_id"] = self.caller.parent_span_id
        if self.response_id:
            details["response_id"] = _clean(self.response_id, _MAX_NAME)
        given = next((self.headers[name] for name in _PROVIDER_IDS if name in self.headers), None)
        if given is not None:
            details["provider_request_id"] = given[:_MAX_NAME]
        if self.inquiry.model and self.model and self.inquiry.model != self.model:
            details["requested_model"] = self.inquiry.model
        return details


def interrupted(mark: Begin) -> ApiCall:
    """Make the record of a call whose process died before it ended: its usage is what was sent, estimated."""
    usage = Usage({"input": mark.input_estimate} if mark.input_estimate else {}, is_exact=False)
    return ApiCall(
        provider=mark.provider,
        status_code=0,
        id=mark.id,
        path=mark.path,
        method=mark.method,
        request_size_bytes=mark.request_bytes,
        model=mark.model or None,
        tokens=usage.tokens(),
        request_id=mark.request_id[:_MAX_NAME],
        metadata={"gateway": {"usage": "estimated"}},
        error_type="interrupted",
        error_message="the process that served the call ended before the answer did",
    )


def _clean(text: str, limit: int) -> str:
    """Make a foreign text storable: no NUL, no half of a surrogate pair, not too long."""
    if text.isascii() and "\x00" not in text:
        return text[:limit]
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:limit]
