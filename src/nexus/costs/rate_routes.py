"""`/api/costs/exchange-rates`: the rates that an organization sees, and a list of its own taken in."""

from datetime import date
from typing import Any

from litestar import Request, get, post
from litestar.params import FromQuery, JSONBody

from nexus.costs import service, store
from nexus.costs.types import ExchangeRate, RatesImported, RatesNew
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.platform.web import Page, check_limit, decode_cursor, page_of, web_state

AnyRequest = Request[Any, Any, Any]
MAX_BODY_BYTES = 24 * 1024 * 1024


def _code(field: str, text: str | None) -> str | None:
    if text is not None and not (len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()):
        message = "give three capital letters (ISO 4217), such as EUR"
        raise InvalidRequest(f"{field}: {message}", faults=[FieldFault(field, message)])
    return text


@get("/exchange-rates", guards=[requires("budget:read")])
async def list_rates(
    request: AnyRequest,
    base: FromQuery[str | None] = None,
    quote: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = 50,
) -> Page[ExchangeRate]:
    """List exchange rates, newest first: those shared by all and the organization's own, which stand before them."""
    check_limit(limit)
    before: tuple[Any, ...] = decode_cursor(cursor, tuple[date, str, str]) if cursor else (None, None, None)
    async with web_state(request).database.tenant(organization_of(request), actor_of(request), readonly=True) as db:
        found = await store.many(
            db, ExchangeRate, "list_rates", _code("base", base), _code("quote", quote), *before, limit + 1
        )
    return page_of(found, limit, lambda item: (item.rated_on, item.base, item.quote))


@post("/exchange-rates", guards=[requires("budget:write")], status_code=200, request_max_body_size=MAX_BODY_BYTES)
async def import_rates(request: AnyRequest, data: JSONBody[RatesNew]) -> RatesImported:
    """Take in a list of exchange rates for the organization: the European Central Bank's CSV or XML, or lines of one's own."""
    organization_id, actor = organization_of(request), actor_of(request)
    async with web_state(request).database.tenant(organization_id, actor) as db:
        return await service.import_rates(db, organization_id, data.content, source=data.source, author=actor.label)
