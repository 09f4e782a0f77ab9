"""`/api/operations`: the system configuration."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Router, delete, get, patch
from litestar.params import FromPath, JSONBody

from nexus.identity.guards import actor_of, requires
from nexus.platform.db.configuration import (
    CONFIGURATION_KEYS,
    Configuration,
    get_configuration,
    reset_configuration,
    set_configuration,
)
from nexus.platform.web import Page, web_state

AnyRequest = Request[Any, Any, Any]


class ConfigurationValue(msgspec.Struct, frozen=True):
    """One key of the system configuration, as it is in force."""

    key: str
    value: bool | int | float | str
    default: bool | int | float | str
    is_changed: bool
    description: str


class ConfigurationChange(msgspec.Struct, forbid_unknown_fields=True):
    """The value to put in force; its type is the default's."""

    value: bool | int | float | Annotated[str, msgspec.Meta(max_length=2000)]


def _shown(found: Configuration, key: str) -> ConfigurationValue:
    item = CONFIGURATION_KEYS[key]
    return ConfigurationValue(key, found[key], item.default, key in found.changed, item.what)


@get("/configuration", guards=[requires("configuration:read")])
async def list_configuration(request: AnyRequest) -> Page[ConfigurationValue]:
    """List every key with the value in force."""
    async with web_state(request).database.as_system(actor_of(request), readonly=True) as connection:
        found = await get_configuration(connection)
    return Page([_shown(found, key) for key in CONFIGURATION_KEYS])


@patch("/configuration/{key:str}", guards=[requires("configuration:write")])
async def change(request: AnyRequest, key: FromPath[str], data: JSONBody[ConfigurationChange]) -> ConfigurationValue:
    """Put a value in force, for all of this installation; the change is audited."""
    actor = actor_of(request)
    async with web_state(request).database.as_system(actor) as connection:
        await set_configuration(connection, key, data.value, actor_label=actor.label)
        return _shown(await get_configuration(connection), key)


@delete("/configuration/{key:str}", guards=[requires("configuration:write")], status_code=200)
async def reset(request: AnyRequest, key: FromPath[str]) -> ConfigurationValue:
    """Go back to the default."""
    async with web_state(request).database.as_system(actor_of(request)) as connection:
        await reset_configuration(connection, key)
        return _shown(await get_configuration(connection), key)


router = Router("/api/operations", route_handlers=[list_configuration, change, reset], tags=["operations"])
