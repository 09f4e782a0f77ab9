"""The first start: an administrator, an organization and a first access key, shown once and written down once."""

from __future__ import annotations

import msgspec

from nexus.catalog.service import ship_catalog
from nexus.identity.service import first_start
from nexus.kit.clock import SYSTEM_CLOCK
from nexus.platform.db import Actor, open_database
from nexus.platform.db.secrets import write_private
from nexus.platform.settings import Settings

FILE = "first-start.json"
_ACTOR = Actor(label="first start")


class FirstStartFile(msgspec.Struct, frozen=True):
    """What `first-start.json` holds; readable by its owner only."""

    url: str
    admin_email: str
    admin_password: str
    access_key: str


def read_first_start(settings: Settings) -> FirstStartFile | None:
    """Return what the first start wrote down; None where it is not there (any more)."""
    try:
        return msgspec.json.decode((settings.data_dir / FILE).read_bytes(), type=FirstStartFile)
    except (FileNotFoundError, PermissionError):
        return None


async def make_first_start(settings: Settings) -> FirstStartFile | None:
    """Ship the catalog, and make what the first start makes if nothing is there; None when there is.

    The file is written before the transaction commits: a crash between the two leaves a file of something that does
    not exist, which the next start overwrites, and never an administrator whose password nobody knows.
    """
    async with open_database(settings, application_name="nexus-first-start") as database:
        async with database.as_system(_ACTOR) as connection:
            await ship_catalog(connection)
        async with database.as_system(_ACTOR) as connection:
            made = await first_start(
                connection,
                at=SYSTEM_CLOCK.now(),
                email=settings.admin_email,
                password=settings.admin_password,
                key=settings.bootstrap_key,
            )
            if made is None:
                return None
            result = FirstStartFile(settings.url, made.admin_email, made.admin_password, made.access_key)
            content = msgspec.json.format(msgspec.json.encode(result), indent=2)
            write_private(settings.data_dir / FILE, content + b"\n")
    return result
