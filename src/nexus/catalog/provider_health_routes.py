"""`/api/catalog/providers/{slug}/health`: how a provider's endpoints do."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath

from nexus.catalog import provider_health as service
from nexus.catalog.provider_health import ProviderHealth
from nexus.identity.guards import actor_of, organization_of, principal_of, requires
from nexus.platform.web import web_state


@get("/providers/{slug:str}/health", guards=[requires("catalog:read")])
async def read_health(
    request: Request[Any, Any, Any], slug: FromPath[Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]+$")]]
) -> ProviderHealth:
    """Show how a provider's endpoints do, as calls through the gateway found them in the last day, at most a second late.

    `open`: no routed call goes there until `open_until`; `half_open`: the next one is a trial. Base URLs are shown to who
    may read credentials.
    """
    state, organization_id = web_state(request), organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as db:
        await service.check_provider(db, slug)
    found = await service.health_of(state.redis, organization_id, slug, state.clock.now())
    if not principal_of(request).may("credential:read"):
        found.items = [msgspec.structs.replace(item, base_url=None) for item in found.items]
    return found
