"""However a provider misbehaves, each client library gets a clear end that it understands, and the gateway stays well.

Where a library heeds an error within a stream, it is sent one in the words of its provider; else, or where an event was
begun, the connection breaks, which every library tells from an answer's end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import anthropic
import openai
import psutil
import pytest

from nexus.sandbox import answers, other_answers
from nexus.sandbox.answers import Plan
from tests.dataplane.gateway import odd_providers as odd
from tests.dataplane.gateway.conftest import Node
from tests.dataplane.gateway.test_more_clients import _ABSENT, reached

Ask = Callable[[bool], Awaitable[Any]]
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
EVENTS: dict[str, Callable[[Plan], Any]] = {
    "openai": answers.chat_events,
    "anthropic": answers.message_events,
    "google": other_answers.gemini_events,
    "mistral": answers.chat_events,
    "cohere": other_answers.cohere_events,
}
HEEDS_EVENTS = {"openai", "anthropic", "google"}


def client_of(slug: str, node: Node) -> Ask:
    """Return what asks a provider with its own client, streamed or not; skips where it is not installed."""
    url = f"{node.url}/gw/{slug}"

    async def ask_openai(is_streamed: bool) -> Any:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=node.key, max_retries=0) as client:
            create: Any = client.chat.completions.create
            answer = await create(model="sandbox-1", messages=HELLO, stream=is_streamed)
            return [chunk async for chunk in answer] if is_streamed else answer

    async def ask_anthropic(is_streamed: bool) -> Any:
        async with anthropic.AsyncAnthropic(base_url=url, api_key=node.key, max_retries=0) as client:
            create: Any = client.messages.create
            answer = await create(model="sandbox-1", max_tokens=9, messages=HELLO, stream=is_streamed)
            return [event async for event in answer] if is_streamed else answer

    async def ask_google(is_streamed: bool) -> Any:
        models = genai.Client(api_key=node.key, http_options={"base_url": url}).aio.models
        if is_streamed:
            return [part async for part in await models.generate_content_stream(model="sandbox-1", contents="hello")]
        return await models.generate_content(model="sandbox-1", contents="hello")

    async def ask_mistral(is_streamed: bool) -> Any:
        chat = mistral.Mistral(api_key=node.key, server_url=url).chat
        if is_streamed:
            async with await chat.stream_async(model="sandbox-1", messages=HELLO) as events:
                return [event async for event in events]
        return await chat.complete_async(model="sandbox-1", messages=HELLO)

    async def ask_cohere(is_streamed: bool) -> Any:
        client = cohere.AsyncClientV2(api_key=node.key, base_url=url)
        asked: dict[str, Any] = {"model": "sandbox-1", "messages": HELLO, "request_options": {"max_retries": 0}}
        if is_streamed:
            return [event async for event in client.chat_stream(**asked)]
        return await client.chat(**asked)

    match slug:
        case "google":
            genai = pytest.importorskip("google.genai", reason=_ABSENT)
            return ask_google
        case "mistral":
            mistral = pytest.importorskip("mistralai.client", reason=_ABSENT)
            return ask_mistral
        case "cohere":
            cohere = pytest.importorskip("cohere", reason=_ABSENT)
            return ask_cohere
    return {"openai": ask_openai, "anthropic": ask_anthropic}[slug]


async def lead_to(node: Node, slug: str, url: str, **seconds: float) -> None:
    """Let a provider's calls go to an address, and no longer than so many seconds."""
    async with node.database.as_system() as connection:
        await connection.execute("DELETE FROM identity.provider_credentials")
        await connection.execute(
            "UPDATE catalog.providers SET metadata = $1 WHERE slug = $2", {"gateway": seconds}, slug
        )
    await node.add_credential(slug, url)


async def assert_well(node: Node, slug: str, ask: Ask) -> None:
    """The gateway serves the next call as any other, and has nothing open."""
    await lead_to(node, slug, node.sandbox_url)

    assert await ask(False) and await ask(True)
    for _ in range(250):
        if not node.gateway._open:
            break
        await asyncio.sleep(0.02)
    assert not node.gateway._open


def told(error: BaseException) -> str:
    """What a client's exception says, in whichever of its fields."""
    return f"{error} {getattr(error, 'body', '')} {getattr(error, 'message', '')}"


def status_of(error: BaseException) -> int | None:
    """The status that a client's exception carries."""
    for name in ("status_code", "code"):
        if isinstance(value := getattr(error, name, None), int):
            return value
    return None


async def failure_of(asking: Awaitable[Any]) -> BaseException:
    """Wait for the failure of a call; that it ends at all is part of what is asked."""
    try:
        async with asyncio.timeout(60):
            answer = await asking
    except Exception as error:
        assert not isinstance(error, TimeoutError) or error.__cause__ is not None, "the call has no end"
        return error
    raise AssertionError(f"taken for whole: {answer}")


@pytest.fixture(params=EVENTS)
async def slug(request: pytest.FixtureRequest, node: Node) -> str:
    if request.param not in {"openai", "anthropic"}:
        await reached(node, request.param)
    return str(request.param)


async def test_a_provider_that_gives_no_answer_is_502_or_504_in_its_own_words(node: Node, slug: str) -> None:
    ask = client_of(slug, node)
    found: dict[str, tuple[bool, int | None]] = {}
    for name, (answer, _, seconds) in odd.WITHOUT_A_STREAM.items():
        async with odd.raw_server(answer) as url:
            await lead_to(node, slug, url, **seconds)
            error = await failure_of(ask(False))
            found[name] = slug in told(error), status_of(error)

    # The message is ours, found by the client where its provider's errors have it.
    assert found == {name: (True, status) for name, (_, status, _) in odd.WITHOUT_A_STREAM.items()}
    rows = await node.calls(len(odd.WITHOUT_A_STREAM))
    assert {row["status_code"] for row in rows} == {0}
    assert {row["error_type"] for row in rows} == {
        "upstream_timeout", "upstream_unreachable", "total_timeout", "upstream_broke"
    }  # fmt: skip
    await assert_well(node, slug, ask)


async def test_a_stream_without_an_end_ends_at_the_total_limit_as_its_client_understands(node: Node, slug: str) -> None:
    ask = client_of(slug, node)
    event = list(EVENTS[slug](Plan()))[1]
    async with odd.raw_server(odd.endless(event)) as url:
        await lead_to(node, slug, url, total_seconds=0.5)
        error = await failure_of(ask(True))

    assert ("did not answer in time" in told(error)) == (slug in HEEDS_EVENTS)
    assert slug in HEEDS_EVENTS or "peer closed connection" in told(error)
    (row,) = await node.calls()
    assert row["error_type"] == "total_timeout" and row["metadata"]["gateway"]["usage"] == "estimated"
    await assert_well(node, slug, ask)


async def test_a_stream_that_breaks_within_an_event_is_never_taken_for_whole(node: Node, slug: str) -> None:
    ask = client_of(slug, node)
    events = b"".join(list(EVENTS[slug](Plan()))[:3])
    async with odd.raw_server(odd.breaking(events)) as url:
        await lead_to(node, slug, url)
        error = await failure_of(ask(True))

    # OpenAI's streams are read event by event, as one of them may be left out: there an error can still be told.
    expected = ("broke the connection",) if slug == "openai" else ("peer closed connection", "payload is not completed")
    assert any(text in told(error) for text in expected), told(error)
    (row,) = await node.calls()
    assert row["error_type"] == "upstream_broke" and row["output_tokens"] > 0
    await assert_well(node, slug, ask)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as found:
        yield found


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_bomb_passes_packed_and_is_not_unpacked_to_its_end(
    node: Node, client: aiohttp.ClientSession, is_streamed: bool
) -> None:
    async with odd.raw_server(odd.bomb) as url:
        await lead_to(node, "anthropic", url)
        before = psutil.Process().memory_info().rss
        body = {"model": "sandbox-1", "max_tokens": 9, "messages": HELLO, "stream": is_streamed}
        headers = {"authorization": f"Bearer {node.key}", "accept-encoding": "gzip"}
        async with client.post(f"{node.url}/gw/anthropic/v1/messages", json=body, headers=headers) as answer:
            content = await answer.read()
        grown = psutil.Process().memory_info().rss - before

    assert answer.status == 200 and answer.headers["content-encoding"] == "gzip"
    assert content[:2] == b"\x1f\x8b" and len(content) == int(answer.headers["content-length"])
    # The provider plays in this process too and packs 400 MB, a megabyte at a time.
    assert grown < 200 * 2**20
    (row,) = await node.calls()
    assert row["status_code"] == 200 and row["metadata"]["gateway"]["usage"] == "estimated"
    await assert_well(node, "anthropic", client_of("anthropic", node))


async def test_a_bomb_that_had_to_be_unpacked_breaks_off(node: Node, client: aiohttp.ClientSession) -> None:
    async with odd.raw_server(odd.bomb_of_events) as url:
        # Usage is asked for here, so an event is to be left out, and the provider was asked for plain bytes.
        await lead_to(node, "openai", url)
        body = {"model": "sandbox-1", "messages": HELLO, "stream": True}
        headers = {"authorization": f"Bearer {node.key}", "accept-encoding": "gzip"}
        size = 0
        async with client.post(f"{node.url}/gw/openai/v1/chat/completions", json=body, headers=headers) as answer:
            assert answer.status == 200 and "content-encoding" not in answer.headers
            with pytest.raises(aiohttp.ClientPayloadError):
                async for part in answer.content.iter_any():
                    size += len(part)

    assert size < odd.BOMB_BYTES
    (row,) = await node.calls()
    assert row["error_type"] == "upstream_broke"
    await assert_well(node, "openai", client_of("openai", node))
