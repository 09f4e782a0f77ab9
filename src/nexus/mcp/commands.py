"""What an operator on the machine may do with the secrets of providers and MCP servers alike."""

from __future__ import annotations

import asyncio
import getpass

from rich.console import Console

from nexus.identity import provider_credentials
from nexus.mcp import servers
from nexus.platform.db import Actor, open_database
from nexus.platform.db.secrets import secret_keys
from nexus.platform.sealing import Sealer
from nexus.platform.settings import Settings

_out = Console(highlight=False, soft_wrap=True)


def reseal_secrets() -> int:
    """Seal the secrets of providers and MCP servers again under the newest key of NEXUS_SECRET_KEY; then an old key can go."""
    settings = Settings.from_environment()
    sealer = Sealer(secret_keys(settings))
    actor = Actor(label=f"operator {getpass.getuser()}")

    async def work() -> list[tuple[int, int]]:
        # Both or none: an old key must not be let go of while half of the secrets need it.
        async with open_database(settings) as database, database.as_system(actor) as connection:
            return [await reseal(connection, sealer) for reseal in (provider_credentials.reseal, servers.reseal)]

    counts, failures = zip(*asyncio.run(work()), strict=True)
    failed = sum(failures)
    _out.print(f"sealed {sum(counts)} again" + (f"; {failed} do not open under any key listed" if failed else ""))
    return 1 if failed else 0
