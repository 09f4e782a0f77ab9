"""`/api/admission`: how limits stand and what they did, to be looked at."""

from collections.abc import Callable
from typing import Any

from litestar import Request, get

from nexus.admission import views
from nexus.admission.view_types import AdmissionStanding
from nexus.contracts.limits import LimitTable
from nexus.identity.guards import principal_of, signed_in
from nexus.platform.web import web_state

AnyRequest = Request[Any, Any, Any]


class LimitsInForce:
    """The limits that this process decides by; one without a data plane has none."""

    def __init__(
        self, table: Callable[[], LimitTable] = LimitTable, is_degraded: Callable[[], bool] = lambda: False
    ) -> None:
        self.table = table
        self.is_degraded = is_degraded


def limits_in_force(request: AnyRequest) -> LimitsInForce:
    """Return the limits of the process that serves this request."""
    return web_state(request).part(LimitsInForce, LimitsInForce)


@get("/standing", guards=[signed_in])
async def show_standing(request: AnyRequest) -> AdmissionStanding:
    """Tell whether limits are decided without Redis now, and how many hold by which failure policy then."""
    limits, organization_id = limits_in_force(request), principal_of(request).organization_id
    known = limits.table().limits.get(organization_id, ()) if organization_id is not None else ()
    return views.standing(known, is_degraded=limits.is_degraded())


HANDLERS = [show_standing]
