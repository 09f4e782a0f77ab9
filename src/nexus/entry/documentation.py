"""`/openapi.json` and `/docs`: the whole HTTP surface described, and a page to read it, served from the package."""

from __future__ import annotations

import asyncio
import importlib.resources
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute

from nexus.dataplane.decide.asgi import Ending, Question
from nexus.dataplane.ingest.record_types import API_CALL, RECORD_TYPES
from nexus.identity.guards import permission_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "stable name of the problem"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what to do"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_PROBLEM: dict[str, Any] = {
    "description": "a problem (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_PROBLEM_STATUSES = ("400", "401", "403", "404", "405", "409", "413", "415", "422", "429", "503")


def _events_operation(components: dict[str, Any]) -> dict[str, Any]:
    structs = [record_type.struct for record_type in RECORD_TYPES.values()]
    schemas, parts = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    # A record that does not say its type is an API call.
    parts[API_CALL.struct.__name__]["required"].remove("type")
    components.update(parts)
    record = {"anyOf": list(schemas)}
    receipt = {
        "type": "object",
        "properties": {
            "received": {"type": "integer"},
            "accepted": {"type": "integer"},
            "stored": {"type": ["integer", "null"]},
            "duplicates": {"type": ["integer", "null"]},
            "refused": {"type": "array", "items": {"type": "object"}},
            "durability": {"type": "string", "enum": ["committed", "spooled"]},
        },
    }
    content = {"application/json": {"schema": receipt}}
    return {
        "post": {
            "operationId": "SendEvents",
            "tags": ["ingest"],
            "summary": "Send records.",
            "description": (
                "A JSON array, one object, or NDJSON; identity, gzip or zstd. Durable before it is answered, stored exactly "
                "once by (organization, type, id), refused record by record."
            ),
            "security": [{"accessKey": []}],
            "parameters": [
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "required": False,
                    "schema": {"type": "string", "maxLength": 255},
                    "description": "needed where records carry no id: id = key and position",
                }
            ],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {"type": "array", "items": record}},
                    "application/x-ndjson": {"schema": {"type": "string"}},
                },
            },
            "responses": {
                "200": {"description": "committed", "content": content},
                "202": {"description": "durable in the spool while PostgreSQL is away", "content": content},
                **dict.fromkeys(("400", "401", "403", "413", "415", "422", "429", "503"), _PROBLEM),
            },
        }
    }


def _decision_operations(components: dict[str, Any]) -> dict[str, Any]:
    (question, ending), parts = msgspec.json.schema_components(
        [Question, Ending], ref_template="#/components/schemas/{name}"
    )
    components.update(parts)

    def operation(name: str, summary: str, description: str, schema: Any, statuses: dict[str, str]) -> dict[str, Any]:
        either = {"oneOf": [schema, {"type": "array", "items": schema, "minItems": 1, "maxItems": 1000}]}
        answer = {"application/json": {"schema": {"type": ["object", "array"]}}}
        return {
            "post": {
                "operationId": name,
                "tags": ["decisions"],
                "summary": summary,
                "description": description,
                "security": [{"accessKey": []}],
                "requestBody": {"required": True, "content": {"application/json": {"schema": either}}},
                "responses": {
                    **{status: {"description": what, "content": answer} for status, what in statuses.items()},
                    **dict.fromkeys(("400", "401", "403", "404", "405", "409", "413", "422", "429", "503"), _PROBLEM),
                },
            }
        }

    return {
        "/v1/admit": operation(
            "Admit",
            "May a call be made, by all limits it meets?",
            "Charges all of them or none. Answers with RateLimit-Policy and RateLimit; 429 and Retry-After when refused. "
            "A list is decided one by one and answered with 200 and a list.\n\nNeeds: calls:admit.",
            question,
            {"200": "admitted"},
        ),
        "/v1/settle": operation(
            "Settle",
            "Settle a held call to what it really took, or release it.",
            "Once: again answers what was said the first time.\n\nNeeds: calls:admit.",
            ending,
            {"200": "settled", "202": "kept until the limiter answers again"},
        ),
    }


def _probe_operations() -> dict[str, Any]:
    part = {
        "type": "object",
        "required": ["status", "detail"],
        "properties": {"status": {"type": "string", "enum": ["up", "down"]}, "detail": {"type": "string"}},
    }
    readiness = {
        "type": "object",
        "required": ["status", "degraded", "parts"],
        "properties": {
            "status": {"type": "string", "enum": ["ready", "degraded", "unready"]},
            "degraded": {"type": "array", "items": {"type": "string"}},
            "parts": {"type": "object", "additionalProperties": part},
        },
    }
    alive = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string", "const": "alive"}}}

    def operation(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
        return {
            "get": {
                "operationId": name,
                "tags": ["probes"],
                "summary": summary,
                "security": [],
                "responses": {**responses, "405": _PROBLEM},
            }
        }

    def json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"description": description, "content": {"application/json": {"schema": schema}}}

    return {
        "/health/live": operation("IsAlive", "Is the process alive?", {"200": json("alive", alive)}),
        "/health/ready": operation(
            "IsReady",
            "Can records be taken now? Tells how each part is.",
            {"200": json("ready, or degraded", readiness), "503": json("unready", readiness)},
        ),
        "/metrics": operation(
            "Metrics",
            "Metrics of all processes of this node.",
            {"200": {"description": "Prometheus text format", "content": {"text/plain": {}}}, "401": _PROBLEM},
        ),
    }


def _name_permissions(app: Litestar, paths: dict[str, Any]) -> None:
    """Say of each operation which permission it asks for."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or route.path_format not in paths:
            continue
        for handler in route.route_handlers:
            permission = permission_of(handler)
            for method in handler.http_methods:
                operation = paths[route.path_format].get(method.lower())
                if operation is not None and permission is not None:
                    operation["x-permission"] = permission
                    needs = "Open to everybody." if permission == "(public)" else f"Needs: {permission}."
                    operation["description"] = f"{operation.get('description', '')}\n\n{needs}".strip()


def _with_any_of(part: Any) -> Any:
    """Describe a union as any of its types: a whole number is a number too, and so never exactly one of the two."""
    if isinstance(part, dict):
        return {"anyOf" if name == "oneOf" else name: _with_any_of(value) for name, value in part.items()}
    return [_with_any_of(item) for item in part] if isinstance(part, list) else part


def describe(app: Litestar) -> bytes:
    """Return the OpenAPI document of the whole port, as JSON."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = PROBLEM_SCHEMA
    components["securitySchemes"] = {
        "accessKey": {"type": "http", "scheme": "bearer", "description": "an access key, nx_…"},
        "session": {"type": "apiKey", "in": "cookie", "name": "nexus_session"},
    }
    document["security"] = [{"accessKey": []}, {"session": []}]
    for path in document.get("paths", {}).values():
        for operation in path.values():
            if isinstance(operation, dict) and "responses" in operation:
                for status in _PROBLEM_STATUSES:
                    operation["responses"][status] = _PROBLEM
                # What is empty has no form, whatever the handler's type says.
                operation["responses"].get("204", {}).pop("content", None)
    _name_permissions(app, document.get("paths", {}))
    paths = document.setdefault("paths", {})
    paths["/v1/events"] = _events_operation(schemas)
    paths.update(_decision_operations(schemas))
    paths.update(_probe_operations())
    return msgspec.json.encode(_with_any_of(document))


class DocumentationPage:
    """Serves the document and the page that shows it, without a request to anybody else."""

    def __init__(self, document: Callable[[], bytes]) -> None:
        """Make it; `document` is asked for when somebody wants it, beside the loop: it takes a while."""
        self._document = document
        folder = importlib.resources.files("nexus.entry") / "docs_page"
        self._files = {
            "/openapi.json": (b"application/json", b""),
            "/docs": (b"text/html; charset=utf-8", (folder / "index.html").read_bytes()),
            "/docs/docs.js": (b"text/javascript; charset=utf-8", (folder / "docs.js").read_bytes()),
            "/docs/docs.css": (b"text/css; charset=utf-8", (folder / "docs.css").read_bytes()),
        }

    def has(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return path.rstrip("/") in self._files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for one of the files there are."""
        path = scope["path"].rstrip("/")
        media_type, content = self._files[path]
        if not content:
            content = await asyncio.to_thread(self._document)
            self._files[path] = (media_type, content)
        headers = [
            (b"content-type", media_type),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"no-cache"),
            (
                b"content-security-policy",
                b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'",
            ),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
