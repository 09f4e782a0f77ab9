"""A PostgreSQL that a test stops and starts beside a running node."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from dataclasses import dataclass, field

from nexus.platform.db.embedded import EmbeddedPostgres


@dataclass
class PostgresApart:
    """A server that the node does not supervise, so that it stays away until it is started again."""

    embedded: EmbeddedPostgres
    process: subprocess.Popen[bytes] | None = field(default=None)

    async def start(self) -> None:
        """Start it; `TimeoutError` when it does not answer within a minute."""
        with (self.embedded.data_dir / "log").open("ab") as log:
            self.process = self.embedded.popen(log=log)
        async with asyncio.timeout(60):
            while not await self.embedded.is_ready():
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        """Stop it as an operator does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
