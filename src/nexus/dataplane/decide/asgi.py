"""POST /v1/admit and /v1/settle as a bare ASGI application: programs ask whether a call may be made, and settle it after.

One object asks for one decision; a list asks for many, decided one by one in its order, each answered for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec

from nexus.contracts.calls import MAX_TAG_NAME_CHARS, MAX_TAG_VALUE_CHARS, MAX_TAGS
from nexus.contracts.keys import KeyEntry, KeyTable
from nexus.contracts.limits import MAX_UNITS, MICRO, Call, Dimension, LimitTable
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.headers import decimal_units, rate_limit_headers, retry_after_seconds
from nexus.dataplane.decide.types import Decision, LimitStanding, Settlement
from nexus.dataplane.http import (
    Answer,
    NotLoaded,
    OnUse,
    Receive,
    Scope,
    ScopeMissing,
    Send,
    authenticate,
    encode_json,
    ignore_use,
    read_body,
    read_headers,
    serve,
)
from nexus.kit.clock import SYSTEM_CLOCK, Clock
from nexus.kit.errors import (
    Conflict,
    FieldFault,
    InvalidRequest,
    MalformedRequest,
    NexusError,
    NotFound,
    TooManyRequests,
    Unavailable,
)
from nexus.kit.ids import uuid7
from nexus.kit.money import NANOS
from nexus.platform.web.problems import MethodNotAllowed, fault_of

ADMIT_PATH, SETTLE_PATH = "/v1/admit", "/v1/settle"
SCOPE = "calls:admit"
PRIVILEGED_SCOPE = "token:adjust"
MAX_BODY_BYTES = 1024 * 1024
MAX_BATCH = 1000
MAX_HOLD_SECONDS = 86_400

Text = Annotated[str, msgspec.Meta(max_length=300, pattern=r"^[^\x00]*$")]
HoldId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:\-]{1,100}$")]
Units = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
Amount = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,10}(\.[0-9]{1,12})?$")]


Tags = Annotated[
    dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TAG_NAME_CHARS)],
        Annotated[str, msgspec.Meta(max_length=MAX_TAG_VALUE_CHARS, pattern=r"^[^\x00]*$")],
    ],
    msgspec.Meta(max_length=MAX_TAGS),
]


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """A call that somebody wants to make."""

    application: Text = ""
    """Left out: the key's own."""
    user_id: UUID | None = None
    provider: Text = ""
    model: Text = ""
    endpoint: Text = ""
    operation: Text | None = None
    """Its charge is computed from its size by the costs in force."""
    size_bytes: Units = 0
    requests: Units = 1
    operations: Amount | None = None
    """Instead of an operation: how many, as a decimal."""
    tokens: Units = 0
    tags: Tags = {}
    """For attribution, as the call's record has them: limits on tags are met by them."""
    money: Amount | None = None
    currency: Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{3})?$")] = ""
    privileged: bool = False
    hold_id: HoldId | None = None
    """The same again is the same call again, which is answered and not charged. Without `hold_seconds`: held for ten minutes."""
    hold_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_HOLD_SECONDS)] = 0.0
    """Hold it for so long at most, to be settled to what it really took."""


class Actual(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a call really took; what is left out stays as it was charged."""

    requests: Units | None = None
    operations: Amount | None = None
    bytes: Units | None = None
    tokens: Units | None = None
    money: Amount | None = None


class Ending(msgspec.Struct, forbid_unknown_fields=True):
    """How a held call ended."""

    hold_id: HoldId
    actual: Actual = Actual()
    release: bool = False
    """It was never made: everything is given back."""


class QuotaExceeded(TooManyRequests):
    """A limit refused the call: `limit` says which, and Retry-After when to try again."""

    code = "quota-exceeded"


class BudgetExhausted(QuotaExceeded):
    """The budget is spent, and it pauses calls at its limit: `budget` says how much, and when it begins again."""


class LimiterAway(Unavailable):
    """The limiter does not answer, and a limit is set to refuse then: try again in a moment."""

    code = "limiter_unavailable"


class UnknownHold(NotFound):
    """There is no such hold: it was never made, or ended more than an hour ago."""

    code = "unknown_hold"


class HoldSpent(Conflict):
    """The hold has ended, or belongs to another call: name a new one for each call."""

    code = "hold_spent"


_QUESTION = msgspec.json.Decoder(Question | list[Question])
_ENDING = msgspec.json.Decoder(Ending | list[Ending])


class AdmissionApp:
    """The ASGI application. Give it the requests whose path is `ADMIT_PATH` or `SETTLE_PATH`."""

    def __init__(
        self,
        admission: Admission,
        keys: Callable[[], KeyTable],
        *,
        is_loaded: Callable[[], bool] = lambda: True,
        on_use: OnUse = ignore_use,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._admission = admission
        self._is_loaded = is_loaded
        self._on_use = on_use
        self._keys = keys
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request_id = str(scope.get("state", {}).get("request_id") or uuid7())
        await serve(scope, send, request_id, self._answer(scope, receive))

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST only", allow="POST")
        # Without tables every key would be unknown, and no call limited.
        if not self._is_loaded():
            raise NotLoaded(retry_after_seconds=1)
        headers = read_headers(scope)
        key = authenticate(headers, self._keys(), scope=SCOPE, at=self._clock.now())
        self._on_use(key)
        body = await read_body(headers, receive, limit=MAX_BODY_BYTES)
        return await (self._admit if scope["path"] == ADMIT_PATH else self._settle)(key, body)

    async def _admit(self, key: KeyEntry, body: bytes) -> Answer:
        asked = _decode(_QUESTION, body)
        table = self._admission.table
        if isinstance(asked, list):
            calls = [call_of(key, question, table, f"{index}.") for index, question in enumerate(asked)]
            answers = []
            for call, question in zip(calls, asked, strict=True):
                answers.append(_told(await self._decide(call, question)))
            return Answer(200, encode_json(answers))
        decision = await self._decide(call_of(key, asked, table, ""), asked)
        if decision.is_admitted:
            return Answer(200, encode_json(_told(decision)), headers=rate_limit_headers(decision))
        raise refusal(decision)

    async def _decide(self, call: Call, question: Question) -> Decision:
        return await self._admission.decide(call, hold_id=question.hold_id or "", hold_seconds=question.hold_seconds)

    async def _settle(self, key: KeyEntry, body: bytes) -> Answer:
        asked = _decode(_ENDING, body)
        endings: list[Ending] = asked if isinstance(asked, list) else [asked]
        answers = []
        for ending in endings:
            if ending.release:
                settled = await self._admission.release(key.organization_id, ending.hold_id)
            else:
                settled = await self._admission.settle(key.organization_id, ending.hold_id, _actual(ending.actual))
            answers.append(_settled(ending.hold_id, settled))
        if isinstance(asked, list):
            return Answer(200, encode_json(answers))
        if answers[0]["status"] == "unknown":
            raise UnknownHold
        return Answer(202 if answers[0]["status"] == "unavailable" else 200, encode_json(answers[0]))


def call_of(key: KeyEntry, question: Question, table: LimitTable, where: str) -> Call:
    """Return the call a question is about. A key that belongs to an application or a person speaks for no other."""
    application = key.application or question.application
    if question.application not in {"", application}:
        message = f"the access key belongs to the application {key.application}"
        raise InvalidRequest(message, faults=[FieldFault(f"{where}application", message)])
    if key.user_id is not None and question.user_id not in {None, key.user_id}:
        message = "the access key belongs to another person"
        raise InvalidRequest(message, faults=[FieldFault(f"{where}user_id", message)])
    if question.privileged and not key.allows(PRIVILEGED_SCOPE):
        raise ScopeMissing(f"privileged calls need the scope {PRIVILEGED_SCOPE}")
    if question.money is not None and not question.currency:
        raise InvalidRequest(
            "money has a currency", faults=[FieldFault(f"{where}currency", "give the currency of the amount")]
        )
    operations = _scaled(question.operations, MICRO)
    if question.operation is not None:
        cost = table.operation(key.organization_id, application, question.operation)
        if cost is None or question.operations is not None:
            message = "give an operation or how many operations" if cost else "there is no such operation type"
            raise InvalidRequest(message, faults=[FieldFault(f"{where}operation", message)])
        operations = cost.micro(question.size_bytes)
    if operations > MAX_UNITS:
        message = "more operations than can be counted"
        raise InvalidRequest(message, faults=[FieldFault(f"{where}operation", message)])
    return Call(
        organization_id=key.organization_id, application=application, user_id=key.user_id or question.user_id, key_id=key.id,
        provider=question.provider, model=question.model, endpoint=question.endpoint, requests=question.requests,
        operations=operations, bytes=question.size_bytes, tokens=question.tokens,
        money=_scaled(question.money, NANOS), currency=question.currency, tags=question.tags, is_privileged=question.privileged,
    )  # fmt: skip


def refusal(decision: Decision) -> NexusError:
    """Make the problem that tells a caller why its call was not admitted."""
    if decision.outcome == "unavailable":
        return LimiterAway(retry_after_seconds=retry_after_seconds(decision))
    if decision.outcome == "spent":
        return HoldSpent()
    limit = decision.refused_by
    assert limit is not None
    if decision.outcome == "impossible":
        text = f"the call is larger than the limit {limit.name} will ever allow: make it smaller, or raise the limit"
    else:
        text = f"the limit {limit.name} on {limit.dimension} is used up: try again after Retry-After"
    standing = next((item for item in decision.standings if item.limit is limit), None)
    budget = None
    if limit.is_budget and standing is not None and standing.left is not None:
        budget = _budget(standing)
        text = _budget_text(budget, is_impossible=decision.outcome == "impossible")
    headers = {name.decode(): value.decode() for name, value in rate_limit_headers(decision)}
    # Told by whoever renders the error, and not at all where waiting does not help.
    headers.pop("retry-after", None)
    retry = None if decision.outcome == "impossible" else retry_after_seconds(decision)
    violated: dict[str, Any] = {"violated-policies": [limit.name]}
    if budget is not None:
        violated["budget"] = budget
    return (QuotaExceeded if budget is None else BudgetExhausted)(
        text, retry_after_seconds=retry, limit=limit.name, scope=limit.scope, dimension=limit.dimension,
        is_impossible=decision.outcome == "impossible", retry_after_ms=-(-decision.retry_us // 1000),
        headers=headers, **violated,
    )  # fmt: skip


def _budget(standing: LimitStanding) -> dict[str, Any]:
    """Say how a budget stands that refused a call: what is spent of it, calls in flight included, and when it begins again."""
    limit = standing.limit
    assert standing.left is not None
    begins = SYSTEM_CLOCK.now() + timedelta(microseconds=standing.reset_us)
    return {
        "name": limit.name,
        "amount": decimal_units(limit.capacity, limit),
        "spent": decimal_units(limit.capacity - standing.left, limit),
        "currency": limit.currency,
        "begins_again_at": begins.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


def _budget_text(budget: dict[str, Any], *, is_impossible: bool) -> str:
    """Say it in a sentence, as clients show it that know no other member of the error."""
    spent = f"{budget['spent']} of {budget['amount']} {budget['currency']}"
    if is_impossible:
        return (
            f"the call may cost more than the whole budget {budget['name']} of {budget['amount']} {budget['currency']}"
        )
    return (
        f"the budget {budget['name']} has no room for this call: {spent} are spent or held by calls in flight;"
        f" it begins again at {budget['begins_again_at']}"
    )


def _told(decision: Decision) -> dict[str, Any]:
    told: dict[str, Any] = {
        "admitted": decision.is_admitted,
        "outcome": decision.outcome,
        "hold_id": decision.hold_id or None,
        "wait_ms": -(-decision.wait_us // 1000),
        "decided_by": decision.decided_by,
        "degraded": decision.is_degraded,
        "replayed": decision.is_replay,
        "limits": [
            {
                "name": item.limit.name, "scope": item.limit.scope, "dimension": item.limit.dimension,
                "charged": decimal_units(item.charged, item.limit),
                "left": None if item.left is None else decimal_units(item.left, item.limit),
                "reset_ms": -(-item.reset_us // 1000), "would_refuse": item.would_refuse,
            }
            for item in decision.standings
        ],
    }  # fmt: skip
    if not decision.is_admitted:
        told["refused_by"] = decision.refused_by.name if decision.refused_by else None
        refused = next((item for item in decision.standings if item.limit is decision.refused_by), None)
        if refused is not None and refused.limit.is_budget and refused.left is not None:
            told["budget"] = _budget(refused)
        told["retry_after_ms"] = None if decision.outcome in {"impossible", "spent"} else -(-decision.retry_us // 1000)
    return told


def _settled(hold_id: str, settled: Settlement) -> dict[str, Any]:
    return {
        "hold_id": hold_id,
        "status": settled.status,
        "legs": [{"dimension": leg.dimension, "charged": leg.charged, "actual": leg.actual} for leg in settled.legs],
    }


def _scaled(text: str | None, per: int) -> int:
    if text is None:
        return 0
    # Rounded up once: what is charged is never less than what was said.
    return -int(-(Decimal(text) * per) // 1)


def _actual(actual: Actual) -> dict[Dimension, int]:
    found: dict[Dimension, int | None] = {
        "requests": actual.requests,
        "operations": None if actual.operations is None else _scaled(actual.operations, MICRO),
        "bytes": actual.bytes,
        "tokens": actual.tokens,
        "money": None if actual.money is None else _scaled(actual.money, NANOS),
    }
    return {name: amount for name, amount in found.items() if amount is not None}


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        fault = fault_of(str(error))
        raise InvalidRequest(f"{fault.field}: {fault.message}", faults=[fault]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest("send a body that is valid JSON, in UTF-8") from error
    if isinstance(value, list) and not 0 < len(value) <= MAX_BATCH:
        message = f"give 1 to {MAX_BATCH} in a list"
        raise InvalidRequest(message, faults=[FieldFault("body", message)])
    return value
