"""The client: takes records from the program, and gives them to a pipeline of this process."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

from nexus_client.calls import Call, Recorded
from nexus_client.errors import told_of
from nexus_client.ids import uuid7
from nexus_client.pipeline import Item, Limits, Pipeline, Record
from nexus_client.posting import Poster
from nexus_client.providers import Providers
from nexus_client.spool import Spool
from nexus_client.stats import Counters, Stats

Http = TypeVar("Http")
_DEFAULT_URL = "http://localhost:8420"
_EXIT_SECONDS = 3.0
_OF_CALLS_ONLY = frozenset({"region", "provider", "model", "service_variant", "currency", "price_source", "endpoint"})
"""What may be said of API calls in a context, and is no field of other records."""
_OF_STORAGE = frozenset({"application", "tags"})
"""What may be said in a context and is a field of storage's windows, too."""
_attribution: ContextVar[Mapping[str, Any]] = ContextVar("nexus_client_attribution", default=MappingProxyType({}))


class Client:
    """Records calls in Nexus. Make one for each program; every thread may use it, and it survives `fork`.

    `url` and `key` come from `NEXUS_URL` and `NEXUS_ACCESS_KEY` unless given. Nothing here raises because Nexus, the
    network, the disk or the key is at fault: failures are counted in `stats`. Without a key, or with an address that is
    none, the client is inert.

    `application`, `user`, `end_user`, `tags` and the like are put into every record that does not say otherwise.
    `hosts` names providers that are not known here: `{"api.internal.example": "internal"}`.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        application: str | None = None,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        hosts: Mapping[str, str] | None = None,
        records_unknown_hosts: bool = False,
        spool_dir: os.PathLike[str] | str | None = None,
        spool_name: str | None = None,
        spool_limit_bytes: int = 256 * 2**20,
        fsync: bool = False,
        queue_records: int = 20_000,
        memory_limit_bytes: int = 16 * 2**20,
        waits_when_full: bool = False,
        linger_seconds: float = 0.05,
        batch_seconds: float = 1.0,
        batch_records: int = 1_000,
        batch_bytes: int = 2**20,
        timeout_seconds: float = 10.0,
        longest_pause_seconds: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = (url or os.environ.get("NEXUS_URL") or _DEFAULT_URL).rstrip("/")
        self._key = key or os.environ.get("NEXUS_ACCESS_KEY") or ""
        self._defaults: Record = {
            name: value for name, value in (("application", application), ("user", user)) if value is not None
        }
        self._tags = dict(tags or {})
        self.providers = Providers(hosts or {}, records_unknown=records_unknown_hosts, own_url=self.url)
        self._spool_root = _spool_root(spool_dir, spool_name, self.url, self._key)
        self._spool_limit_bytes = spool_limit_bytes
        self._fsync = fsync
        self._batch_records = max(1, min(batch_records, 10_000))
        self._batch_bytes = max(1, min(batch_bytes, 8 * 2**20))
        self._timeout_seconds = timeout_seconds
        self._ssl_context = ssl_context
        self._limits = Limits(
            queue_records=max(1, queue_records),
            memory_bytes=memory_limit_bytes,
            linger_seconds=linger_seconds,
            batch_seconds=batch_seconds,
            longest_pause_seconds=longest_pause_seconds,
            waits_when_full=waits_when_full,
        )
        self._is_closed = False
        self._begin()
        _clients.add(self)

    def _begin(self) -> None:
        self.counters = Counters()
        self._is_hooked = False
        self._pipeline: Pipeline | None = None
        if not self._key:
            self.counters.fail("own_failures", "no access key: give one, or set NEXUS_ACCESS_KEY; nothing is recorded")
            return
        try:
            poster = Poster(self.url, self._key, timeout_seconds=self._timeout_seconds, context=self._ssl_context)
        except ValueError as error:
            self.counters.fail("own_failures", f"nothing is recorded: {error}")
            return
        spool = Spool(
            self._spool_root,
            limit_bytes=self._spool_limit_bytes,
            segment_records=self._batch_records,
            segment_bytes=self._batch_bytes,
            fsync=self._fsync,
        )
        self._pipeline = Pipeline(spool, poster, self._limits, self.counters)

    # Recording

    def record(self, provider: str, status_code: int, **fields: Any) -> str:
        """Record a call and return its id. The fields are those of `POST /v1/events`.

        The id is a UUIDv7 made now, and is the time of the call unless `timestamp` says otherwise. The values are looked
        at later, in another thread: do not change `metadata` and `tokens` after handing them over.
        """
        made = str(fields.get("id") or uuid7())
        with self.counters.shield:
            record: Record = {"provider": provider, "status_code": status_code, **self.attribution()}
            tags = fields.get("tags")
            if tags is not None:
                fields["tags"] = {**record.get("tags", {}), **tags}
            self.put({**record, **fields, "id": made})
        return made

    def record_tool_call(self, tool: str, outcome: str, **fields: Any) -> str:
        """Record a call of an MCP tool and return its id. The fields are those of a `tool_call` of `POST /v1/events`.

        `outcome` is `ok`, `tool_error` (the tool answered that it failed) or `protocol_error` (it gave no answer). As with
        `record`, the id is the time of the call unless `timestamp` says otherwise.
        """
        return self._record_of("tool_call", {"tool": tool, "outcome": outcome}, fields)

    def record_mcp_request(self, method: str, outcome: str, **fields: Any) -> str:
        """Record a request to an MCP server and return its id. The fields are those of an `mcp_request`."""
        return self._record_of("mcp_request", {"method": method, "outcome": outcome}, fields)

    def record_error(self, error: BaseException | str, **fields: Any) -> str:
        """Record an error and return its id: an exception with its class and stack, or a message. The fields are those of
        an `error`.

        As with `record`, the id is the time of the error unless `timestamp` says otherwise.
        """
        required: Record = {"message": "an error without a message"}
        with self.counters.shield:
            required = told_of(error)
        return self._record_of("error", required, fields)

    def record_metric(self, name: str, kind: str, value: float | None = None, **fields: Any) -> None:
        """Record a point of a metric. The fields are those of a `metric`; `value` is a counter's or gauge's.

        The point is of now unless `timestamp` says otherwise. Series and time make it one point: copies of a program that
        measure the same need an `instance` of their own. A histogram of single values is `kind="histogram", values=[…]`.
        """
        with self.counters.shield:
            record: Record = {"type": "metric", "name": name, "kind": kind}
            application = self.attribution().get("application")
            if application is not None:
                record["application"] = application
            if value is not None:
                record["value"] = value
            if fields.get("timestamp") is None:
                fields["timestamp"] = datetime.now(UTC).isoformat()
            self.put({**record, **fields, "id": str(fields.get("id") or uuid7())})

    def record_storage(self, **fields: Any) -> str:
        """Record what storage did in a window of time, and return the record's id. The fields are those of a `storage`.

        As with `record`, the id is the time at which the window began unless `timestamp` says otherwise.
        """
        made = str(fields.get("id") or uuid7())
        with self.counters.shield:
            known = {name: value for name, value in self.attribution().items() if name in _OF_STORAGE}
            if fields.get("tags") is not None:
                fields["tags"] = {**known.get("tags", {}), **fields["tags"]}
            self.put({"type": "storage", **known, **fields, "id": made})
        return made

    def _record_of(self, kind: str, required: Record, fields: Record) -> str:
        made = str(fields.get("id") or uuid7())
        with self.counters.shield:
            known = {name: value for name, value in self.attribution().items() if name not in _OF_CALLS_ONLY}
            if fields.get("tags") is not None:
                fields["tags"] = {**known.get("tags", {}), **fields["tags"]}
            self.put({"type": kind, **required, **known, **fields, "id": made})
        return made

    def watch(self, http: Http) -> Http:
        """Record what a client of `httpx` or `httpx2`, or a session of `requests`, sends from now on, and return it.

        Whatever else it is given comes back as it was, counted as a failure.
        """
        with self.counters.shield:
            libraries = {kind.__module__.partition(".")[0] for kind in type(http).__mro__}
            for name in ("httpx", "httpx2", "requests"):
                if name in libraries:
                    importlib.import_module(f"nexus_client.{name}").watch(self, http)
                    return http
            raise TypeError(f"{type(http).__name__} is no client of httpx, httpx2 or requests: it is not watched")
        return http

    def call(self, provider: str, **fields: Any) -> Call:
        """Return a context manager that times a call and records it at its end, however it ends."""
        return Call(self, provider, fields)

    def recorded(self, provider: str, **fields: Any) -> Recorded:
        """Return a decorator that records each call of a function, plain or async."""
        return Recorded(self, provider, fields)

    def attribution(self) -> Record:
        """Return what every record of this context says about who called."""
        context = _attribution.get()
        found = {**self._defaults, **context}
        tags = {**self._tags, **context.get("tags", {})}
        if tags:
            found["tags"] = tags
        return found

    def put(self, item: Item) -> None:
        """Hand over a finished record, or what makes one."""
        counters, pipeline = self.counters, self._pipeline
        counters.add("recorded")
        if pipeline is None or self._is_closed:
            counters.add("dropped")
            return
        if not self._is_hooked:
            self._hook()
        if not pipeline.put(item):
            counters.fail("dropped", "more is recorded than can be written")

    @property
    def stats(self) -> Stats:
        """What was recorded, sent, dropped, and where it failed."""
        return self.counters.snapshot()

    @property
    def spool_dir(self) -> Path:
        """The folder of the records that Nexus does not have yet."""
        return self._spool_root

    # Waiting and ending

    def recover(self) -> None:
        """Begin to send what ended processes left, even if this one records nothing."""
        with self.counters.shield:
            if self._pipeline is not None and not self._is_closed:
                self._hook()
                self._pipeline.start()

    def persist(self, timeout_seconds: float | None = 10.0) -> bool:
        """Wait until everything recorded is in files that outlive this process; False when it is not."""
        return self._pipeline is not None and self._pipeline.persist(timeout_seconds)

    def flush(self, timeout_seconds: float | None = 10.0) -> bool:
        """Wait until Nexus has answered for everything recorded; False when it has not in that time."""
        return self._pipeline is not None and self._pipeline.flush(timeout_seconds)

    def close(self, timeout_seconds: float = _EXIT_SECONDS) -> bool:
        """Send what there is and end. What Nexus does not take stays on disk for the next start; False then.

        Called by itself when the program ends. While Nexus is away it takes one attempt, not the whole time.
        """
        if self._is_closed:
            return True
        self._is_closed = True
        _clients.discard(self)
        with self.counters.shield:
            return self._pipeline is None or self._pipeline.stop(timeout_seconds)
        return False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hook(self) -> None:
        # Processes made by multiprocessing end without running what is registered with atexit.
        self._is_hooked = True
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            with contextlib.suppress(ImportError):
                from multiprocessing.util import Finalize

                Finalize(None, self.close, exitpriority=100)

    def after_fork(self) -> None:
        """Begin anew in a forked child, which calls this by itself: the parent keeps what it has taken."""
        pipeline = self._pipeline
        self._begin()
        if pipeline is not None:
            with self.counters.shield:
                pipeline.forget()


@contextlib.contextmanager
def attributed(**fields: Any) -> Iterator[None]:
    """Say who calls within this context (and the tasks begun in it): `tags`, `user`, `end_user`, `session_id`, …

    Contexts nest; tags are merged, other fields replaced.
    """
    outer = _attribution.get()
    merged = {**outer, **fields}
    if "tags" in outer and "tags" in fields:
        merged["tags"] = {**outer["tags"], **fields["tags"]}
    token = _attribution.set(merged)
    try:
        yield
    finally:
        _attribution.reset(token)


def _spool_root(folder: os.PathLike[str] | str | None, name: str | None, url: str, key: str) -> Path:
    if folder is None:
        folder = os.environ.get("NEXUS_SPOOL_DIR")
    if folder is None:
        state = os.environ.get("XDG_STATE_HOME")
        try:
            folder = (Path(state) if state else Path.home() / ".local" / "state") / "nexus-client"
        except RuntimeError:
            folder = Path(tempfile.gettempdir()) / f"nexus-client-{os.getuid() if hasattr(os, 'getuid') else 0}"
    # What was recorded with one key must not be sent with another one, which may be another organization's.
    return Path(folder) / (name or hashlib.sha256(f"{url}\0{key}".encode()).hexdigest()[:16])


# Held until they are closed: what a client took must not be lost because the program forgot the client.
_clients: set[Client] = set()


def _close_all() -> None:
    for client in list(_clients):
        client.close()


def _forked() -> None:
    for client in list(_clients):
        client.after_fork()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
