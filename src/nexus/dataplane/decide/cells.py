"""Cells: all state of one organization in Redis, and how one is made known that Redis does not know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from nexus.dataplane.decide.lending import LoanRecord, reopen_loans
from nexus.dataplane.decide.scripts import Scripts, keys_of

CELLS = "nx:cells"
"""The set of those there are."""


@dataclass(frozen=True, slots=True)
class CellHistory:
    """What is known, outside Redis, of a cell that Redis does not know."""

    has_history: bool
    """Whether it ever decided anything: then Redis has lost it, and its buckets begin empty."""
    states: Mapping[str, bytes]
    """Windows that are still running, and buckets that have open loans, packed, by bucket."""
    loans: Mapping[str, Sequence[LoanRecord]] = field(default_factory=dict)
    """Open loans by the bucket that borrowed."""


Restore = Callable[[UUID], Awaitable[CellHistory]]


async def open_cell(
    scripts: Scripts, restore: Restore | None, organization_id: UUID, *, has_decided: bool = False
) -> None:
    """Make a cell known, with what is known of it from before a loss: loans first, for once it is known calls are decided.

    `has_decided`: calls of it were decided before, whatever `restore` knows.
    """
    history = await restore(organization_id) if restore is not None else CellHistory(False, {})
    keys = keys_of(organization_id)
    await reopen_loans(scripts, keys, history.loans)
    await scripts.open_cell(keys, has_lost=history.has_history or has_decided, states=dict(history.states))
