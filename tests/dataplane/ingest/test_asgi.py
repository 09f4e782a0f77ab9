"""POST /v1/events: who may, what is taken, what is answered."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import backports.zstd as zstd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from nexus.contracts.keys import KeyEntry, KeyTable, OrganizationEntry, key_hash
from nexus.contracts.prices import PriceBook
from nexus.dataplane.ingest.asgi import IngestApp
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.service import Ingest
from nexus.dataplane.snapshots import PriceTable, Snapshots
from nexus.kit.clock import FixedClock
from nexus.platform.db import Database, DatabaseUrls
from nexus.platform.settings import Settings
from tests.dataplane.ingest.stores import MemoryStore, field_of

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
KEY, READER, EXPIRED, FUTURE = (f"nx_{name}" + "0" * 40 for name in ("writer", "reader", "expired", "future"))
GOOD: dict[str, Any] = {"id": "a", "provider": "openai", "status_code": 200}


class Answer:
    """What the application answered."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = {name.decode(): value.decode() for name, value in headers}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Calls the application as a server does."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.store = MemoryStore()
        self.clock = FixedClock(NOW)
        self.registry = CollectorRegistry()
        database = Database(DatabaseUrls(service="", system="", writer=""), application_name="none")
        self.snapshots = Snapshots(database)
        self.snapshots.prices = PriceTable(1, PriceBook.from_documents([]))
        organization = OrganizationEntry(uuid4(), "acme", "EUR", "", "UTC")
        self.user_id = uuid4()
        entries = {
            KEY: KeyEntry(uuid4(), organization.id, frozenset({"events:write"}), "shop", self.user_id),
            READER: KeyEntry(uuid4(), organization.id, frozenset({"metrics:read"})),
            EXPIRED: KeyEntry(uuid4(), organization.id, frozenset({"*"}), expires_at=NOW),
            FUTURE: KeyEntry(uuid4(), organization.id, frozenset({"*"}), not_before=NOW + timedelta(seconds=1)),
        }
        self.entries = entries
        self.snapshots.keys = KeyTable(
            1,
            {key_hash(text): entry for text, entry in entries.items()},
            {organization.id: organization},
            {organization.id: {"zoe@example.org": self.user_id}},
        )
        self.snapshots.is_loaded = True
        self.ingest = Ingest(
            database=database,
            settings=Settings(data_dir=folder, **options),
            snapshots=self.snapshots,
            clock=self.clock,
            metrics=IngestMetrics(self.registry),
            store=self.store,
        )
        self.app = IngestApp(self.ingest)
        self.ingest.writer.start()

    async def send(
        self,
        body: bytes | list[bytes] | Any,
        headers: dict[str, str] | None = None,
        *,
        method: str = "POST",
        key: str = KEY,
    ) -> Answer:
        if not isinstance(body, bytes) and not (isinstance(body, list) and body and isinstance(body[0], bytes)):
            body = json.dumps(body).encode()
        pieces = body if isinstance(body, list) else [body]
        given = {"authorization": f"Bearer {key}", "content-type": "application/json"} | (headers or {})
        messages = [
            {"type": "http.request", "body": piece, "more_body": place + 1 < len(pieces)}
            for place, piece in enumerate(pieces)
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": "/v1/events",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items() if value],
        }
        await self.app(scope, receive, send)
        return Answer(sent[0]["status"], sent[0]["headers"], sent[1]["body"])


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Client]]:
    clients: list[Client] = []

    def build(**options: Any) -> Client:
        clients.append(Client(tmp_path, **options))
        return clients[-1]

    yield build
    for client in clients:
        if client.store.gate is not None:
            client.store.gate.set()
        await client.ingest.stop()


async def test_committed_batch_is_answered_with_its_counts(make: Callable[..., Client]) -> None:
    client = make()

    first = await client.send([GOOD, GOOD, GOOD | {"id": "b"}])
    second = await client.send([GOOD, {"id": "c", "provider": "x"}])

    assert (first.status, first.json) == (
        200,
        {"received": 3, "accepted": 3, "stored": 2, "duplicates": 1, "refused": [], "durability": "committed"},
    )
    assert second.status == 200
    assert second.json["duplicates"] == 1
    (refusal,) = second.json["refused"]
    assert (refusal["index"], refusal["id"], refusal["errors"][0]["field"]) == (1, "c", "status_code")
    assert first.headers["content-type"] == "application/json"
    assert first.headers["x-request-id"]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd.compress])
@pytest.mark.parametrize("is_lines", [False, True])
async def test_every_form_is_taken(make: Callable[..., Client], compress: Any, is_lines: bool) -> None:
    client = make()
    records = [GOOD | {"id": str(number)} for number in range(50)]
    text = "\n".join(json.dumps(record) for record in records) if is_lines else json.dumps(records)
    headers = {
        "content-type": "application/x-ndjson" if is_lines else "application/json",
        "content-encoding": {"bytes": "", "compress": "zstd"}.get(compress.__name__, ""),
    }
    if compress is gzip.compress:
        headers["content-encoding"] = "gzip"
    body = compress(text.encode())

    answer = await client.send([body[start : start + 100] for start in range(0, len(body), 100)], headers)

    assert (answer.status, answer.json["stored"]) == (200, 50)


@pytest.mark.parametrize(
    ("headers", "key", "status", "code"),
    [
        ({"authorization": ""}, KEY, 401, "access_key_refused"),
        ({"authorization": "Basic abc"}, KEY, 401, "access_key_refused"),
        ({}, "nx_unknown", 401, "access_key_refused"),
        ({}, "é" * 40, 401, "access_key_refused"),
        ({}, EXPIRED, 401, "access_key_refused"),
        ({}, FUTURE, 401, "access_key_refused"),
        ({}, READER, 403, "scope_missing"),
        ({"content-type": "text/html"}, KEY, 415, "unknown_media_type"),
        ({"content-encoding": "br"}, KEY, 415, "unknown_content_encoding"),
        ({"content-encoding": "gzip"}, KEY, 400, "body_compressed_wrongly"),
        ({"content-length": "999999999999"}, KEY, 413, "body_too_large"),
        ({"idempotency-key": "k" * 256}, KEY, 400, "malformed_request"),
    ],
)
async def test_refusals_are_problem_details(
    make: Callable[..., Client], headers: dict[str, str], key: str, status: int, code: str
) -> None:
    client = make()

    answer = await client.send([GOOD], headers, key=key)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"].endswith(code)
    assert answer.json["status"] == status
    assert answer.json["detail"]
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert client.store.rows == {}


async def test_key_of_a_providers_client_is_taken(make: Callable[..., Client]) -> None:
    answer = await make().send([GOOD], {"authorization": "", "x-api-key": KEY})

    assert answer.status == 200


async def test_other_methods_are_told_which_one_is_taken(make: Callable[..., Client]) -> None:
    answer = await make().send(b"", method="GET")

    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


async def test_limits_of_a_request_are_kept(make: Callable[..., Client]) -> None:
    client = make(ingest_max_records=10, ingest_max_bytes=5_000)

    many = await client.send([GOOD] * 11)
    large = await client.send([b"[" + b" " * 3_000, b" " * 3_000 + b"]"])
    bomb = await client.send(gzip.compress(b" " * 10**7), {"content-encoding": "gzip"})

    assert [answer.status for answer in (many, large, bomb)] == [413, 413, 413]
    assert "10" in many.json["detail"] and "5000" in large.json["detail"]


async def test_batch_of_which_nothing_can_be_taken_is_a_problem_with_the_list(make: Callable[..., Client]) -> None:
    answer = await make().send([{"provider": "x", "status_code": 200}, {"id": "b", "status_code": "no"}])

    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [refusal["index"] for refusal in answer.json["refused"]] == [0, 1]
    assert {error["field"] for error in answer.json["errors"]} == {"0.id", "1.provider", "1.status_code"}


async def test_empty_batch_is_nothing_to_do(make: Callable[..., Client]) -> None:
    answer = await make().send([])

    assert (answer.status, answer.json["received"]) == (200, 0)


async def test_unreadable_body_is_400(make: Callable[..., Client]) -> None:
    for body in (b"", b"[", b"{]", b"nonsense"):
        assert (await make().send(body)).status in {400, 422}


async def test_spooled_batch_says_so_and_claims_no_more(make: Callable[..., Client]) -> None:
    client = make()
    client.store.is_away = True

    answer = await client.send([GOOD])

    assert answer.status == 202
    assert answer.json == {
        "received": 1, "accepted": 1, "stored": None, "duplicates": None, "refused": [], "durability": "spooled",
    }  # fmt: skip


async def test_full_queue_is_503_with_retry_after(make: Callable[..., Client]) -> None:
    client = make(ingest_queue_rows=1, ingest_batch_rows=1)
    client.store.gate = asyncio.Event()
    waiting = asyncio.create_task(client.send([GOOD]))
    await client.store.waiting.wait()

    answer = await client.send([GOOD | {"id": "z"}])
    client.store.gate.set()

    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert (await waiting).status == 200


async def test_full_spool_is_503_with_retry_after(make: Callable[..., Client]) -> None:
    client = make(spool_limit_bytes=10)
    client.store.is_away = True

    answer = await client.send([GOOD])

    assert (answer.status, answer.json["type"].rpartition(":")[2]) == (503, "spool_full")
    assert answer.headers["retry-after"]


async def test_nothing_is_taken_before_keys_are_known(make: Callable[..., Client]) -> None:
    client = make()
    client.snapshots.is_loaded = False

    answer = await client.send([GOOD])

    assert answer.status == 503
    assert answer.headers["retry-after"]


async def test_caller_that_hangs_up_early_gets_no_answer_and_holds_no_memory(make: Callable[..., Client]) -> None:
    client = make()
    messages = [{"type": "http.request", "body": b"[" * 1000, "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {KEY}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": headers}
    await client.app(scope, receive, send)

    assert sent == []
    assert client.app._held._total == 0


async def test_defaults_come_from_the_key_and_its_organization(make: Callable[..., Client]) -> None:
    client = make()

    await client.send([GOOD | {"cost": "1.5"}, GOOD | {"id": "b", "user": "Zoe@Example.org", "application": ""}])
    first, second = client.store.rows.values()

    assert field_of(first, "application") == b"shop"
    assert field_of(first, "user_ref") == str(client.user_id).encode()
    assert field_of(first, "key_id") == client.entries[KEY].id.bytes
    assert field_of(first, "currency") == b"EUR"
    assert field_of(second, "user_ref") == str(client.user_id).encode()
    assert field_of(second, "application") == b""


async def test_revoked_key_is_refused_with_the_next_snapshot(make: Callable[..., Client]) -> None:
    client = make()
    assert (await client.send([GOOD])).status == 200

    client.snapshots.keys = KeyTable(2, {}, client.snapshots.keys.organizations, {})

    assert (await client.send([GOOD])).status == 401


async def test_counters_tell_what_became_of_every_record(make: Callable[..., Client]) -> None:
    client = make()
    await client.send([GOOD, GOOD, {"id": "c"}])

    def value(name: str) -> float | None:
        return client.registry.get_sample_value(f"nexus_ingest_records_{name}_total")

    assert (value("received"), value("stored"), value("duplicate"), value("refused")) == (3, 1, 1, 1)


some_records = st.lists(st.sampled_from([GOOD, {}, 1, None, {"id": "x" * 300}]), max_size=4)


@given(
    body=st.binary(max_size=300) | some_records.map(json.dumps).map(str.encode),
    kind=st.sampled_from(["application/json", "application/x-ndjson", "", "text/plain", "application/json; charset=x"]),
    encoding=st.sampled_from(["", "gzip", "zstd", "br"]),
    squeeze=st.sampled_from([bytes, gzip.compress, zstd.compress]),
    idempotency=st.sampled_from(["", "k"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_body_makes_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, kind: str, encoding: str, squeeze: Any, idempotency: str
) -> None:
    client = Client(tmp_path_factory.mktemp("data"))
    headers = {"content-type": kind, "content-encoding": encoding, "idempotency-key": idempotency}

    answer = await client.send(squeeze(body), headers)
    await client.ingest.stop()

    assert answer.status in {200, 400, 413, 415, 422}
    if answer.status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["detail"]
