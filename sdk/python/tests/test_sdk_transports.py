"""The transports, against a real server: what passes is not altered, not held back, and recorded."""

from __future__ import annotations

import asyncio
import gc
import importlib
import io
import json
import shutil
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import requests
import urllib3

import nexus_client.httpx
import nexus_client.requests
from conftest import NOBODY, FarSide, spooled
from nexus_client import Client, attributed

CHAT = {"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
ASKED = {"model": "gpt-4o-asked", "messages": [{"role": "user", "content": "the secret plan"}]}
HOW = ["httpx", "httpx async", "httpx2", "httpx2 async", "requests"]


def libraries(how: str) -> tuple[Any, Any]:
    """The library of a way to ask, and what watches it."""
    name = how.partition(" ")[0]
    library = pytest.importorskip(name, reason=f"not installed: pip install {name}, on Python 3.11 or newer")
    return library, importlib.import_module(f"nexus_client.{name}")


def ask(client: Client, how: str, url: str, **options: Any) -> tuple[int, bytes]:
    """Ask in one of the ways."""
    library, watching = libraries(how)
    headers = {"authorization": "Bearer sk-very-secret"}
    if how == "requests":
        with nexus_client.requests.watch(client, requests.Session()) as session:
            found = session.post(url, json=ASKED, headers=headers, timeout=20, **options)
            return found.status_code, found.content
    if "async" not in how:
        with library.Client(transport=watching.Transport(client)) as http:
            answer = http.post(url, json=ASKED, headers=headers, **options)
            return answer.status_code, answer.content

    async def ask_async() -> tuple[int, bytes]:
        async with library.AsyncClient(transport=watching.AsyncTransport(client)) as http:
            answer = await http.post(url, json=ASKED, headers=headers, **options)
            return answer.status_code, answer.content

    return asyncio.run(ask_async())


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("compressed", [False, True])
def test_call_is_recorded(client: Client, far: FarSide, how: str, compressed: bool) -> None:
    far.answer(CHAT, compressed=compressed, **{"x-request-id": "req-1"})

    with attributed(tags={"team": "search"}, end_user="u1"):
        status, content = ask(client, how, f"{far.url}/v1/chat/completions?token=abc")

    assert (status, json.loads(content)) == (200, CHAT)
    (record,) = spooled(client)
    assert record["provider"] == "openai"
    assert record["endpoint"] == "/v1/chat/completions"
    assert record["method"] == "POST"
    assert record["status_code"] == 200
    assert record["model"] == "gpt-4o"
    assert record["tokens"] == {"input": 3, "output": 2}
    assert record["tags"] == {"team": "search"}
    assert record["end_user"] == "u1"
    assert record["request_id"] == "req-1"
    assert record["request_size_bytes"] == len(far.asked[0][1])
    # urllib3 does not tell the size of a chunked answer on the wire: then it is what was read.
    is_decoded = compressed and how == "requests"
    assert record["response_size_bytes"] == (len(json.dumps(CHAT)) if is_decoded else sum(map(len, far.parts)))
    assert 0 <= record["time_to_first_byte_ms"] <= record["response_time_ms"]


@pytest.mark.parametrize("how", HOW)
def test_no_secret_is_recorded(client: Client, far: FarSide, how: str) -> None:
    far.answer({"error": {"message": "Incorrect key sk-very-secret", "type": "invalid_request_error"}}, status=401)

    ask(client, how, f"{far.url}/v1/files/file-abc123/sk-very-secret?key=sk-very-secret")

    (record,) = spooled(client)
    assert record["status_code"] == 401
    assert record["error_type"] == "invalid_request_error"
    assert record["endpoint"] == "/v1/files/{id}/{id}"
    assert record["model"] == "gpt-4o-asked"
    assert "secret" not in json.dumps(record)


@pytest.mark.parametrize("how", HOW)
def test_error_of_the_network_is_recorded_and_passed_on(client: Client, far: FarSide, how: str) -> None:
    port = int(far.host.rpartition(":")[2])
    far.close()
    expected = requests.exceptions.ConnectionError if how == "requests" else libraries(how)[0].ConnectError

    with pytest.raises(expected):
        ask(client, how, f"http://127.0.0.1:{port}/v1/chat/completions")

    (record,) = spooled(client)
    assert record["status_code"] == 0
    assert record["error_type"] == expected.__name__


@pytest.mark.parametrize("how", ["httpx", "httpx2", "requests"])
def test_upload_that_is_streamed_passes_and_is_not_read(client: Client, far: FarSide, how: str) -> None:
    library, _ = libraries(how)
    url, content = f"{far.url}/v1/files", b"what is uploaded"

    if how == "requests":
        with client.watch(requests.Session()) as session:
            session.post(url, data=io.BytesIO(content), timeout=20)
    else:
        with client.watch(library.Client()) as http:
            http.post(url, content=iter([content[:4], content[4:]]), headers={"content-length": str(len(content))})

    assert far.asked[0][1] == content
    (record,) = spooled(client)
    assert record["request_size_bytes"] == len(content)
    assert "model" not in record
    assert client.stats.own_failures == 0


EVENTS = [
    {"model": "gpt-4o", "choices": [{"delta": {"content": "Hel"}}]},
    {"model": "gpt-4o", "choices": [{"delta": {"content": "lo"}}]},
    {"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}},
]


@pytest.mark.parametrize("how", HOW)
def test_stream_is_neither_held_back_nor_altered(client: Client, far: FarSide, how: str) -> None:
    far.stream(*EVENTS)
    far.may_go_on.clear()
    url = f"{far.url}/v1/chat/completions"
    got: list[bytes] = []

    def take(chunk: bytes) -> None:
        # The second part is not even sent before the first has arrived.
        got.append(chunk)
        far.may_go_on.set()

    library, _ = libraries(how)
    if how == "requests":
        session = client.watch(requests.Session())
        with session.post(url, json=ASKED, stream=True, timeout=20) as answer:
            for chunk in answer.iter_content(None):
                take(chunk)
    elif "async" not in how:
        with client.watch(library.Client()) as http, http.stream("POST", url, json=ASKED) as found:
            for chunk in found.iter_raw():
                take(chunk)
    else:

        async def stream() -> None:
            http = client.watch(library.AsyncClient())
            async with http, http.stream("POST", url, json=ASKED) as found:
                async for chunk in found.aiter_raw():
                    take(chunk)

        asyncio.run(stream())

    assert b"".join(got) == b"".join(far.parts)
    (record,) = spooled(client)
    assert record["tokens"] == {"input": 7, "output": 5}
    assert record["status_code"] == 200


@pytest.mark.parametrize("how", ["httpx", "httpx2", "requests"])
def test_stream_that_nobody_reads_to_its_end_is_recorded_once(client: Client, far: FarSide, how: str) -> None:
    far.stream(*EVENTS)
    url = f"{far.url}/v1/chat/completions"

    if how == "requests":
        session = nexus_client.requests.watch(client, requests.Session())
        with session.post(url, json=ASKED, stream=True, timeout=20) as answer:
            next(answer.iter_content(10))
    else:
        with client.watch(libraries(how)[0].Client()) as http, http.stream("POST", url, json=ASKED) as found:
            next(found.iter_raw())

    (record,) = spooled(client)
    assert record["model"] in {"gpt-4o", "gpt-4o-asked"}


@pytest.mark.parametrize("how", HOW)
def test_large_answer_passes_whole_and_its_usage_is_found(client: Client, far: FarSide, how: str) -> None:
    document = {"data": [0.123456789] * 600_000, "model": "text-embedding-3-large", "usage": {"prompt_tokens": 8}}
    content = json.dumps(document).encode()
    far.parts = [content[at : at + 65_536] for at in range(0, len(content), 65_536)]

    _, got = ask(client, how, f"{far.url}/v1/embeddings")

    assert got == content
    (record,) = spooled(client)
    assert record["tokens"] == {"input": 8}
    assert record["model"] == "text-embedding-3-large"


@pytest.mark.parametrize("how", HOW)
def test_unknown_host_is_left_alone(tmp_path: Any, far: FarSide, how: str) -> None:
    far.answer(CHAT)
    with Client("http://127.0.0.1:9", "nx_test", spool_dir=tmp_path) as stranger:
        assert ask(stranger, how, f"{far.url}/v1/x")[0] == 200
        assert stranger.stats.recorded == 0


def copied(raw: Any) -> bytes:
    target = io.BytesIO()
    with raw:
        shutil.copyfileobj(raw, target)
    return target.getvalue()


READINGS: dict[str, Callable[[Any], bytes]] = {
    "whole": lambda raw: raw.read(),
    "in parts": lambda raw: b"".join(iter(lambda: raw.read(7), b"")),
    "as a file": copied,
    "buffered": lambda raw: io.BufferedReader(raw).read(),
    "by line": b"".join,
    "streamed": lambda raw: b"".join(raw.stream(16)),
}


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS.keys())
@pytest.mark.parametrize("length", ["known", "chunked"])
def test_raw_answer_may_be_read_in_any_way(
    client: Client, far: FarSide, reading: Callable[[Any], bytes], length: str
) -> None:
    far.answer(CHAT)
    if length == "known":
        far.is_chunked = False
        far.parts = [b"".join(far.parts)]
    content = b"".join(far.parts)
    session = nexus_client.requests.watch(client, requests.Session())

    with session.get(f"{far.url}/v1/chat/completions", stream=True, timeout=20) as answer:
        assert isinstance(answer.raw, urllib3.response.HTTPResponse)
        assert reading(answer.raw) == content

    (record,) = spooled(client)
    assert record["tokens"] == {"input": 3, "output": 2}
    assert record["response_size_bytes"] == len(content)
    assert client.stats.own_failures == 0


def test_answer_that_is_dropped_is_recorded(client: Client, far: FarSide) -> None:
    far.stream({"model": "gpt-4o"})
    session = nexus_client.requests.watch(client, requests.Session())

    session.get(f"{far.url}/v1/x", stream=True, timeout=20)
    gc.collect()

    assert len(spooled(client)) == 1


class FileAdapter(requests.adapters.BaseAdapter):
    """An adapter of somebody's own, whose answers are not urllib3's."""

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response.raw = io.BytesIO(b"what stood in the file")
        return response

    def close(self) -> None:
        pass


def test_answer_that_is_not_of_urllib3_passes_and_is_recorded(client: Client) -> None:
    session = requests.Session()
    session.mount("https://api.openai.com", FileAdapter())
    nexus_client.requests.watch(client, session)

    assert session.get("https://api.openai.com/v1/files").content == b"what stood in the file"

    (record,) = spooled(client)
    assert record["status_code"] == 200
    assert client.stats.own_failures == 0


@pytest.mark.parametrize("how", ["httpx", "requests"])
def test_two_clients_may_watch_one_session(client: Client, far: FarSide, how: str, tmp_path: Any) -> None:
    far.answer(CHAT)
    with Client(NOBODY, "nx_other", spool_dir=tmp_path / "other", hosts={far.host: "openai"}) as other:
        if how == "requests":
            inner = nexus_client.requests.Adapter(other)
            with requests.Session() as session:
                session.mount("http://", nexus_client.requests.Adapter(client, inner))
                session.get(far.url, timeout=20)
        else:
            with httpx.Client(
                transport=nexus_client.httpx.Transport(client, nexus_client.httpx.Transport(other))
            ) as http:
                http.get(far.url)

        assert [record["tokens"] for record in spooled(client) + spooled(other)] == [{"input": 3, "output": 2}] * 2


@pytest.mark.parametrize("name", ["httpx", "httpx2", "requests"])
def test_clients_of_another_library_are_left_as_they_are(client: Client, far: FarSide, name: str) -> None:
    _, watching = libraries(name)
    others = {"httpx": requests.Session(), "httpx2": httpx.Client(), "requests": httpx.Client()}
    far.answer(CHAT)

    other = watching.watch(client, others[name])

    assert other is others[name]
    assert other.get(far.url).json() == CHAT
    assert client.stats.own_failures == 1
    assert client.stats.recorded == 0


def test_what_is_no_client_is_left_as_it_is(client: Client) -> None:
    stranger = object()

    assert client.watch(stranger) is stranger

    assert client.stats.last_failure == "TypeError: object is no client of httpx, httpx2 or requests: it is not watched"


@pytest.mark.parametrize("how", HOW)
def test_client_is_watched_whatever_its_library_and_class(client: Client, far: FarSide, how: str) -> None:
    library, _ = libraries(how)
    kind = library.Session if how == "requests" else library.AsyncClient if "async" in how else library.Client
    far.answer(CHAT)

    class Own(kind):  # type: ignore[misc,valid-type]
        """As the libraries of providers make them."""

    http = client.watch(client.watch(Own()))

    assert type(http) is Own
    if "async" in how:

        async def ask_async() -> None:
            async with http:
                await http.get(far.url)

        asyncio.run(ask_async())
    else:
        with http:
            http.get(far.url)
    assert len(spooled(client)) == 1


FAULTS = [
    "providers.Providers.of", "exchange.Exchange.__init__", "exchange.Exchange.answered", "exchange.Exchange.took",
    "exchange.Exchange.ended", "client.Client.put", "client.Client.attribution",
]  # fmt: skip


def break_at(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(f"nexus_client.{where}", broken)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("where", FAULTS)
def test_fault_of_ours_is_counted_and_the_call_goes_on(
    client: Client, far: FarSide, how: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.answer(CHAT)
    break_at(monkeypatch, where)

    status, content = ask(client, how, f"{far.url}/v1/chat/completions")

    assert (status, json.loads(content)) == (200, CHAT)
    assert client.stats.own_failures >= 1
    assert client.stats.last_failure == "ZeroDivisionError: a fault of ours"


@pytest.mark.parametrize("how", HOW)
def test_fault_of_ours_does_not_hide_the_error_of_the_call(
    client: Client, far: FarSide, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = far.url
    far.close()
    break_at(monkeypatch, "exchange.Exchange.failed")

    with pytest.raises(requests.exceptions.ConnectionError if how == "requests" else libraries(how)[0].ConnectError):
        ask(client, how, f"{url}/v1/chat/completions")

    assert client.stats.own_failures == 1


@pytest.mark.parametrize("how", HOW)
def test_answer_that_cannot_be_read_is_recorded_without_its_usage(
    client: Client, far: FarSide, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.answer(CHAT)
    break_at(monkeypatch, "exchange.read_body")

    ask(client, how, f"{far.url}/v1/chat/completions")

    (record,) = spooled(client)
    assert (record["status_code"], record["model"]) == (200, "gpt-4o-asked")
    assert "tokens" not in record
    assert client.stats.own_failures == 1
