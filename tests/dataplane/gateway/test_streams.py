"""Usage is found however the bytes are cut, and what a client gets does not depend on it."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from base64 import b64encode
from typing import Any

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from nexus.dataplane.gateway.reading import AnswerReader
from nexus.dataplane.gateway.streams import EventSplitter, FrameSplitter, TooLongEventError, event_data
from nexus.dataplane.gateway.usage import Lookup, Usage, count_text, load_wire
from nexus.sandbox import answers
from nexus.sandbox.answers import Plan

WIRE = load_wire()
counts = st.integers(0, 10**6)
plans = st.builds(
    lambda model, chunks, cached, fresh, reasoning, spoken, asks: Plan(
        model=model,
        chunks=chunks,
        usage={"input": cached + fresh, "cached_input": cached, "output": reasoning + spoken, "reasoning": reasoning},
        asks_usage=asks,
    ),
    st.sampled_from(["gpt-5", "größe-1", "模型"]), st.integers(0, 30), counts, counts, counts, counts, st.just(True),
)  # fmt: skip
DIALECTS = {
    "openai chat": ("openai", "/v1/chat/completions", answers.chat, answers.chat_events),
    "openai completions": ("openai", "/v1/completions", answers.completion, answers.completion_events),
    "openai responses": ("openai", "/v1/responses", answers.response, answers.response_events),
    "anthropic": ("anthropic", "/v1/messages", answers.message, answers.message_events),
}


def cut(content: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(content) + 1) for place in places} | {len(content)})
    return [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def read(
    slug: str, path: str, chunks: list[bytes], media_type: str, *, encoding: str = "", hides: bool = False
) -> tuple[Usage, bytes, AnswerReader]:
    rules = WIRE.rules(WIRE.facts(slug, {}), path)
    reader = AnswerReader(WIRE, rules, media_type=media_type, encoding=encoding, hides_usage=hides)
    passed = b"".join(reader.feed(chunk) for chunk in chunks) + reader.held_back()
    return reader.finish(is_error=False, path_is_estimated=True, estimate_input=lambda: 7), passed, reader


@pytest.mark.parametrize("dialect", DIALECTS)
@given(
    plan=plans, places=st.lists(st.integers(0, 10**5), max_size=40), line_end=st.sampled_from([b"\n", b"\r\n", b"\r"])
)
def test_a_streamed_answer_tells_what_the_whole_one_tells(
    dialect: str, plan: Plan, places: list[int], line_end: bytes
) -> None:
    slug, path, whole, events = DIALECTS[dialect]
    content = b"".join(events(plan)).replace(b"\n", line_end)

    of_whole, _, _ = read(slug, path, [json.dumps(whole(plan)).encode()], "application/json")
    of_stream, passed, reader = read(slug, path, cut(content, places), "text/event-stream")
    of_bytes, _, _ = read(slug, path, [content[at : at + 1] for at in range(len(content))], "text/event-stream")

    expected = {name: count for name, count in plan.usage.items() if count}
    if dialect == "anthropic":
        expected.pop("reasoning", None)
    if plan.usage["input"] + plan.usage["output"]:
        assert of_whole.counts == of_stream.counts == of_bytes.counts == expected
    assert of_whole.is_exact and of_stream.is_exact
    assert passed == content
    assert reader.model == plan.model


@given(
    plan=plans,
    places=st.lists(st.integers(0, 10**5), max_size=40),
    packed=st.sampled_from(["", "gzip", "zstd", "deflate"]),
)
def test_hiding_leaves_out_the_usage_event_and_nothing_else(plan: Plan, places: list[int], packed: str) -> None:
    parts = list(answers.chat_events(plan))
    content = b"".join(parts)
    sent = {"": bytes, "gzip": gzip.compress, "zstd": zstd.compress, "deflate": zlib.compress}[packed](content)

    usage, passed, _ = read(
        "openai", "/v1/chat/completions", cut(sent, places), "text/event-stream", encoding=packed, hides=True
    )

    assert passed == b"".join(part for part in parts if b'"usage":{' not in part)
    assert usage.is_exact


@given(st.binary(max_size=3000), st.lists(st.integers(0, 5000), max_size=10), st.sampled_from(["", "gzip", "zstd"]))
def test_rubbish_passes_whole_and_harms_nothing(content: bytes, places: list[int], packed: str) -> None:
    for media_type in (
        "text/event-stream",
        "application/json",
        "application/vnd.amazon.eventstream",
        "application/x-ndjson",
    ):
        _, passed, _ = read("openai", "/v1/chat/completions", cut(content, places), media_type, encoding=packed)

        assert passed == content


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"data: x", b"\r\n"]), max_size=30), st.lists(st.integers(0, 60)))
def test_the_splitter_loses_no_byte(parts: list[bytes], places: list[int]) -> None:
    content = b"".join(parts)
    splitter = EventSplitter()

    events = [event for chunk in cut(content, places) for event in splitter.feed(chunk)]

    assert b"".join(events) + splitter.rest() == content


def frame(payload: bytes) -> bytes:
    headers = b"\x0b:event-type\x07\x00\x05chunk"
    head = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = head + struct.pack(">I", zlib.crc32(head)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


@given(st.lists(st.integers(0, 500), max_size=10))
def test_bedrock_frames_are_read_however_they_are_cut(places: list[int]) -> None:
    inner = {"type": "message_start", "message": {"model": "claude", "usage": {"input_tokens": 5, "output_tokens": 1}}}
    last = {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 9}}
    content = b"".join(
        frame(json.dumps({"bytes": b64encode(json.dumps(part).encode()).decode()}).encode()) for part in (inner, last)
    )

    usage, passed, reader = read(
        "aws", "/model/claude/invoke-with-response-stream", cut(content, places), "application/vnd.amazon.eventstream"
    )

    assert usage.counts == {"input": 5, "output": 9} and passed == content and reader.model == "claude"


def test_a_damaged_frame_ends_the_reading() -> None:
    with pytest.raises(TooLongEventError):
        list(FrameSplitter().feed(b"\x00" * 40))


def test_the_last_usage_object_counts_whatever_chunk_it_rides_in() -> None:
    def chunk(usage: Any, choices: Any = ()) -> bytes:
        return answers.sse({"model": "m", "choices": list(choices), "usage": usage})

    first, last = {"prompt_tokens": 10, "completion_tokens": 1}, {"prompt_tokens": 10, "completion_tokens": 50}
    content = chunk(first, [{"delta": {"content": "x"}}]) + chunk(None) + chunk(last, [{"finish_reason": "stop"}])

    usage, _, _ = read("openai", "/v1/chat/completions", [content], "text/event-stream")

    assert usage.counts == {"input": 10, "output": 50}


def test_a_count_told_once_is_not_taken_back_by_a_0_in_a_later_event() -> None:
    def event(given: int, made: int) -> bytes:
        return answers.sse({"results": [{"input_token_count": given, "generated_token_count": made}]})

    usage, _, _ = read(
        "watsonx", "/ml/v1/text/generation_stream", [event(8, 0), event(0, 5), event(0, 11)], "text/event-stream"
    )

    assert usage.counts == {"input": 8, "output": 11}


def test_the_last_of_what_anthropic_tells_counts_though_it_be_0() -> None:
    # As where a conversation was made shorter on the way: the end is about the shorter one.
    begin = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "cache_read_input_tokens": 500}}}
    end = {"type": "message_delta", "usage": {"input_tokens": 18, "cache_read_input_tokens": 0, "output_tokens": 8}}

    usage, _, _ = read("anthropic", "/v1/messages", [answers.sse(begin), answers.sse(end)], "text/event-stream")

    assert usage.counts == {"input": 18, "output": 8}


def test_a_bomb_is_not_unpacked_to_its_end() -> None:
    bomb = gzip.compress(b"data: " + b"0" * (400 * 2**20), compresslevel=1)

    usage, passed, _ = read("openai", "/v1/chat/completions", [bomb], "text/event-stream", encoding="gzip")

    assert passed == bomb and not usage.is_exact


def test_an_unknown_encoding_passes_unread() -> None:
    usage, passed, _ = read("openai", "/v1/chat/completions", [b"\x8b\x00\x80"], "application/json", encoding="br")

    assert passed == b"\x8b\x00\x80" and not usage.is_exact


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("a.b", {"a": {"b": 3}}, 3),
        ("a[1].b", {"a": [{}, {"b": 4}]}, 4),
        ("a[kind=X].n", {"a": [{"kind": "Y", "n": 1}, {"kind": "X", "n": 2}]}, 2),
        ("a.b", {"a": [1]}, None),
        ("a[5]", {"a": []}, None),
    ],
)
def test_paths_find_what_they_name(path: str, value: Any, expected: Any) -> None:
    assert Lookup(path)(value) == expected


def test_a_part_is_never_larger_than_its_whole() -> None:
    answer = {"usage": {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9}}}

    usage, _, _ = read("openai", "/v1/chat/completions", [json.dumps(answer).encode()], "application/json")

    assert usage.counts == {"input": 5, "cached_input": 5, "output": 2}


def test_text_is_never_counted_as_nothing() -> None:
    assert count_text("") == 0 and count_text("a") == 1 and count_text("abcde") == 2 and count_text("正しく") == 3


def test_event_data_joins_its_lines() -> None:
    assert event_data(b": comment\nevent: x\ndata: a\ndata:b\r\n\r\n") == b"a\nb"
