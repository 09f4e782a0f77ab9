"""Bodies of calls are kept only where that was turned on, masked and sealed, and never in the way of a call."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from backports import zstd
from prometheus_client import CollectorRegistry

from nexus.contracts.bodies import BodyRule, StoredBody, is_sampled
from nexus.dataplane.gateway import bodies as gateway_bodies
from nexus.dataplane.gateway.bodies import Bodies
from nexus.dataplane.gateway.body_text import MARGIN_BYTES, read_text
from nexus.dataplane.gateway.metrics import BodyMetrics
from nexus.kit.ids import uuid7
from nexus.kit.masking import Finder
from nexus.metering import bodies as kept_bodies
from nexus.metering.bodies import BodySettings, CallBodies
from nexus.platform.db import Database
from nexus.platform.sealing import CannotOpen, Sealer
from tests.conftest import make_organization
from tests.dataplane.gateway.conftest import SECRET_KEY, Node, served
from tests.dataplane.ingest.proxies import PostgresProxy
from tests.postgres import TestServer

CARD = "4111 1111 1111 1111"
SEALER = Sealer([SECRET_KEY])


class Speaker:
    """A provider that says what it was told to say."""

    def __init__(self) -> None:
        self.status = 200
        self.media_type = "application/json"
        self.encoding = ""
        self.chunks: list[bytes] = [b"{}"]
        self.has_length = True
        self.got: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.got.append(body)
        headers = [(b"content-type", self.media_type.encode())]
        if self.encoding:
            headers.append((b"content-encoding", self.encoding.encode()))
        if self.has_length:
            headers.append((b"content-length", str(sum(map(len, self.chunks))).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for chunk in self.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def speaker(node: Node) -> AsyncIterator[Speaker]:
    app = Speaker()
    async with served(app) as url:
        async with node.database.as_system() as connection:
            await connection.execute(
                "INSERT INTO catalog.providers (id, organization_id, slug, name, base_url, auth_types)"
                " VALUES (gen_random_uuid(), $1, 'speaker', 'Speaker', $2, '{bearer}')",
                node.organization_id, url,
            )  # fmt: skip
        await node.add_credential("speaker", url)
        yield app


@pytest.fixture
async def bodies(node: Node) -> AsyncIterator[Bodies]:
    """What keeps the bodies of the node's calls."""
    found = Bodies(node.snapshots, node.database, SEALER, BodyMetrics(CollectorRegistry()))
    node.gateway.bodies = found
    found.start()
    yield found
    await found.stop()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as found:
        yield found


async def turn_on(node: Node, **settings: Any) -> None:
    """Turn bodies on, in force when this returns."""
    async with node.database.tenant(node.organization_id) as connection:
        wanted = BodySettings(**{"is_on": True, **settings})
        await kept_bodies.put_settings(connection, node.organization_id, wanted, at=datetime.now(UTC))
    await node.snapshots.refresh()


async def ask(node: Node, client: aiohttp.ClientSession, path: str = "/say", **options: Any) -> tuple[int, bytes]:
    options.setdefault("data", b"{}")
    options.setdefault("headers", {"content-type": "application/json"})
    options["headers"] = {"authorization": f"Bearer {node.key}", **options["headers"]}
    async with client.post(f"{node.url}/gw/speaker{path}", **options) as answer:
        return answer.status, await answer.read()


async def until(is_so: Callable[[], Any]) -> None:
    for _ in range(3000):
        if is_so():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never was so")


async def rows_of(node: Node, count: int) -> list[dict[str, Any]]:
    """Wait until so many bodies are stored."""
    rows: list[Any] = []
    for _ in range(3000):
        async with node.database.as_system() as connection:
            rows = await connection.fetch("SELECT * FROM metering.call_bodies ORDER BY key_at, call_id, side")
        if len(rows) >= count:
            break
        await asyncio.sleep(0.02)
    assert len(rows) == count
    return [dict(row) for row in rows]


async def read_of(node: Node, call_id: UUID) -> CallBodies:
    async with node.database.tenant(node.organization_id) as connection:
        return await kept_bodies.read(connection, node.organization_id, call_id, SEALER, at=datetime.now(UTC))


async def only_call(node: Node) -> CallBodies:
    """Wait for the one call and both its bodies."""
    (call,) = await node.calls()
    await rows_of(node, 2)
    return await read_of(node, call["id"])


async def test_nothing_is_kept_unless_it_was_turned_on(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    await ask(node, client)
    (call,) = await node.calls()

    assert bodies._held_bytes == 0 and (await read_of(node, call["id"])).why == "off"
    # Were something on its way after all, it would be stored before the next one is.
    await turn_on(node)
    assert (await read_of(node, call["id"])).why == "off_then"
    await ask(node, client)
    assert {row["call_id"] for row in await rows_of(node, 2)} == {(await node.calls(2))[1]["id"]}


async def test_both_sides_are_kept_masked_and_sealed(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    await turn_on(node, fields=["ssn"], words=["Projekt Blau"])
    asked = {"messages": [{"content": f"card {CARD}, bob@example.org, projekt blau"}], "ssn": 7, "password": "x"}
    speaker.chunks = [json.dumps({"say": "sk-abcdefghijklmnop1 from 10.1.2.3", "n": 1}).encode()]

    status, answer = await ask(node, client, data=json.dumps(asked).encode())

    found = await only_call(node)
    assert status == 200 and answer == speaker.chunks[0] and json.loads(speaker.got[0]) == asked
    assert found.why == "kept" and found.request is not None and found.response is not None
    assert found.request.text is not None and json.loads(found.request.text) == {
        "messages": [{"content": "card [card], [email], [word]"}], "ssn": "[field]", "password": "[secret]",
    }  # fmt: skip
    assert found.request.masked == {"card": 1, "email": 1, "word": 1, "field": 1, "secret": 1}
    assert found.response.text == '{"say": "[secret] from [ip]", "n": 1}'
    assert found.response.size_bytes == len(answer) and not found.response.is_cut
    stored = await rows_of(node, 2)
    assert all(b"example" not in row["sealed"] and b"from" not in row["sealed"] for row in stored)
    with pytest.raises(CannotOpen):
        SEALER.open(bytes(stored[0]["sealed"]), b"call body of another row")


async def test_a_stream_passes_at_once_and_is_kept_without_what_its_pieces_say_together(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    await turn_on(node)
    speaker.media_type, speaker.has_length = "text/event-stream", False
    speaker.chunks = [
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": piece}}]}).encode() + b"\n\n"
        for piece in ("it is 41", "11 1111", " 1111 11", "11 indeed")
    ] + [b"data: [DONE]\n\n"]

    _, answer = await ask(node, client, data=b'{"stream": true}')

    found = await only_call(node)
    assert answer == b"".join(speaker.chunks)
    assert found.response is not None and found.response.text is not None
    said = [json.loads(line[6:]) for line in found.response.text.splitlines() if line.startswith("data: {")]
    assert "".join(item["choices"][0]["delta"]["content"] for item in said) == "it is [card] indeed"
    assert found.response.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd.compress), ("br", bytes)]
)
@pytest.mark.parametrize("has_length", [True, False])
async def test_compressed_answers_pass_as_they_are_and_are_kept_unpacked(
    node: Node,
    speaker: Speaker,
    bodies: Bodies,
    client: aiohttp.ClientSession,
    encoding: str,
    pack: Any,
    has_length: bool,
) -> None:
    await turn_on(node)
    packed = pack(b'{"card": "4111111111111111", "long": "' + b"word " * 500 + b'"}')
    speaker.encoding, speaker.has_length = encoding, has_length
    speaker.chunks = [packed[start : start + 7] for start in range(0, len(packed), 7)]

    _, answer = await ask(node, client)

    found = await only_call(node)
    assert answer == packed and found.response is not None and found.response.size_bytes == len(packed)
    if encoding == "br":
        assert found.response.state == "unreadable" and found.response.text is None
    else:
        assert found.response.text == '{"card": "[card]", "long": "' + "word " * 500 + '"}'


async def test_a_streamed_upload_is_kept_as_far_as_its_beginning(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    await turn_on(node, max_body_bytes=1024)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"0 words " * 1000

    await ask(node, client, data=parts(), headers={"content-type": "text/plain"})

    found = await only_call(node)
    assert speaker.got == [b"0 words " * 100_000]
    assert found.request is not None and found.request.is_cut and found.request.size_bytes == 800_000
    assert found.request.text == "0 words " * 128


async def test_pictures_and_sound_are_kept_as_size_and_kind(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    await turn_on(node)
    speaker.media_type, speaker.chunks = "audio/mpeg", [b"\x00\x01" * 500]

    await ask(node, client, data=b"--x\r\nabc", headers={"content-type": "multipart/form-data; boundary=x"})

    found = await only_call(node)
    for side, size in ((found.request, 8), (found.response, 1000)):
        assert side is not None and (side.state, side.text, side.size_bytes) == ("binary", None, size)
    assert found.response is not None and found.response.media_type == "audio/mpeg"
    assert [row["sealed"] for row in await rows_of(node, 2)] == [None, None]


async def test_only_failed_calls_and_certain_providers(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    await turn_on(node, only_failed=True)
    await ask(node, client)
    speaker.status = 500
    await ask(node, client)
    fine, failed = await node.calls(2)
    assert {row["call_id"] for row in await rows_of(node, 2)} == {failed["id"]}
    assert (await read_of(node, fine["id"])).why == "not_failed"

    await turn_on(node, providers=["openai"])
    await ask(node, client)
    *_, other = await node.calls(3)
    assert (await read_of(node, other["id"])).why == "other_provider"
    await until(lambda: bodies._held_bytes == 0)
    await rows_of(node, 2)


async def test_a_call_that_reached_nobody_is_kept_with_what_was_asked(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    await turn_on(node, only_failed=True)
    async with node.database.as_system() as connection:
        await connection.execute(
            "UPDATE identity.provider_credentials SET base_url = 'http://127.0.0.1:9' WHERE provider = 'speaker'"
        )
    await node.snapshots.refresh()

    assert (await ask(node, client, data=b'{"q": 1}'))[0] == 502

    (call,) = await node.calls()
    await rows_of(node, 1)
    found = await read_of(node, call["id"])
    assert found.request is not None and found.request.text == '{"q": 1}' and found.response is None


async def test_the_sample_is_decided_by_the_call_s_id(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    await turn_on(node, share=0.5)
    for _ in range(24):
        await ask(node, client)
    calls = await node.calls(24)
    sampled = [call["id"] for call in calls if is_sampled(call["id"], 0.5)]

    rows = await rows_of(node, 2 * len(sampled))

    assert {row["call_id"] for row in rows} == set(sampled) and 0 < len(sampled) < 24
    left_out = next(call["id"] for call in calls if call["id"] not in sampled)
    assert (await read_of(node, left_out)).why == "not_sampled"


def test_shares_are_kept_over_many_ids_and_larger_ones_hold_smaller_ones() -> None:
    ids = [UUID(int=number) for number in range(20_000)]
    for share in (0.01, 0.1, 0.5, 0.9):
        # Of the same ids always: three standard deviations are no matter of luck.
        allowed = 3 * (share * (1 - share) / len(ids)) ** 0.5
        assert abs(sum(is_sampled(item, share) for item in ids) / len(ids) - share) < allowed
    assert all(is_sampled(item, 1.0) for item in ids) and not any(is_sampled(item, 0.0) for item in ids)
    assert all(is_sampled(item, 0.5) for item in ids if is_sampled(item, 0.1))


@pytest.mark.parametrize("missing", range(0, 40, 3))
def test_a_secret_that_the_cut_goes_through_is_not_kept_by_half(missing: int) -> None:
    secret = "sk-abcdefghijklmnopqrstuvwxyz0123456789"
    text = "x" * (1024 - len(secret) + missing) + f" {secret} " + "y" * 20_000

    read = read_text(
        text.encode()[: 1024 + MARGIN_BYTES],
        is_cut=True,
        media_type="text/plain",
        encoding="",
        max_bytes=1024,
        finder=Finder(),
    )

    assert read.is_cut and "sk-" not in read.text and len(read.text) <= 1024


@pytest.mark.parametrize("length", range(5, 40, 5))
def test_what_begins_where_reading_ends_is_not_kept(length: int) -> None:
    """However much the masks shorten what is before it."""
    read = length - 1
    secrets = ("sk-" + "a1" * 200 + " ") * 50
    raw = (secrets[: 1024 + MARGIN_BYTES - read] + " sk-" + "b2" * 200)[: 1024 + MARGIN_BYTES].encode()

    kept = read_text(raw, is_cut=True, media_type="text/plain", encoding="", max_bytes=1024, finder=Finder())

    assert "sk-" not in kept.text and "b2" not in kept.text


@pytest.mark.parametrize("place", range(0, 24, 3))
@pytest.mark.parametrize("is_list", [True, False])
def test_a_card_said_digit_by_digit_where_a_stream_is_cut_is_not_kept_by_half(place: int, is_list: bool) -> None:
    # What is masked before shortens the text: the end of what was read moves into what is kept.
    long = ["sk-" + "a1" * 300 + " "] * 40
    said = long + ["word "] * (100 + place) + list("4111111111111111") + [" and"] * 300
    rest = {
        "id": "chatcmpl-0123456789abcdef",
        "object": "chat.completion.chunk",
        "model": "gpt-4o-mini",
        "note": "x" * 99,
    }
    events = [json.dumps(rest | {"choices": [{"index": 0, "delta": {"content": item}}]}) for item in said]
    text = "[" + ",\n".join(events) if is_list else "".join(f"data: {item}\n\n" for item in events)
    # Once what is kept ends in the card, and once what is read.
    length = len(text.partition('"4"')[0]) + 8 * len(events[-1])
    for limit in (length, length - MARGIN_BYTES):
        raw = text.encode()[: max(1024, limit) + MARGIN_BYTES]
        kept = read_text(
            raw, is_cut=True, media_type="application/json" if is_list else "text/event-stream", encoding="",
            max_bytes=max(1024, limit), finder=Finder(["card"]),
        )  # fmt: skip

        assert '"4"' not in kept.text and '"1"' not in kept.text


async def test_settings_are_in_force_in_a_running_gateway_within_a_moment(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    """Nobody refreshes here: the gateway finds out by itself, both that it is on and that it is off again."""
    for is_on in (True, False):
        async with node.database.tenant(node.organization_id) as connection:
            wanted = BodySettings(is_on=is_on, max_body_bytes=2048)
            await kept_bodies.put_settings(connection, node.organization_id, wanted, at=datetime.now(UTC))
        await until(lambda is_on=is_on: (node.organization_id in node.snapshots.gateway.bodies) is is_on)
        await ask(node, client)
    first, second = await node.calls(2)

    assert {row["call_id"] for row in await rows_of(node, 2)} == {first["id"]}
    assert (await read_of(node, second["id"])).why == "off"


async def test_the_cached_snapshot_knows_the_settings(node: Node, bodies: Bodies, tmp_path: Path) -> None:
    from nexus.dataplane.snapshots import Snapshots

    await turn_on(node, share=0.25, masks=["ip"], fields=["SSN"], providers=["openai"])
    (tmp_path / "nothing").mkdir()
    urls = node.database.urls
    away = Database(
        type(urls)(**dict.fromkeys(("service", "system", "writer"), f"postgresql://u:p@/x?host={tmp_path}/nothing")),
        application_name="nexus-test",
    )
    snapshots = Snapshots(away, data_dir=node.data_dir, sealer=SEALER)
    await snapshots.start()

    assert snapshots.gateway.bodies[node.organization_id] == BodyRule(
        0.25, 65_536, False, frozenset({"openai"}), frozenset({"ip"}), frozenset({"ssn"}), ()
    )
    await snapshots.stop()
    await away.close()


async def test_while_postgresql_is_away_calls_go_on_and_bodies_wait(
    node: Node,
    speaker: Speaker,
    client: aiohttp.ClientSession,
    postgres: TestServer,
    database_name: str,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "proxy"
    folder.mkdir()
    proxy = PostgresProxy(postgres.embedded.url("nexus_writer", database_name), folder)
    urls = type(node.database.urls)(service=proxy.url, system=proxy.url, writer=proxy.url)
    behind = Database(urls, application_name="nexus-test")
    bodies = node.gateway.bodies = Bodies(node.snapshots, behind, SEALER, BodyMetrics(CollectorRegistry()))
    bodies.start()
    await turn_on(node)
    for _ in range(5):
        assert (await ask(node, client))[0] == 200
    calls = await node.calls(5)
    await until(lambda: len(bodies._ready) == 10)

    await proxy.open()

    assert {row["call_id"] for row in await rows_of(node, 10)} == {call["id"] for call in calls}
    await until(lambda: bodies._held_bytes == 0)
    await bodies.stop()
    await behind.close()
    await proxy.close()


async def test_what_finds_no_room_is_counted_and_the_call_is_served_and_recorded(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await turn_on(node)
    speaker.chunks = [b'{"a": "' + b"x" * 6000 + b'"}']
    # Room for a call and its question, not for the answer; then not even for that.
    for room in (3000, 500):
        monkeypatch.setattr(gateway_bodies, "MAX_HELD_BYTES", room)
        status, answer = await ask(node, client)
        assert (status, answer) == (200, speaker.chunks[0])

    calls = await node.calls(2)
    assert bodies.metrics.lost.labels("memory")._value.get() == 2 and bodies._held_bytes == 0
    # On a slow machine it may be too long ago to be still on its way.
    assert {(await read_of(node, call["id"])).why for call in calls} <= {"on_its_way", "not_kept"}


async def test_a_body_that_cannot_be_masked_is_not_kept_and_others_are(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await turn_on(node)
    masked = gateway_bodies.read_text

    def fail_once(raw: bytes, **named: Any) -> Any:
        if b"bad" in raw:
            raise ValueError("a fault of ours")
        return masked(raw, **named)

    monkeypatch.setattr(gateway_bodies, "read_text", fail_once)
    await ask(node, client, data=b'{"bad": 1}')
    await ask(node, client, data=b'{"good": 1}')

    _, good = await node.calls(2)
    assert {row["call_id"] for row in await rows_of(node, 2)} == {good["id"]}
    assert bodies.metrics.lost.labels("fault")._value.get() == 1 and bodies._held_bytes == 0


async def test_rows_that_postgresql_refuses_do_not_hold_up_others(node: Node, bodies: Bodies) -> None:
    def row(side: str) -> StoredBody:
        return StoredBody(node.organization_id, datetime.now(UTC), uuid7(), side, "empty", "", 0, False, {}, None)

    bodies._ready.append(row("neither"))
    bodies._came.set()
    await until(lambda: not bodies._ready)
    bodies._ready.append(row("request"))
    bodies._came.set()

    assert [item["side"] for item in await rows_of(node, 1)] == ["request"]
    assert bodies.metrics.lost.labels("refused")._value.get() == 1


async def test_what_is_ready_is_stored_while_more_keeps_coming(
    node: Node, bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_of_batch = bodies._rows_of
    is_over = False

    def and_another_ends(batch: list[Any]) -> Any:
        if not is_over:
            bodies._waiting.append(ended())
        return rows_of_batch(batch)

    def ended() -> Any:
        assert bodies.hold(gateway_bodies.OVERHEAD_BYTES)
        capture = gateway_bodies.Capture(bodies, BodyRule())
        capture.begin("request", {"content-type": "text/plain"})
        capture.add("request", b"hello")
        return node.organization_id, uuid7(), capture

    monkeypatch.setattr(bodies, "_rows_of", and_another_ends)
    bodies._waiting.append(ended())
    bodies._came.set()

    await until(lambda: bodies.metrics.stored.labels("request")._value.get() >= 5)
    is_over = True
    await until(lambda: bodies._held_bytes == 0)


async def test_other_organizations_read_nothing(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    other = await make_organization(node.database, "globex")
    await turn_on(node)
    await ask(node, client)
    (call,) = await node.calls()
    await rows_of(node, 2)

    async with node.database.tenant(other.id) as connection:
        with pytest.raises(kept_bodies.UnknownCall):
            await kept_bodies.read(connection, other.id, call["id"], SEALER, at=datetime.now(UTC))
        # Nor when it names the organization whose bodies they are: the rows are not there for it.
        with pytest.raises(kept_bodies.UnknownCall):
            await kept_bodies.read(connection, node.organization_id, call["id"], SEALER, at=datetime.now(UTC))


async def test_when_the_process_ends_what_waits_is_stored(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    await turn_on(node)
    for _ in range(20):
        await ask(node, client)

    await bodies.stop()

    async with node.database.as_system() as connection:
        assert await connection.fetchval("SELECT count(*) FROM metering.call_bodies") == 40


async def test_the_gateway_stores_no_header_that_is_not_listed(
    node: Node, speaker: Speaker, bodies: Bodies, client: aiohttp.ClientSession
) -> None:
    await turn_on(node)
    await ask(
        node, client, headers={"content-type": "application/json", "x-secret": "s3", "cookie": "a=b", "accept": "x/y"}
    )
    (call,) = await node.calls()

    assert call["request_headers"] is None
    assert set(call["response_headers"]) <= {"content-type", "server"}
