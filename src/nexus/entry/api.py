"""The web process: one ASGI application over both planes.

The outer layer gives each request an id, counts and logs it, and sends it where it belongs: records to the data plane,
probes and metrics to functions of a few lines, everything else to the control plane's framework.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import UUID

import msgspec
import structlog
from prometheus_client import Counter, Histogram

from nexus.admission.loans.routes import LoanDesk
from nexus.admission.view_routes import LimitsInForce
from nexus.dashboards.routes import live_hub
from nexus.dataplane.decide.asgi import ADMIT_PATH, SETTLE_PATH, AdmissionApp
from nexus.dataplane.decide.cells import CellHistory
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.gate import Gate
from nexus.dataplane.decide.lending import Lending
from nexus.dataplane.decide.own_limits import OwnLimits
from nexus.dataplane.decide.refusals import RefusalBook
from nexus.dataplane.decide.scripts import Scripts
from nexus.dataplane.decide.tables import LimitSnapshots
from nexus.dataplane.gateway.asgi import PREFIX as GATEWAY_PREFIX
from nexus.dataplane.gateway.asgi import GatewayApp
from nexus.dataplane.gateway.bodies import Bodies
from nexus.dataplane.gateway.mcp.asgi import PATH as MCP_PATH
from nexus.dataplane.gateway.mcp.asgi import McpApp
from nexus.dataplane.gateway.mcp.facade import Facade
from nexus.dataplane.gateway.mcp.programs import Programs
from nexus.dataplane.gateway.mcp.service import McpGateway
from nexus.dataplane.gateway.service import Gateway
from nexus.dataplane.ingest.asgi import PATH as EVENTS_PATH
from nexus.dataplane.ingest.asgi import IngestApp
from nexus.dataplane.ingest.otlp.asgi import MAX_BODY_BYTES as MAX_OTLP_BYTES
from nexus.dataplane.ingest.otlp.asgi import PREFIX as OTLP_PREFIX
from nexus.dataplane.ingest.otlp.asgi import OtlpApp
from nexus.dataplane.ingest.service import Ingest
from nexus.dataplane.key_use import KeyUse
from nexus.dataplane.snapshots import Snapshots
from nexus.entry.control_plane import ControlPlane
from nexus.entry.documentation import DocumentationPage
from nexus.entry.health import HealthChecks
from nexus.entry.web_files import WebFiles
from nexus.identity.attempts import HEADERS_STATE
from nexus.kit.errors import NexusError, NotFound, Unauthenticated
from nexus.kit.ids import uuid7
from nexus.mcp.server_check import ServerDesk
from nexus.platform.db import Database, DatabaseUrls
from nexus.platform.db.secrets import secret_keys
from nexus.platform.redis import connect as connect_redis
from nexus.platform.sealing import Sealer
from nexus.platform.settings import Settings
from nexus.platform.telemetry import render_metrics
from nexus.platform.web import PROBLEM_TYPE, WebState, problem_body
from nexus.platform.web.problems import InternalError, MethodNotAllowed, problem_headers
from nexus.platform.web.proxies import TrustedProxies, read_networks

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_REQUESTS = Counter("nexus_http_requests", "HTTP requests, by area of the API.", ("area", "method", "status"))
_SECONDS = Histogram("nexus_http_request_seconds", "Duration of HTTP requests.", ("area",))
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MAX_REQUEST_ID_CHARS = 128

_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_log = structlog.get_logger("nexus.http")


class Application:
    """One web process's application. `start` and `stop` frame its life; in between it answers requests."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.proxies = TrustedProxies(read_networks(settings.trusted_proxies), settings.proxy_header)
        self.database = Database(
            DatabaseUrls.from_settings(settings), application_name="nexus-web", max_size=settings.database_pool_size
        )
        self.redis = connect_redis(settings)
        sealer = Sealer(secret_keys(settings))
        self.snapshots = Snapshots(self.database, data_dir=settings.data_dir, sealer=sealer)
        self.key_use = KeyUse(self.database)
        self.ingest = Ingest(database=self.database, settings=settings, snapshots=self.snapshots, redis=self.redis)
        self.limits = LimitSnapshots(self.database, data_dir=settings.data_dir)
        self.refusals = RefusalBook(self.database)
        self.admission = Admission(
            self.redis,
            lambda: self.limits.table,
            restore=self._history,
            spent=self.limits.spent,
            refusals=self.refusals,
            timeout_seconds=settings.admission_timeout_ms / 1000,
            nodes_file=settings.data_dir / "admission-nodes",
        )
        self.own_limits = OwnLimits(
            self.admission,
            lambda: self.limits.configuration,
            most_records=settings.ingest_max_records,
            most_bytes=max(settings.ingest_max_bytes, MAX_OTLP_BYTES),
        )
        gate = Gate(
            self.admission,
            keys=lambda: self.snapshots.keys,
            prices=lambda: self.snapshots.prices.book,
            is_loaded=lambda: self.limits.is_loaded,
        )
        self.bodies = Bodies(self.snapshots, self.database, sealer)
        self.gateway = Gateway(ingest=self.ingest, settings=settings, gate=gate, redis=self.redis, bodies=self.bodies)
        self.forwarded = GatewayApp(self.gateway, on_use=self.key_use.note)
        self.mcp = McpGateway(self.gateway)
        self.programs = Programs(self.snapshots, settings.data_dir / "mcp", are_allowed=settings.mcp_commands_are_on)
        facade = Facade(self.mcp, self.programs)
        self.mcp_servers = McpApp(
            self.mcp, facade, origins=(settings.url, settings.local_url), on_use=self.key_use.note
        )
        self.health = HealthChecks(self.database, self.redis, self.ingest, self.limits, self.admission)
        self.state = WebState(self.database, settings, redis=self.redis)
        self.state.put(LimitsInForce(lambda: self.limits.table, lambda: self.admission.is_degraded))
        self.state.put(self.own_limits)
        self.state.put(LoanDesk(Lending(Scripts(self.redis), self.admission.open_cell)))
        self.state.put(ServerDesk(facade, self.snapshots))
        self.live = live_hub(self.state)
        self.control = ControlPlane(self.state)
        self.events = IngestApp(self.ingest, on_use=self.key_use.note, limits=self.own_limits)
        self.telemetry = OtlpApp(
            self.ingest,
            own_urls=(settings.url, settings.local_url),
            on_use=self.key_use.note,
            limits=self.own_limits,
        )
        self.decisions = AdmissionApp(
            self.admission,
            lambda: self.snapshots.keys,
            is_loaded=lambda: self.snapshots.is_loaded and self.limits.is_loaded,
            on_use=self.key_use.note,
        )
        self.documentation = DocumentationPage(self.control.description)
        self.files = WebFiles()

    async def _history(self, cell: UUID) -> CellHistory:
        """Tell what is known of a cell that Redis does not know; of Nexus's own limits nothing is kept elsewhere."""
        return CellHistory(False, {}) if self.own_limits.owns(cell) else await self.limits.history(cell)

    async def start(self) -> None:
        """Begin to serve: snapshots from PostgreSQL, or from the last good copy while it is away."""
        await self.snapshots.start()
        await self.limits.start()
        self.refusals.start()
        await self.admission.start()
        await self.ingest.start()
        self.bodies.start()
        await self.gateway.start()
        self.key_use.start()

    def end_streams(self) -> None:
        """End what would go on for ever, so that the server can finish the requests it has. Nothing else is refused."""
        self.live.end()
        self.gateway.leaving.set()

    async def stop(self) -> None:
        """End in order: nothing that was acknowledged is lost, nothing new is taken."""
        self.mcp.stop()
        await self.programs.stop()
        await self.gateway.stop()
        await self.bodies.stop()
        await self.ingest.stop()
        await self.admission.stop()
        await self.refusals.stop()
        await self.limits.stop()
        await self.snapshots.stop()
        await self.key_use.stop()
        await self.database.close()
        await self.redis.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in {"http", "websocket"}:
            return
        self.proxies.resolve(scope)
        path: str = scope["path"]
        if path.startswith(GATEWAY_PREFIX):
            # Nothing is added to what a provider answers, and nothing is done twice on the busiest way.
            await self.forwarded(scope, receive, send)
            return
        if scope["type"] == "websocket":
            # Sessions are for providers; the pages' own streams are server-sent events.
            await send({"type": "websocket.close"})
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        area = _area(path)
        began = time.perf_counter()
        status = 500
        started = False

        async def respond(message: MutableMapping[str, Any]) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                names = {name.lower() for name, _ in message["headers"]}
                extra = [item for item in _SECURITY_HEADERS if item[0] not in names]
                if b"x-request-id" not in names:
                    extra.append((b"x-request-id", request_id.encode()))
                extra += [item for item in scope["state"].get(HEADERS_STATE, ()) if item[0] not in names]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._dispatch(path, scope, receive, respond)
            except Exception:  # noqa: BLE001
                # The process's edge: whatever nobody else translated.
                _log.exception("request failed", path=path, method=scope["method"])
                if not started:
                    await _problem(respond, InternalError(), path, request_id)
            finally:
                seconds = time.perf_counter() - began
                method = scope["method"] if scope["method"] in _METHODS else "other"
                _REQUESTS.labels(area, method, str(status)).inc()
                _SECONDS.labels(area).observe(seconds)
                # What comes all the time is counted, and logged where it failed.
                log = _log.debug if area in _QUIET_AREAS and status < 400 else _log.info
                log("request", method=method, path=path, status=status, duration_ms=round(seconds * 1000, 1))

    async def _dispatch(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if path == EVENTS_PATH:
            await self.events(scope, receive, send)
        elif path.startswith(OTLP_PREFIX):
            await self.telemetry(scope, receive, send)
        elif path == MCP_PATH or path.startswith(f"{MCP_PATH}/"):
            await self.mcp_servers(scope, receive, send)
        elif path in {ADMIT_PATH, SETTLE_PATH}:
            await self.decisions(scope, receive, send)
        elif path.startswith("/api/"):
            await self.control(scope, receive, send)
        elif path in _PROBES or self.documentation.has(path):
            if scope["method"] not in {"GET", "HEAD"}:
                refusal = MethodNotAllowed(f"{path} takes GET only", allow="GET, HEAD")
                await _problem(send, refusal, path, scope["state"]["request_id"])
            elif path in _PROBES:
                await self._probe(path, scope, send)
            else:
                await self.documentation(scope, receive, send)
        elif _is_programs(path):
            error = NotFound(f"there is nothing at {path}")
            await _problem(send, error, path, scope["state"]["request_id"])
        else:
            await self.files(scope, receive, send)

    async def _probe(self, path: str, scope: Scope, send: Send) -> None:
        if path == "/health/live":
            await _json(send, 200, {"status": "alive"})
        elif path == "/health/ready":
            found = await self.health.readiness()
            await _json(send, 503 if found.status == "unready" else 200, found)
        else:
            await self._metrics(scope, send)

    async def _metrics(self, scope: Scope, send: Send) -> None:
        token = self.settings.metrics_token
        if token is not None:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, f"Bearer {token}".encode()):
                await _problem(send, Unauthenticated(), "/metrics", scope["state"]["request_id"])
                return
        content, media_type = render_metrics()
        await _answer(send, 200, media_type.encode(), content)


_PROBES = frozenset({"/health/live", "/health/ready", "/metrics"})
_QUIET_AREAS = frozenset({EVENTS_PATH, "/otlp", MCP_PATH, "/health", "/metrics"})


def _area(path: str) -> str:
    if path.startswith("/api/"):
        return "/".join(path.split("/", 3)[:3]) if path.split("/", 3)[2] in _SLICES else "/api"
    return next(
        (
            prefix
            for prefix in (EVENTS_PATH, "/otlp", MCP_PATH, "/health", "/metrics", "/docs")
            if path.startswith(prefix)
        ),
        "/",
    )


_SLICES = frozenset(
    {
        "identity",
        "catalog",
        "admission",
        "metering",
        "costs",
        "mcp",
        "errors",
        "metrics",
        "governance",
        "operations",
        "live",
    }
)


def _is_programs(path: str) -> bool:
    return path.startswith(("/v1/", "/gw/", "/mcp/", "/health/", "/docs/", "/api"))


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name.lower() == b"x-request-id":
            text: str = value.decode("latin-1")
            if 0 < len(text) <= _MAX_REQUEST_ID_CHARS and text.isascii() and text.isprintable():
                return text
    return str(uuid7())


async def _answer(
    send: Send, status: int, media_type: bytes, content: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    start = [
        (b"content-type", media_type),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
        *(headers or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": content})


async def _json(send: Send, status: int, body: object) -> None:
    await _answer(send, status, b"application/json", msgspec.json.encode(body))


async def _problem(send: Send, error: NexusError, path: str, request_id: str) -> None:
    body = msgspec.json.encode(problem_body(error, instance=path, request_id=request_id))
    headers = [(name.encode(), value.encode()) for name, value in problem_headers(error).items()]
    await _answer(send, error.status, PROBLEM_TYPE.encode(), body, headers)
