"""A proxy between a client and PostgreSQL's Unix socket that cuts, swallows and refuses as told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, quote, urlsplit

Fate = Literal["forward", "cut_before", "cut_after", "swallow"]


class PostgresProxy:
    """Forwards one Unix socket to another.

    `fate_of` is asked of each piece from the client: `cut_before` loses it and the connection; `cut_after` lets it
    through and loses the server's answer; `swallow` loses it and answers nothing for ever.
    """

    def __init__(self, url: str, folder: Path) -> None:
        parts = urlsplit(url)
        self._target = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._folder = folder
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path}?host={quote(str(folder), safe='/')}&port=5432"
        self.fate_of: Callable[[bytes], Fate] = lambda piece: "forward"
        self.cuts = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Take connections."""
        path = self._folder / ".s.PGSQL.5432"
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def close(self) -> None:
        """Take no connections, and cut those there are: PostgreSQL is stopped."""
        if self._server is not None:
            self._server.close()
            self._server = None
        (self._folder / ".s.PGSQL.5432").unlink(missing_ok=True)
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream_reader, upstream = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, upstream}
        back = asyncio.create_task(self._copy(upstream_reader, writer))
        try:
            while piece := await reader.read(65_536):
                fate = self.fate_of(piece)
                if fate == "swallow":
                    self.cuts += 1
                    back.cancel()
                    await asyncio.Event().wait()
                if fate == "cut_before":
                    self.cuts += 1
                    break
                if fate == "cut_after":
                    self.cuts += 1
                    back.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await back
                    upstream.write(piece)
                    # The server's answer proves that it acted; it is read here and never told.
                    await upstream_reader.read(65_536)
                    break
                upstream.write(piece)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            back.cancel()
            for one in (writer, upstream):
                one.transport.abort()
                self._writers.discard(one)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                writer.write(piece)
            writer.close()
