"""Single sign-on: the providers, the way to one and back, and which are linked to one's account."""

from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

import msgspec
import structlog
from litestar import Request, Response, delete, get, patch, post
from litestar.datastructures import Cookie
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from nexus.identity import cookies, sessions, single_sign_on, store
from nexus.identity.account_routes import user_id_of
from nexus.identity.authentication import COOKIE, is_same_origin
from nexus.identity.errors import CrossSiteRequest, FlowEnded, LastWayIn, ProviderFailed, UnknownProvider
from nexus.identity.fields import Name
from nexus.identity.guards import (
    actor_of,
    principal_if_any,
    principal_of,
    public,
    requires,
    sealer_of,
    signed_in,
)
from nexus.identity.second_factor import Challenge
from nexus.identity.single_sign_on import LinkedIdentity, Providers, SignInChoice, SignInProvider
from nexus.kit.errors import NexusError
from nexus.platform.web import Page, web_state

AnyRequest = Request[Any, Any, Any]
FLOW_COOKIE = "nexus_flow"
FLOW_PATH = "/api/identity/sign-in/providers"
Clean = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"^[^\x00\s]*$")]
Domain = Annotated[str, msgspec.Meta(max_length=253, pattern=r"^@?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")]
_log = structlog.get_logger("nexus.identity")


class SignInProviderNew(msgspec.Struct, forbid_unknown_fields=True):
    """A provider to sign in by. Without a secret the client is public, and PKCE alone protects the code."""

    slug: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    name: Name
    issuer: Clean
    client_id: Clean
    client_secret: Clean | None = None
    allowed_domains: Annotated[list[Domain], msgspec.Meta(max_length=100)] = []
    default_organization: UUID | None = None
    default_role: Literal["member", "viewer"] = "viewer"
    allows_private_addresses: bool = False


class SignInProviderChange(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed of a provider. Another issuer or client is another provider."""

    name: Name | None = None
    client_secret: Clean | None = None
    allowed_domains: Annotated[list[Domain], msgspec.Meta(max_length=100)] | None = None
    is_active: bool | None = None


class Away(msgspec.Struct):
    """Where the browser is to go."""

    url: str


def _providers(request: AnyRequest) -> Providers:
    return web_state(request).part(Providers, lambda: Providers(sealer_of(request)))


def _flow_cookie(request: AnyRequest, token: str) -> Cookie:
    # Lax: the way back is a navigation from the provider's site, which is to carry it.
    return Cookie(
        key=FLOW_COOKIE, value=token, httponly=True, samesite="lax", secure=cookies.is_secure(request),
        path=FLOW_PATH, max_age=single_sign_on.FLOW_MINUTES * 60 if token else 0,
    )  # fmt: skip


def _redirect(url: str, given: list[Cookie]) -> Response[None]:
    return Response(None, status_code=303, headers={"location": url, "cache-control": "no-store"}, cookies=given)


def _back_to_sign_in(error: NexusError) -> Response[None]:
    """People are looking at this, not programs: the page says what the problem means."""
    if isinstance(error, ProviderFailed):
        _log.warning("sign-in provider failed", detail=error.detail)
    return _redirect(f"/sign-in?problem={quote(error.code)}", [])


@get("/sign-in/providers", guards=[public])
async def list_choices(request: AnyRequest) -> Page[SignInChoice]:
    """List the providers people may sign in by, for the sign-in page."""
    async with web_state(request).database.as_system(readonly=True) as db:
        return Page(await store.many(db, SignInChoice, "open_sign_in_providers"))


@get("/sign-in/providers/{slug:str}/start", guards=[public], status_code=303)
async def start(
    request: AnyRequest,
    slug: FromPath[str],
    next_path: Annotated[str, QueryParameter(name="next", description="A path of this site.")] = "/",
) -> Response[None]:
    """Send the browser to the provider. It comes back signed in at `next`, or at `/sign-in?problem=…`.

    Another site cannot begin it: whoever is signed in wanted to be.
    """
    if not is_same_origin(request):
        raise CrossSiteRequest
    single_sign_on.check_next(next_path)
    state = web_state(request)
    try:
        away = await single_sign_on.start(
            state.database, _providers(request), sealer_of(request), slug=slug, next_path=next_path,
            base_url=state.settings.url, at=state.clock.now(),
        )  # fmt: skip
    except (ProviderFailed, FlowEnded) as error:
        return _back_to_sign_in(error)
    return _redirect(away.url, [_flow_cookie(request, away.browser)])


@get("/sign-in/providers/{slug:str}/callback", guards=[public], status_code=303)
async def come_back(
    request: AnyRequest,
    slug: FromPath[str],
    code: FromQuery[str] = "",
    flow: Annotated[str, QueryParameter(name="state", description="What the departure carried.")] = "",
    iss: FromQuery[str | None] = None,
    error: FromQuery[str | None] = None,
) -> Response[None]:
    """Take the browser back from the provider."""
    shared = web_state(request)
    at = shared.clock.now()
    principal = principal_if_any(request)
    try:
        arrival = await single_sign_on.come_back(
            shared.database, _providers(request), sealer_of(request), slug=slug, state=flow[:200],
            code="" if error is not None else code[:4000],
            issuer=iss, browser=request.cookies.get(FLOW_COOKIE, ""), base_url=shared.settings.url,
            actor=actor_of(request), at=at, signed_in_as=principal.user_id if principal is not None else None,
            device=cookies.device_of(request), replaces=request.cookies.get(COOKIE),
        )  # fmt: skip
    except UnknownProvider:
        raise
    except NexusError as problem:
        return _back_to_sign_in(problem)
    given = [_flow_cookie(request, "")]
    if isinstance(arrival.entered, Challenge):
        return _redirect(f"/sign-in?next={quote(arrival.next_path)}#challenge={arrival.entered.challenge}", given)
    if arrival.entered is not None:
        given += cookies.sign_in_cookies(request, arrival.entered, at)
    return _redirect(arrival.next_path, given)


@get("/me/linked-identities", guards=[signed_in])
async def list_linked(request: AnyRequest) -> Page[LinkedIdentity]:
    """List the providers by which one signs in."""
    async with web_state(request).database.as_system(readonly=True) as db:
        return Page(await store.many(db, LinkedIdentity, "list_linked_identities", user_id_of(request)))


@post("/me/linked-identities/{slug:str}/start", guards=[signed_in], status_code=200)
async def start_linking(request: AnyRequest, slug: FromPath[str]) -> Response[Away]:
    """Begin to link a provider to one's account: send the browser to the answer's address. Needs a recent proof."""
    user_id, state = user_id_of(request), web_state(request)
    at = state.clock.now()
    async with state.database.as_system(readonly=True) as db:
        await sessions.require_recent(db, principal_of(request), at)
    away = await single_sign_on.start(
        state.database, _providers(request), sealer_of(request), slug=slug, next_path="/settings",
        base_url=state.settings.url, at=at, link_user_id=user_id,
    )  # fmt: skip
    return Response(Away(away.url), cookies=[_flow_cookie(request, away.browser)], status_code=200)


@delete("/me/linked-identities/{slug:str}", guards=[signed_in], status_code=204)
async def unlink(request: AnyRequest, slug: FromPath[str]) -> None:
    """Take a provider off one's account. Needs a recent proof, and another way in."""
    user_id, state = user_id_of(request), web_state(request)
    async with state.database.as_system(actor_of(request)) as db:
        await sessions.require_recent(db, principal_of(request), state.clock.now())
        if not await store.run(db, "delete_linked_identity", user_id, slug):
            raise UnknownProvider
        linked = await store.many(db, LinkedIdentity, "list_linked_identities", user_id)
        if not linked and await store.value(db, "password_hash", user_id) is None:
            raise LastWayIn
        await store.log_security(db, "identity_unlinked", "MEDIUM", user_id, actor_of(request), {"provider": slug})


@get("/sign-in-providers", guards=[requires("tenant:update")])
async def list_providers(request: AnyRequest) -> Page[SignInProvider]:
    """List the configured sign-in providers, without their secrets."""
    async with web_state(request).database.as_system(readonly=True) as db:
        return Page(await single_sign_on.list_providers(db))


@post("/sign-in-providers", guards=[requires("tenant:update")])
async def add_provider(request: AnyRequest, data: JSONBody[SignInProviderNew]) -> SignInProvider:
    """Add an OpenID Connect provider, for the whole installation. Register `…/callback` of its slug there."""
    state = web_state(request)
    async with state.database.as_system(actor_of(request)) as db:
        await sessions.require_recent(db, principal_of(request), state.clock.now())
        return await single_sign_on.add_provider(db, sealer_of(request), **msgspec.structs.asdict(data))


async def _provider(db: Any, provider_id: UUID) -> SignInProvider:
    found = next((item for item in await single_sign_on.list_providers(db) if item.id == provider_id), None)
    if found is None:
        raise UnknownProvider
    return found


@patch("/sign-in-providers/{provider_id:uuid}", guards=[requires("tenant:update")])
async def change_provider(
    request: AnyRequest, provider_id: FromPath[UUID], data: JSONBody[SignInProviderChange]
) -> SignInProvider:
    """Change what is given of a provider; an inactive one lets nobody in."""
    state, sealer = web_state(request), sealer_of(request)
    async with state.database.as_system(actor_of(request)) as db:
        await sessions.require_recent(db, principal_of(request), state.clock.now())
        await _provider(db, provider_id)
        sealed = None
        if data.client_secret is not None:
            sealed = sealer.seal(data.client_secret.encode(), single_sign_on.secret_context(provider_id))
        domains = None
        if data.allowed_domains is not None:
            domains = sorted({domain.lower().lstrip("@") for domain in data.allowed_domains})
        await store.run(db, "update_sign_in_provider", provider_id, data.name, sealed, domains, data.is_active)
        return await _provider(db, provider_id)


@delete("/sign-in-providers/{provider_id:uuid}", guards=[requires("tenant:update")], status_code=204)
async def delete_provider(request: AnyRequest, provider_id: FromPath[UUID]) -> None:
    """Delete a provider, with who is linked to it; their accounts stay."""
    state = web_state(request)
    async with state.database.as_system(actor_of(request)) as db:
        await sessions.require_recent(db, principal_of(request), state.clock.now())
        if not await store.run(db, "delete_sign_in_provider", provider_id):
            raise UnknownProvider


HANDLERS = [
    list_choices, start, come_back, list_linked, start_linking, unlink,
    list_providers, add_provider, change_provider, delete_provider,
]  # fmt: skip
