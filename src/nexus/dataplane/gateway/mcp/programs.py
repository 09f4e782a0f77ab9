"""MCP servers that are programs on this machine: started when first asked, watched, started again, ended with the process.

    started --ends--> waits (1 s, doubled each time up to a minute; a minute's life makes it 1 s again) --> started
       |  asked meanwhile: refused with Retry-After
       +-- server changed, disabled or removed --> ended

Each speaks JSON-RPC by lines. Its environment is PATH, HOME, LANG and what was kept for it, and nothing of Nexus's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from nexus.contracts.mcp_servers import STDIO, McpServerEntry
from nexus.dataplane.gateway.errors import UpstreamError, UpstreamTimeout
from nexus.dataplane.gateway.mcp.backends import (
    MAX_ANSWER_BYTES,
    Greeting,
    Notify,
    Params,
    meet,
    read_answered,
    result_of,
    spoken,
)
from nexus.dataplane.gateway.mcp.calls import Answered
from nexus.dataplane.snapshots import Snapshots
from nexus.kit.errors import Unavailable
from nexus.platform.tasks import end_tasks

MAX_AT_ONCE = 64
"""Requests that one program works on."""
_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 60.0
_MEET_SECONDS = 30.0
_END_SECONDS = 3.0
_MAX_LINE_OF_LOG = 2_000
_SHORTEST_SECRET = 6
_LIMITS = {resource.RLIMIT_NOFILE: 1024, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 2**30}
_encode = msgspec.json.Encoder().encode
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

log = structlog.get_logger(__name__)


class ProgramBusy(Unavailable):
    """The MCP server works on as many requests as it may: try again in a moment."""

    code = "mcp_server_busy"


class ProgramDown(Unavailable):
    """The MCP server's program ended, and is started again in a moment."""

    code = "mcp_server_down"


@dataclass(slots=True, eq=False)
class _Asked:
    answer: asyncio.Future[Answered]
    notify: Notify | None
    token: bytes
    """The client's progress token, as JSON; empty where it wants no progress."""


class Program:
    """One server's program, in one process. `start` and `stop` frame its life."""

    def __init__(self, server: McpServerEntry, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._greeting: Greeting | None = None
        self._up = asyncio.Event()
        self._asked: dict[int, _Asked] = {}
        self._number = 0
        self._wait = 0.0
        self._again_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def start(self) -> None:
        """Begin to run it, and to start it again whenever it ends."""
        self._task = asyncio.create_task(self._supervise(), name=f"mcp-{self.server.name}")

    async def stop(self) -> None:
        """End it."""
        await end_tasks(self._task)

    async def greet(self) -> Greeting:
        """Return what the program said of itself; waits until it is up. `ProgramDown` while it is between two starts."""
        if self._greeting is None and self._again_at > time.monotonic():
            raise ProgramDown(retry_after_seconds=max(1, round(self._again_at - time.monotonic())))
        try:
            async with asyncio.timeout(_MEET_SECONDS):
                await self._up.wait()
        except TimeoutError:
            raise ProgramDown(f"{self.server.name} does not answer: see the log", retry_after_seconds=5) from None
        if self._greeting is None:
            raise ProgramDown(retry_after_seconds=1)
        return self._greeting

    async def ask(self, method: str, params: Params, meta: Params, *, notify: Notify | None = None) -> Answered:
        """Ask the program for something."""
        greeting = await self.greet()
        token = bytes(meta["progressToken"]).strip() if "progressToken" in meta and notify is not None else b""
        return await self._ask(method, spoken(params, meta, greeting), self.server.timeout_seconds, notify, token)

    async def _ask(
        self, method: str, params: Mapping[str, Any], seconds: float, notify: Notify | None = None, token: bytes = b""
    ) -> Answered:
        if len(self._asked) >= MAX_AT_ONCE:
            raise ProgramBusy(retry_after_seconds=1)
        self._number += 1
        number = self._number
        if token:
            # Tokens of different clients may be equal; ours are not.
            changed = {**_FIELDS.decode(params["_meta"]), "progressToken": number}
            params = {**params, "_meta": changed}
        asked = self._asked[number] = _Asked(asyncio.get_running_loop().create_future(), notify, token)
        is_answered = False
        try:
            await self._write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            async with asyncio.timeout(seconds):
                answer = await asked.answer
            is_answered = True
            return answer
        except TimeoutError:
            raise UpstreamTimeout(f"{self.server.name} did not answer within {seconds:.0f} seconds") from None
        finally:
            del self._asked[number]
            if not is_answered and self._process is not None and method != "initialize":
                gone = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
                with contextlib.suppress(UpstreamError):
                    await self._write(gone)

    async def _write(self, message: Mapping[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise ProgramDown(retry_after_seconds=1)
        try:
            async with self._writing:
                process.stdin.write(_encode(message) + b"\n")
                await process.stdin.drain()
        except (OSError, RuntimeError) as error:
            raise UpstreamError(f"{self.server.name} takes no requests any more") from error

    async def _supervise(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._run()
            except (OSError, ValueError) as error:
                log.error("an MCP server cannot be started", server=self.server.name, error=repr(error))
            lived = time.monotonic() - began
            self._wait = (
                _FIRST_WAIT_SECONDS if lived > _LONGEST_WAIT_SECONDS or not self._wait
                else min(_LONGEST_WAIT_SECONDS, self._wait * 2)
            )  # fmt: skip
            self._again_at = time.monotonic() + self._wait
            log.warning("an MCP server ended, and is started again", server=self.server.name, after_seconds=self._wait)
            await asyncio.sleep(self._wait)

    async def _run(self) -> None:
        """Run the program once, until it ends."""
        folder = self._folder / str(self.server.id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        process = self._process = await asyncio.create_subprocess_exec(
            *self.server.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env={**kept, "HOME": str(folder), **self.server.environment}, cwd=folder,
            start_new_session=True, limit=MAX_ANSWER_BYTES,
        )  # fmt: skip
        for kind, most in _LIMITS.items():
            with contextlib.suppress(OSError, ValueError):
                resource.prlimit(process.pid, kind, (most, most))
        log.info("an MCP server was started", server=self.server.name, child=process.pid)
        said = asyncio.create_task(self._log(process))
        reading = asyncio.create_task(self._read(process))
        meeting = asyncio.create_task(self._meet())
        try:
            await reading
        finally:
            self._greeting, self._process = None, None
            self._up.clear()
            await end_tasks(meeting, reading, said)
            for asked in self._asked.values():
                if not asked.answer.done():
                    asked.answer.set_exception(UpstreamError(f"{self.server.name} ended before it answered"))
            await self._end(process)

    async def _meet(self) -> None:
        async def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
            return result_of(await self._ask(method, params, _MEET_SECONDS / 2))

        async def notify(method: str) -> None:
            await self._write({"jsonrpc": "2.0", "method": method})

        try:
            self._greeting = await meet(ask, notify)
        except Exception as error:  # noqa: BLE001
            # The edge of a task: whatever is wrong with the program, it is one that cannot be used.
            log.error("an MCP server does not speak the protocol", server=self.server.name, error=str(error))
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.terminate()
            return
        self._up.set()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                log.error("an MCP server wrote a line larger than can be read", server=self.server.name)
                return
            if not line:
                return
            await self._take(line)

    async def _take(self, line: bytes) -> None:
        try:
            fields = _FIELDS.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        number = bytes(fields.get("id") or b"").strip()
        if "method" not in fields:
            asked = self._asked.get(int(number)) if number.isdigit() and len(number) < 18 else None
            answered = None if asked is None else read_answered(line, int(number))
            if asked is not None and answered is not None and not asked.answer.done():
                asked.answer.set_result(answered)
        elif number:
            method = msgspec.json.decode(fields["method"])
            told: dict[str, Any] = {"result": {}}
            if method != "ping":
                told = {"error": {"code": -32601, "message": "the gateway has no client that could do this"}}
            await self._write({"jsonrpc": "2.0", "id": msgspec.Raw(number), **told})
        else:
            self._told(fields)

    def _told(self, fields: dict[str, msgspec.Raw]) -> None:
        """Bring news of progress to whoever waits for it, under the token that it knows."""
        try:
            params = _FIELDS.decode(fields.get("params") or b"{}")
        except msgspec.MsgspecError:
            return
        token = bytes(params.get("progressToken") or b"").strip()
        asked = self._asked.get(int(token)) if token.isdigit() and len(token) < 18 else None
        if asked is not None and asked.notify is not None and asked.token:
            asked.notify(_encode({**fields, "params": {**params, "progressToken": msgspec.Raw(asked.token)}}))

    async def _log(self, process: asyncio.subprocess.Process) -> None:
        """Write what the program says on its standard error to the log, without its secrets."""
        assert process.stderr is not None
        secrets = [value for value in self.server.environment.values() if len(value) >= _SHORTEST_SECRET]
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:
                continue
            if not line:
                return
            text = line[:_MAX_LINE_OF_LOG].decode("utf-8", "replace").rstrip()
            for secret in secrets:
                text = text.replace(secret, "[secret]")
            log.info("an MCP server says", server=self.server.name, text=text)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """End the program and what it started: asked first, by the end of its input, then made to."""
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
        except TimeoutError:
            log.warning("an MCP server did not end by itself", server=self.server.name)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


class Programs:
    """The programs of one process."""

    def __init__(self, snapshots: Snapshots, folder: Path, *, are_allowed: bool) -> None:
        self.are_allowed = are_allowed
        self._snapshots = snapshots
        self._folder = folder
        self._running: dict[Any, Program] = {}
        self._ending: set[asyncio.Task[None]] = set()
        snapshots.on_change(self._prune)

    def of(self, server: McpServerEntry) -> Program:
        """Return a server's program, started where it does not run yet."""
        known = self._running.get(server.id)
        if known is not None and known.server == server:
            return known
        if known is not None:
            self._end(known)
        program = self._running[server.id] = Program(server, self._folder)
        program.start()
        return program

    def _prune(self) -> None:
        """End programs whose servers were removed, disabled or changed."""
        wanted = {entry.id: entry for entry in self._snapshots.gateway.mcp_servers.values() if entry.transport == STDIO}
        for name, program in list(self._running.items()):
            if wanted.get(name) != program.server:
                del self._running[name]
                self._end(program)

    def _end(self, program: Program) -> None:
        task = asyncio.get_running_loop().create_task(program.stop())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def stop(self) -> None:
        """End all programs."""
        programs = list(self._running.values())
        self._running = {}
        await asyncio.gather(*(program.stop() for program in programs), *self._ending, return_exceptions=True)
