"""`/api/identity/provider-credentials`: what Nexus sends upstream for the organization. No secret ever comes out."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Router, delete, get, patch, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, UnsetType

from nexus.identity import provider_credential_key_reach as key_reach
from nexus.identity import provider_credentials as service
from nexus.identity.guards import actor_of, organization_of, principal_of, requires, sealer_of
from nexus.identity.provider_credential_key_reach import KeyReach
from nexus.identity.provider_credentials import CredentialLimits, ProviderCredential
from nexus.platform.web import Page, check_limit, id_of, page_of, web_state

AnyRequest = Request[Any, Any, Any]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Text = Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^[^\x00]*$")]
Slug = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Secret = Annotated[str, msgspec.Meta(min_length=4, max_length=service.MAX_SECRET_CHARS)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
Weight = Annotated[int, msgspec.Meta(ge=0, le=1000)]
Form = Literal[
    "", "bearer", "x-api-key", "api-key", "x-goog-api-key", "x-subscription-token", "query_key", "basic", "none"
]


class CredentialNew(msgspec.Struct, forbid_unknown_fields=True):
    """A provider credential to keep. `base_url` where it differs from the provider's: an Azure resource, a region."""

    provider: Slug
    name: Name
    secret: Secret
    description: Text = ""
    auth_form: Form = ""
    base_url: Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00]*$")] | None = None
    weight: Weight = 1
    expires_at: Instant | None = None


class CredentialChange(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed of a provider credential; what is left out stays."""

    name: Name | UnsetType = UNSET
    secret: Secret | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    auth_form: Form | UnsetType = UNSET
    base_url: Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00]*$")] | UnsetType | None = UNSET
    weight: Weight | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    expires_at: Instant | UnsetType | None = UNSET


@get("/", guards=[requires("credential:read")])
async def list_credentials(
    request: AnyRequest,
    provider: FromQuery[Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*$")] | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[ProviderCredential]:
    """List the organization's provider credentials, oldest first."""
    check_limit(limit)
    after = id_of(cursor)
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        found = await service.list_all(db, organization_id, after=after, provider=provider, limit=limit + 1)
    return page_of(found, limit, lambda item: (item.id,))


@post("/", guards=[requires("credential:manage")])
async def create_credential(request: AnyRequest, data: JSONBody[CredentialNew]) -> ProviderCredential:
    """Keep a provider credential; the gateway uses it within a second."""
    state, organization_id = web_state(request), organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request)) as db:
        return await service.create(
            db, organization_id, sealer_of(request), **msgspec.structs.asdict(data), at=state.clock.now(),
            created_by=principal_of(request).user_id,
        )  # fmt: skip


@get("/{credential_id:uuid}", guards=[requires("credential:read")])
async def read_credential(request: AnyRequest, credential_id: FromPath[UUID]) -> ProviderCredential:
    """Show one provider credential."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        return await service.get(db, organization_id, credential_id)


@get("/{credential_id:uuid}/limits", guards=[requires("credential:read")])
async def read_limits(request: AnyRequest, credential_id: FromPath[UUID]) -> CredentialLimits:
    """Show the limits that the provider last told this credential in its answers' headers, at most a second late."""
    state, organization_id = web_state(request), organization_of(request)
    async with state.database.tenant(organization_id, actor_of(request), readonly=True) as db:
        await service.get(db, organization_id, credential_id)
    return await service.limits_of(state.redis, organization_id, credential_id)


@patch("/{credential_id:uuid}", guards=[requires("credential:manage")])
async def change_credential(
    request: AnyRequest, credential_id: FromPath[UUID], data: JSONBody[CredentialChange]
) -> ProviderCredential:
    """Change a provider credential, its secret too."""
    state, organization_id = web_state(request), organization_of(request)
    changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    async with state.database.tenant(organization_id, actor_of(request)) as db:
        return await service.change(db, organization_id, sealer_of(request), credential_id, changes)


@delete("/{credential_id:uuid}", guards=[requires("credential:manage")])
async def delete_credential(request: AnyRequest, credential_id: FromPath[UUID]) -> None:
    """Forget a provider credential; no gateway uses it a second later."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        await service.delete(db, organization_id, credential_id)


@get("/access-keys/{key_id:uuid}/gateway-reach", guards=[requires("key:read")])
async def read_reach(request: AnyRequest, key_id: FromPath[UUID]) -> KeyReach:
    """Show which providers, models, endpoints, MCP servers and tools an access key may use through the gateway; null: all."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request), readonly=True) as db:
        return await key_reach.get(db, organization_id, key_id)


@put("/access-keys/{key_id:uuid}/gateway-reach", guards=[requires("key:revoke")])
async def set_reach(request: AnyRequest, key_id: FromPath[UUID], data: JSONBody[KeyReach]) -> KeyReach:
    """Set which providers, models, endpoints, MCP servers and tools an access key may use through the gateway."""
    organization_id = organization_of(request)
    async with web_state(request).database.tenant(organization_id, actor_of(request)) as db:
        return await key_reach.put(db, organization_id, key_id, data)


router = Router(
    "/api/identity",
    route_handlers=[
        Router(
            "/provider-credentials",
            route_handlers=[
                list_credentials,
                create_credential,
                read_credential,
                read_limits,
                change_credential,
                delete_credential,
            ],
        ),
        read_reach,
        set_reach,
    ],
    tags=["identity"],
)
