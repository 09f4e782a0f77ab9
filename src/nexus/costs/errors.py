"""What costs refuse."""

from __future__ import annotations

from nexus.kit.errors import Conflict, InvalidRequest, NotFound, Unavailable


class UnknownBudget(NotFound):
    """There is no such budget in this organization."""

    code = "unknown_budget"


class BudgetNameTaken(Conflict):
    """A budget has this name already: choose another."""

    code = "name_taken"


class UnreadableRates(InvalidRequest):
    """This is no list of exchange rates of a form that is known."""

    code = "unreadable_rates"


class CountersUnavailable(Unavailable):
    """Redis does not answer, so nobody knows what is held: try again in a moment."""

    code = "limiter_unavailable"
