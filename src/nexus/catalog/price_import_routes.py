"""`POST /api/catalog/imports`: take a price list into the shared book, as `nexus catalog import` does."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from litestar import Request, post
from litestar.params import JSONBody

from nexus.catalog import service, store
from nexus.catalog.importers import ImportedBook, UnreadablePriceList
from nexus.catalog.types import ImportSummary
from nexus.identity.guards import actor_of, organization_of, requires
from nexus.kit.errors import FieldFault
from nexus.platform.web import web_state

AnyRequest = Request[Any, Any, Any]
MAX_BODY_BYTES = 24 * 1024 * 1024
MAX_CHARS = 16 * 1024 * 1024
Content = Annotated[
    str,
    msgspec.Meta(max_length=MAX_CHARS, description="The JSON file's text: data.json, model_prices_….json or api.json."),
]
_STRANGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


class PriceListNew(msgspec.Struct, forbid_unknown_fields=True):
    """A price list as its project publishes it; without `content` the copy of `genai-prices` that Nexus came with."""

    source: Literal["genai-prices", "litellm", "models.dev"]
    content: Content | None = None
    dry_run: bool = False


def _unreadable(message: str) -> UnreadablePriceList:
    return UnreadablePriceList(f"content: {message}", faults=[FieldFault("content", message)])


def _read(source: str, content: str | None) -> ImportedBook:
    if content is None:
        if source != "genai-prices":
            raise _unreadable("give the file's text")
        return service.read_price_list(source, None)
    if "\x00" in content or content.lstrip()[:1] not in {"{", "["}:
        raise _unreadable("give the text of the JSON file itself, not compressed")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prices.json"
        path.write_text(content, encoding="utf-8")
        try:
            return service.read_price_list(source, path)
        except UnreadablePriceList as error:
            raise _unreadable(error.detail.removeprefix(f"{path}: ")) from error
        except _STRANGE as error:
            raise _unreadable("some part of it is not as this source writes its list") from error


@post("/imports", guards=[requires("system:configure")], status_code=200, request_max_body_size=MAX_BODY_BYTES)
async def import_prices(request: AnyRequest, data: JSONBody[PriceListNew]) -> ImportSummary:
    """Import a price list into the shared book, or tell what that would do.

    The same list again changes nothing. Where it says otherwise than the source of a price in force, nothing is
    overwritten: both stand among the conflicts until somebody decides.
    """
    state, actor, organization_id = web_state(request), actor_of(request), organization_of(request)
    # Large lists take a second to read; the others are answered meanwhile.
    book = await asyncio.to_thread(_read, data.source, data.content)
    try:
        async with state.database.as_system(actor, organization_id) as db:
            done = await service.import_price_list(
                db, book, at=state.clock.now(), actor_label=actor.label, dry_run=data.dry_run
            )
            if not data.dry_run:
                detail = {"source": done.source, "digest": done.digest, "changes": done.changes}
                await store.run(db, "record_import", detail)
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        raise _unreadable("it names something that the catalog cannot hold, such as a provider with blanks") from error
    return done
