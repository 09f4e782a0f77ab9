"""Admission of calls that are forwarded: estimates what a call will take, asks, and settles it to what it took.

```python
ticket = await gate.ask(key, provider="openai", model="gpt-4o", input_tokens=120, most_output=500, request_bytes=4000)
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
from dataclasses import dataclass, field
from statistics import median_high
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
from msgspec import structs

from nexus.contracts.keys import KeyEntry, KeyTable, OrganizationEntry
from nexus.contracts.limits import MAX_UNITS, Call, Dimension, LimitTable
from nexus.contracts.prices import PriceBook, Resolution
from nexus.contracts.pricing import price_resolved
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.purses import Charges, Finished, Plan
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


@dataclass(slots=True, eq=False)
class Priced:
    """What calls of one kind are priced by, but for their usage: which prices, is found once for each model that answers."""

    key: KeyEntry
    provider: str
    model: str
    endpoint: str
    method: str | None
    region: str | None
    organization: OrganizationEntry | None = None
    _book: PriceBook | None = None
    _found: dict[str, Resolution] = field(default_factory=dict)

    def prices(self, book: PriceBook, model: str) -> Resolution:
        """Return the prices in a book for calls that a model answers."""
        if book is not self._book:
            self._book, self._found = book, {}
        found = self._found.get(model)
        if found is None:
            if len(self._found) >= _MODELS:
                self._found.clear()
            tier, currency = "standard", None
            if self.organization is not None:
                tier, currency = self.organization.tier, self.organization.currency
            found = self._found[model] = book.resolve(
                self.key.organization_id, tier, self.provider, model or None, self.endpoint or None, self.method,
                self.region, currency or None,
            )  # fmt: skip
        return found


class Ticket(msgspec.Struct, frozen=True):
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

    __slots__ = ("call", "key", "keys", "organization", "plan", "tags")

    def __init__(self, call: Priced, tags: Mapping[str, str], keys: KeyTable, plan: Plan) -> None:
        self.key = call.key
        self.keys = keys
        self.call = call
        self.organization = call.organization
        self.tags = tags
        self.plan = plan


def _call_of(kind: _Kind) -> Call:
    key, organization = kind.key, kind.organization
    return Call(
        organization_id=key.organization_id, application=key.application, user_id=key.user_id, key_id=key.id,
        provider=kind.call.provider, model=kind.call.model, endpoint=kind.call.endpoint,
        currency=organization.currency if organization is not None else "", tags=kind.tags,
    )  # fmt: skip


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
        self._book: PriceBook | None = None
        self._answers: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        self._tasks: set[asyncio.Task[Settlement]] = set()

    def concerns(self, key: KeyEntry) -> bool:
        """Whether calls with this key have any limit to be asked. `NotLoaded` while nobody knows: none is not the same."""
        self._check_loaded()
        return bool(self._admission.table.limits.get(key.organization_id))

    def _check_loaded(self) -> None:
        if not self._is_loaded():
            raise NotLoaded(retry_after_seconds=1)

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
        input_tokens: int = 0,
        most_output: int | None = None,
        request_bytes: int = 0,
        cost_nanos: int | None = None,
        hold_seconds: float = HOLD_SECONDS,
    ) -> Ticket | None:
        """Ask for one call; the ticket says whether it may be made. None where its organization has no limits.

        `most_output` is how many tokens the answer may have by the request's own word, where it says so. The cost is in nanos of
        the organization's currency; where it is not given, the price book estimates it.
        """
        self._check_loaded()
        kind = self._kind(key, provider, model, endpoint, method, region, tags or {})
        plan = kind.plan
        if not plan.limits and not self.concerns(key):
            return None
        output = 0
        if input_tokens or model:
            output = self._usual_output((provider, model)) if most_output is None else most_output
        cost = min(cost_nanos or 0, MAX_UNITS)
        if cost_nanos is None and "money" in plan.dimensions:
            usage = {"input": input_tokens, "output": output, "requests": 1}
            cost = min(self._price(kind.call, model, usage) or 0, MAX_UNITS)
        tokens = input_tokens + output
        # In the order of `DIMENSIONS`.
        charges = plan.charges_for((1, 0, request_bytes, tokens, 1, cost))
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
        book = self._prices()
        if book is not self._book:
            # Kinds that nobody asks for any more would keep books of the past.
            self._book, self._kinds = book, {}
        # By the number of the id, as an id is hashed and compared in Python.
        name = (key.id.int, provider, model, endpoint, method, region, tuple(sorted(tags.items())) if tags else ())
        keys = self._keys()
        kind = self._kinds.get(name)
        if kind is None or kind.keys is not keys or kind.key is not key or kind.plan.table is not self._admission.table:
            if len(self._kinds) >= _MOST_KINDS:
                self._kinds.clear()
            organization = keys.organizations.get(key.organization_id)
            call = Priced(key, provider, model, endpoint, method, region, organization)
            kind = _Kind(call, tags, keys, Plan(LimitTable(), "", ()))
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

    def settle_to(self, ticket: Ticket, actual: Mapping[Dimension, int]) -> Finished:
        """Settle a call to what `actual` said that it took; returns what that comes to."""
        hold_id = ticket.decision.hold_id
        finished = self._admission.settle_now(hold_id, actual)
        if finished is None:
            self._beside(self._admission.settle(ticket.organization_id, hold_id, actual))
            finished = Finished(ticket.plan, ticket.charges, ticket.plan.taken(ticket.charges, actual))
        return finished

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

        `usage`, with `requests`, and `variant` are as a record has them; `model` is the one that answered.
        """
        if "money" not in ticket.plan.dimensions:
            return None
        call = ticket.call
        return self._price(call, model or call.model, usage, variant=variant, is_failure=is_failure)

    def release(self, ticket: Ticket) -> Finished:
        """Give everything back: the call was never made."""
        self._beside(self._admission.release(ticket.organization_id, ticket.decision.hold_id))
        return Finished(ticket.plan, ticket.charges, [0] * len(ticket.charges))

    async def stop(self) -> None:
        """Wait for settlements that are under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _price(
        self,
        call: Priced,
        model: str,
        usage: Mapping[str, int],
        *,
        variant: Mapping[str, str] = MappingProxyType({}),
        is_failure: bool = False,
    ) -> int | None:
        """Return nanos of the organization's currency."""
        prices = call.prices(self._prices(), model)
        return price_resolved(
            prices, at=self._clock.now(), usage=usage, variant=variant, is_failure=is_failure
        ).cost_nanos

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
