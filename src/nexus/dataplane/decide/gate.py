"""Admission of calls that are forwarded: estimates what a call will take, asks, and settles it to what it took.

```python
ticket = await gate.ask(key, provider="openai", model="gpt-4o", body=body, input_tokens=120, request_bytes=4000)
…                       # unless `ticket.decision.is_admitted`, raise `refusal(ticket.decision)`
gate.settle(ticket, tokens=712, cost_nanos=3_150_000)       # or gate.release(ticket) when nothing was sent
```
Model tokens: the input as counted or estimated by the caller, the output by the request's own maximum, or else by the median
of what this model's last answers took. Money: what these tokens cost by the price book.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from statistics import median_high
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
from msgspec import structs

from nexus.contracts.keys import KeyEntry, KeyTable, OrganizationEntry
from nexus.contracts.limits import MAX_UNITS, Call, Dimension, LimitTable
from nexus.contracts.prices import PriceBook
from nexus.contracts.pricing import price_call
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.purses import Charges, Plan
from nexus.dataplane.decide.types import Decision, Settlement
from nexus.dataplane.http import NotLoaded
from nexus.kit.clock import SYSTEM_CLOCK, Clock

HOLD_SECONDS = 900.0
"""How long a forwarded call may last before it is taken for lost and stays charged as estimated."""
UNKNOWN_OUTPUT_TOKENS = 1000
"""Output of a model that has not answered here yet, where the request sets no maximum."""
_ANSWERS = 31
_MODELS = 2000
_MOST_KINDS = 20_000
_MAXIMA = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class _Asked(msgspec.Struct):
    """The parts of a request that bound its answer; unknown to us, they are left alone."""

    max_completion_tokens: Any = None
    max_tokens: Any = None
    max_output_tokens: Any = None
    generationConfig: Any = None  # noqa: N815
    n: Any = None


_ASKED = msgspec.json.Decoder(_Asked)


@dataclass(frozen=True, slots=True)
class Priced:
    """What a call is priced by, but for its usage."""

    key: KeyEntry
    provider: str
    model: str
    endpoint: str
    method: str | None
    region: str | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call that was asked for: admitted, or refused."""

    organization_id: UUID
    decision: Decision
    call: Priced
    input_tokens: int
    plan: Plan
    charges: Charges
    """What it is thought to take, a number for each of the plan's columns."""


class _Kind:
    """What calls of one key to one model have in common."""

    __slots__ = ("call", "key", "organization", "plan", "tags")

    def __init__(
        self, call: Priced, organization: OrganizationEntry | None, tags: Mapping[str, str], plan: Plan
    ) -> None:
        self.key = call.key
        self.call = call
        self.organization = organization
        self.tags = tags
        self.plan = plan


def most_output_tokens(body: bytes) -> int | None:
    """Return how many model tokens an answer may have by its request's own word; None when it says nothing."""
    try:
        asked = _ASKED.decode(body) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if asked is None:
        return None
    inner = asked.generationConfig.get("maxOutputTokens") if isinstance(asked.generationConfig, dict) else None
    said: list[int] = [value for value in (*(getattr(asked, name) for name in _MAXIMA), inner) if _is_count(value)]
    if not said:
        return None
    answers: int = asked.n if _is_count(asked.n) and asked.n > 0 else 1
    return min(min(said) * answers, 10**9)


def _call_of(kind: _Kind) -> Call:
    key, organization = kind.key, kind.organization
    return Call(
        organization_id=key.organization_id, application=key.application, user_id=key.user_id, key_id=key.id,
        provider=kind.call.provider, model=kind.call.model, endpoint=kind.call.endpoint,
        currency=organization.currency if organization is not None else "", tags=kind.tags,
    )  # fmt: skip


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**9


class Gate:
    """Asks for forwarded calls and settles them, beside the call: nobody waits for a settlement."""

    def __init__(
        self,
        admission: Admission,
        *,
        keys: Callable[[], KeyTable],
        prices: Callable[[], PriceBook],
        is_loaded: Callable[[], bool] = lambda: True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._admission = admission
        self._keys = keys
        self._prices = prices
        self._is_loaded = is_loaded
        self._clock = clock
        self._kinds: dict[tuple[object, ...], _Kind] = {}
        self._answers: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        self._tasks: set[asyncio.Task[Settlement]] = set()

    def concerns(self, key: KeyEntry) -> bool:
        """Whether calls with this key have any limit to be asked. `NotLoaded` while nobody knows: none is not the same."""
        if not self._is_loaded():
            raise NotLoaded(retry_after_seconds=1)
        return bool(self._admission.table.limits.get(key.organization_id))

    async def ask(
        self,
        key: KeyEntry,
        *,
        provider: str,
        model: str = "",
        endpoint: str = "",
        method: str | None = None,
        region: str | None = None,
        tags: Mapping[str, str] | None = None,
        body: bytes = b"",
        input_tokens: int = 0,
        request_bytes: int = 0,
        cost_nanos: int | None = None,
        hold_seconds: float = HOLD_SECONDS,
    ) -> Ticket | None:
        """Ask for one call; the ticket says whether it may be made. None where its organization has no limits.

        The cost is in nanos of the organization's currency; where it is not given, the price book estimates it.
        """
        if not self.concerns(key):
            return None
        kind = self._kind(key, provider, model, endpoint, method, region, tags or {})
        plan = kind.plan
        output = 0
        if input_tokens or model:
            said = most_output_tokens(body)
            output = self._usual_output((provider, model)) if said is None else said
        cost = min(cost_nanos or 0, MAX_UNITS)
        if cost_nanos is None and "money" in plan.dimensions:
            usage = {"input": input_tokens, "output": output, "requests": 1}
            cost = min(self._price(kind.call, kind.organization, model, usage) or 0, MAX_UNITS)
        tokens = input_tokens + output
        amounts = {
            "requests": 1, "operations": 0, "bytes": request_bytes, "tokens": tokens, "concurrency": 1, "money": cost,
        }  # fmt: skip
        charges = plan.charges([amounts[limit.dimension] for limit in plan.columns])
        decision = self._admission.decide_now(plan, charges, hold_seconds=hold_seconds)
        if decision is None:
            decision = await self._admission.decide(
                structs.replace(_call_of(kind), bytes=request_bytes, tokens=tokens, money=cost),
                hold_seconds=hold_seconds,
                # A ticket is settled or released by the process that has it.
                is_settled_here=True,
            )
        return Ticket(key.organization_id, decision, kind.call, input_tokens, plan, charges)

    def _kind(
        self, key: KeyEntry, provider: str, model: str, endpoint: str, method: str | None, region: str | None,
        tags: Mapping[str, str],
    ) -> _Kind:  # fmt: skip
        name = (key.id, provider, model, endpoint, method, region, tuple(sorted(tags.items())) if tags else ())
        organization = self._keys().organizations.get(key.organization_id)
        kind = self._kinds.get(name)
        if (
            kind is None
            or kind.key is not key
            or kind.organization is not organization
            or kind.plan.table is not self._admission.table
        ):
            if len(self._kinds) >= _MOST_KINDS:
                self._kinds.clear()
            call = Priced(key, provider, model, endpoint, method, region)
            kind = _Kind(call, organization, tags, Plan(LimitTable(), "", ()))
            kind.plan = self._admission.plan(_call_of(kind))
            self._kinds[name] = kind
        return kind

    def actual(
        self,
        ticket: Ticket,
        *,
        tokens: int | None = None,
        cost_nanos: int | None = None,
        size_bytes: int | None = None,
    ) -> dict[Dimension, int]:
        """Say what a call took by dimension, and learn from it what its model's answers usually take."""
        if tokens is not None and tokens > ticket.input_tokens:
            self._learn((ticket.call.provider, ticket.call.model), tokens - ticket.input_tokens)
        actual: dict[Dimension, int] = {}
        if tokens is not None:
            actual["tokens"] = min(tokens, MAX_UNITS)
        if cost_nanos is not None:
            actual["money"] = min(cost_nanos, MAX_UNITS)
        if size_bytes is not None:
            actual["bytes"] = min(size_bytes, MAX_UNITS)
        return actual

    def settle(
        self,
        ticket: Ticket | None,
        *,
        tokens: int | None = None,
        cost_nanos: int | None = None,
        size_bytes: int | None = None,
    ) -> None:
        """Settle a call to what it took, beside the caller; what is not known stays as estimated."""
        if ticket is not None:
            self.settle_to(ticket, self.actual(ticket, tokens=tokens, cost_nanos=cost_nanos, size_bytes=size_bytes))

    def settle_to(self, ticket: Ticket, actual: Mapping[Dimension, int]) -> None:
        """Settle a call to what `actual` said that it took."""
        hold_id = ticket.decision.hold_id
        if not self._admission.settle_now(hold_id, actual):
            self._beside(self._admission.settle(ticket.organization_id, hold_id, actual))

    def cost(
        self,
        ticket: Ticket,
        usage: Mapping[str, int],
        *,
        model: str,
        variant: Mapping[str, str],
        is_failure: bool,
    ) -> int | None:
        """Price what a call took, in nanos of its organization's currency; None where the book cannot tell, or no limit asks.

        `usage` and `variant` are as a record has them; `model` is the one that answered.
        """
        if "money" not in ticket.plan.dimensions:
            return None
        organization = self._keys().organizations.get(ticket.organization_id)
        return self._price(
            ticket.call, organization, model or ticket.call.model, {**usage, "requests": 1}, variant=variant,
            is_failure=is_failure,
        )  # fmt: skip

    def release(self, ticket: Ticket | None) -> None:
        """Give everything back: the call was never made."""
        if ticket is not None:
            self._beside(self._admission.release(ticket.organization_id, ticket.decision.hold_id))

    async def stop(self) -> None:
        """Wait for settlements that are under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _price(
        self,
        call: Priced,
        organization: OrganizationEntry | None,
        model: str,
        usage: Mapping[str, int],
        *,
        variant: Mapping[str, str] = MappingProxyType({}),
        is_failure: bool = False,
    ) -> int | None:
        """Return nanos of the organization's currency."""
        tier, currency = (organization.tier, organization.currency) if organization is not None else ("standard", "")
        return price_call(
            self._prices(), organization_id=call.key.organization_id, tier=tier, provider=call.provider,
            model=model or None, endpoint=call.endpoint or None, method=call.method, region=call.region,
            at=self._clock.now(), usage=usage, variant=variant, currency=currency or None, is_failure=is_failure,
        ).cost_nanos  # fmt: skip

    def _beside(self, work: Coroutine[Any, Any, Settlement]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _usual_output(self, model: tuple[str, str]) -> int:
        seen = self._answers.get(model)
        return median_high(seen) if seen else UNKNOWN_OUTPUT_TOKENS

    def _learn(self, model: tuple[str, str], output: int) -> None:
        seen = self._answers.setdefault(model, deque(maxlen=_ANSWERS))
        seen.append(output)
        self._answers.move_to_end(model)
        if len(self._answers) > _MODELS:
            self._answers.popitem(last=False)
