"""The receiver over a store in memory, spoken to as a server speaks to it."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from nexus.contracts.gateway import GatewayTable, ProviderEntry
from nexus.contracts.prices import PriceBook
from nexus.dataplane.ingest.otlp.asgi import OtlpApp, OtlpMetrics
from nexus.dataplane.ingest.record_type import RecordType
from nexus.dataplane.ingest.rows import split_fields
from nexus.dataplane.snapshots import PriceTable
from tests.dataplane.ingest.otlp.payloads import as_json, as_protobuf
from tests.dataplane.ingest.test_asgi import KEY, Answer, Client


def _price(provider: str, model: str, **amounts: str) -> dict[str, Any]:
    components = [{"unit": unit, "amount": amount, "per": 1_000_000} for unit, amount in amounts.items()]
    return {"kind": "price", "id": str(uuid4()), "provider": provider, "model": model, "components": components}


_BOOK = [
    {"kind": "provider", "provider": "openai"},
    {"kind": "provider", "provider": "anthropic"},
    {"kind": "provider", "provider": "google", "aliases": ["gcp.gemini", "gcp.vertex_ai"]},
    {"kind": "model", "provider": "openai", "model": "gpt-4o", "match": {"starts_with": "gpt-4o"}},
    {"kind": "model", "provider": "anthropic", "model": "claude", "match": {"starts_with": "claude"}},
    _price("openai", "gpt-4o", input="2", cached_input="1", output="10"),
    _price("anthropic", "claude", input="3", cached_input="0.3", cache_write="4", output="15"),
]


async def deliver(
    telemetry: OtlpApp,
    body: bytes,
    kind: str,
    *,
    path: str,
    key: str | None,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request to a receiver."""
    given = {"content-type": kind} | dict(headers or {})
    if key:
        given["authorization"] = f"Bearer {key}"
    messages = [{"type": "http.request", "body": body}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    await telemetry(scope, receive, send)
    return Answer(sent[0]["status"], sent[0]["headers"], sent[1]["body"])


class Receiver(Client):
    """Sends telemetry."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.metrics = OtlpMetrics(self.registry)
        self.telemetry = OtlpApp(self.ingest, own_urls=("https://nexus.example",), metrics=self.metrics)
        self.snapshots.prices = PriceTable(1, PriceBook.from_documents(_BOOK))
        self.ingest._forget()
        self.snapshots.gateway = GatewayTable(1, {(None, "openai"): ProviderEntry("openai", "https://api.openai.com")})

    async def post(
        self,
        body: bytes,
        kind: str = "application/x-protobuf",
        *,
        path: str = "/otlp/v1/traces",
        key: str | None = KEY,
        method: str = "POST",
        **headers: str,
    ) -> Answer:
        """Send one request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await deliver(self.telemetry, body, kind, path=path, key=key, method=method, headers=named)

    async def tell(self, document: dict[str, Any], form: str = "protobuf", **headers: str) -> Answer:
        """Send a description in one of the forms."""
        if form == "json":
            return await self.post(as_json(document), "application/json", **headers)
        return await self.post(as_protobuf(document), **headers)

    @property
    def stored(self) -> list[dict[str, Any]]:
        """The calls of APIs that were stored, decoded as far as tests look."""
        return self.decoded("api_call")

    def decoded(self, name: str) -> list[dict[str, Any]]:
        """The records of one type that were stored."""
        types = self.store.types
        return [_decode(row, types[key]) for key, row in self.store.rows.items() if types[key].name == name]

    def fates(self) -> dict[str, int]:
        """The account of all spans."""
        names = ("kept", "told_elsewhere", "not_kept", "rejected")
        found = {name: self.registry.get_sample_value("nexus_otlp_spans_total", {"fate": name}) for name in names}
        return {name: int(value) for name, value in found.items() if value}


def _decode(row: bytes, record_type: RecordType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, raw in zip(record_type.columns[1:], split_fields(row), strict=True):
        kind = record_type.column_types[name]
        if raw is None:
            found[name] = None
        elif kind in {"int2", "int8"} or kind == "timestamptz":
            found[name] = int.from_bytes(raw, "big", signed=True)
        elif kind == "text":
            found[name] = raw.decode()
        elif kind == "jsonb":
            found[name] = json.loads(raw[1:])
        elif kind == "float8":
            (found[name],) = struct.unpack(">d", raw)
        elif kind == "bool":
            found[name] = raw == b"\x01"
        elif kind in {"bytea", "uuid"}:
            found[name] = raw
    return found


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    """A receiver that has been started, with a price for one model."""
    made = Receiver(tmp_path)
    yield made
    await made.ingest.writer.stop()
