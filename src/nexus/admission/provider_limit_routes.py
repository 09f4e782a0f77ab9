"""`/api/admission/provider-limits`: what providers and models may be asked a minute."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, put
from litestar.params import FromPath, JSONBody

from nexus.admission import provider_limits
from nexus.admission.provider_limits import ProviderLimit
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.platform.web import web_state

AnyRequest = Request[Any, Any, Any]
Rate = Annotated[int, msgspec.Meta(ge=1, le=10**12)]


class Rates(msgspec.Struct, forbid_unknown_fields=True):
    """What may be asked a minute; null lifts a limit."""

    requests_per_minute: Rate | None
    tokens_per_minute: Rate | None
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
    model: Annotated[str, msgspec.Meta(max_length=300, pattern=r"^[^\x00]*$")] = ""
    """Of this model there, as calls name it; empty: of the provider, all its models together."""


@get("/provider-limits", guards=[requires("quota:read")])
async def list_provider_limits(request: AnyRequest) -> list[ProviderLimit]:
    """List what providers and models may be asked a minute, as it is in force."""
    state = web_state(request)
    async with state.database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        return await provider_limits.list_limits(db, state.clock.now())


@put("/provider-limits/{provider:str}", guards=[requires("quota:update")])
async def set_provider_limits(request: AnyRequest, provider: FromPath[str], data: JSONBody[Rates]) -> ProviderLimit:
    """Put rates of a provider or of a model in force within a second, as a version of a quota; null lifts one.

    The answer is what is in force now. A bucket holds what refills in a minute.
    """
    if "\x00" in provider or len(provider) > 63:
        message = "there is no such provider"
        raise InvalidRequest(f"provider: {message}", faults=[FieldFault("provider", message)])
    state, organization_id, actor = web_state(request), organization_of(request), actor_of(request)
    async with state.database.tenant(organization_id, actor) as db:
        return await provider_limits.set_limits(
            db, organization_id, provider=provider, model=data.model, requests_per_minute=data.requests_per_minute,
            tokens_per_minute=data.tokens_per_minute, reason=data.reason, author=actor.label, at=state.clock.now(),
        )  # fmt: skip


HANDLERS = [list_provider_limits, set_provider_limits]
