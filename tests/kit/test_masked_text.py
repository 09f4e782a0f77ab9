"""Bodies are masked as they are meant: in JSON without its escapes, by the names of fields, across the pieces of a stream."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.kit import masked_text
from nexus.kit.masked_text import mask
from nexus.kit.masking import Finder
from tests.kit.test_masking import cards, tokens

FINDER = Finder(["email", "phone", "card", "iban", "ip"], fields=["birthday"], words=["Projekt Blau"])
CARD = "4111111111111111"


def as_json(document: Any) -> Any:
    return json.loads(mask(json.dumps(document), "json", FINDER).text)


def test_strings_numbers_and_names_of_fields_are_searched_and_the_rest_stands_as_it_stood() -> None:
    text = (
        '{ "model":"gpt-4o",\n "n" : 1, "bob@example.org": {"card": 4111111111111111}, "say": "call\\n+49 30 1234567"}'
    )

    masked = mask(text, "json", FINDER)

    assert masked.text == '{ "model":"gpt-4o",\n "n" : 1, "[email]": {"card": "[card]"}, "say": "call\\n[phone]"}'
    assert masked.found == {"email": 1, "card": 1, "phone": 1}


def test_escapes_hide_nothing() -> None:
    assert as_json({"a": "x"}) == {"a": "x"}
    hidden = '{"a": "bob\\u0040example.org", "b": "\\u0073k-abcdefghijklmnop1", "c": "\\"\\\\n4111 1111 1111 1111"}'

    assert json.loads(mask(hidden, "json", FINDER).text) == {"a": "[email]", "b": "[secret]", "c": '"\\n[card]'}


def test_fields_are_masked_by_their_names_whatever_they_hold() -> None:
    document = {
        "password": "x", "Api-Key": ["a", {"b": 7}], "birthday": {"day": 3}, "token": None, "max_tokens": 5, "stop": True,
        "authorization": "y",
    }  # fmt: skip

    assert as_json(document) == {
        "password": "[secret]", "Api-Key": ["[secret]", {"b": "[secret]"}], "birthday": {"day": "[field]"}, "token": None,
        "max_tokens": 5, "stop": True, "authorization": "[secret]",
    }  # fmt: skip


def test_json_inside_a_string_is_masked_by_its_fields_too() -> None:
    arguments = json.dumps(
        {"user": "u", "password": 'a"b', "birthday": "1.2.1990", "inner": json.dumps({"pwd": 'c"d'})}
    )

    said = as_json({"arguments": arguments})["arguments"]

    assert json.loads(said)["password"] == "[secret]" and json.loads(said)["birthday"] == "[field]"
    assert json.loads(json.loads(said)["inner"]) == {"pwd": "[secret]"}


def test_probabilities_that_repeat_the_text_and_long_base64_are_left_out() -> None:
    document = {
        "logprobs": {"content": [{"token": "41", "bytes": [52, 49]}]},
        "image": "data:image/png;base64," + "A" * 800,
    }

    assert as_json(document) == {
        "logprobs": {"content": [{"token": "[logprobs]", "bytes": ["[logprobs]", "[logprobs]"]}]},
        "image": "[binary, 822 characters]",
    }


@pytest.mark.parametrize("length", range(1, 60))
def test_json_that_is_cut_anywhere_is_masked_as_far_as_it_goes(length: int) -> None:
    text = '{"password": "hun\\"ter2", "a": "sk-abcdefghijklmnop1"}'[:length]

    masked = mask(text, "json", FINDER).text

    assert "hun" not in masked and "ter2" not in masked and "sk-abcdefghijklmn" not in masked


def test_what_is_no_json_is_masked_as_it_stands() -> None:
    assert mask("{password: 'x y', 4111 1111 1111 1111", "json", FINDER).text == "{password: '[secret]', [card]"


def test_forms_are_masked_by_field_and_without_their_escapes() -> None:
    masked = mask("a=1&password=x%20y&mail=bob%40example.org&card=4111+1111+1111+1111&b", "form", FINDER)

    assert masked.text == "a=1&password=[secret]&mail=[email]&card=[card]&b"


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in zip(places, places[1:], strict=False)]


def chat(piece: str, number: int, index: int = 0) -> Any:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1763738053 + number,
            "choices": [{"delta": {"content": piece}, "index": index, "finish_reason": None}]}  # fmt: skip


def messages(piece: str, number: int) -> Any:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}


def responses(piece: str, number: int) -> Any:
    return {
        "type": "response.output_text.delta",
        "sequence_number": number,
        "item_id": "m1",
        "output_index": 0,
        "delta": piece,
    }


def gemini(piece: str, number: int) -> Any:
    return {"candidates": [{"content": {"parts": [{"text": piece}], "role": "model"}}], "modelVersion": "g"}


def events(documents: list[Any], form: str) -> str:
    if form == "events":
        return "".join(f"event: x\ndata: {json.dumps(item)}\n\n" for item in documents) + "data: [DONE]\n\n"
    if form == "lines":
        return "".join(json.dumps(item) + "\n" for item in documents)
    return json.dumps(documents, indent=1)


def texts_in(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(
            texts_in(item)
            for name, item in value.items()
            if name in {"choices", "delta", "content", "text", "candidates", "parts"}
        )
    if isinstance(value, list):
        return "".join(map(texts_in, value))
    return value if isinstance(value, str) and value != "text_delta" else ""


@given(
    secret=st.one_of(cards, tokens, st.sampled_from(["bob@example.org", "DE89370400440532013000", "Projekt Blau"])),
    before=st.text(string.ascii_letters + " \n\"\\äß", max_size=20),
    cuts=st.lists(st.integers(0, 200), max_size=12),
    shape=st.sampled_from([chat, messages, responses, gemini]),
    form=st.sampled_from(["events", "lines", "json"]),
)  # fmt: skip
def test_nothing_survives_in_the_pieces_of_a_stream(
    secret: str, before: str, cuts: list[int], shape: Any, form: Any
) -> None:
    said = f"{before} {secret} thanks"
    body = events([shape(piece, number) for number, piece in enumerate(pieces_of(said, cuts))], form)

    masked = mask(body, form, FINDER).text

    lines = [line.removeprefix("data: ") for line in masked.splitlines() if line.startswith(("data: {", "{"))]
    whole = json.loads(masked) if form == "json" else [json.loads(line) for line in lines]
    heard = texts_in(whole)
    assert secret not in heard and secret[-6:] not in heard
    assert heard.endswith(" thanks") and heard.startswith(before[:-1] if before.endswith((" ", "\n")) else before)


WORDS = st.sampled_from(
    ["hello", "41", "1111 1111", "1111 11", "bob", "@example.org", "index", "password", "birthday", "logprobs", "a\\", 'q"',
     "null", "\\u0040", "sk-abcdefg", "hijklmnop1", "", "4111111111111111", "content"]
)  # fmt: skip
LEAVES = st.one_of(
    WORDS, st.none(), st.booleans(), st.integers(0, 3), st.just(4111111111111111), st.floats(allow_nan=False)
)
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=8
)


@given(
    documents=st.lists(DOCUMENTS, min_size=1, max_size=4),
    form=st.sampled_from(["events", "lines", "json"]),
    twice=st.booleans(),
    is_plain=st.booleans(),
)
def test_what_is_passed_over_quickly_is_what_the_long_way_leaves(
    documents: list[Any], form: Any, twice: bool, is_plain: bool
) -> None:
    body = events(documents, form)
    if not is_plain:
        # As some write it: every letter of it escaped.
        body = body.replace("@", "\\u0040").replace("sk-", "\\u0073k-")
    if twice:
        # A name that is given twice: a decoder sees the last.
        body = body.replace("{", '{"content": "\\u0073k-abcdefghijklmnop1", "content": "x", ', 1)

    quick = mask(body, form, FINDER)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masked_text._Document, "is_clean", lambda self: False)
        long = mask(body, form, FINDER)
    assert quick.text == long.text and quick.found == long.found


def test_choices_that_are_streamed_at_once_are_kept_apart() -> None:
    pieces = [chat(CARD[:8], 0, 0), chat("nothing ", 1, 1), chat(CARD[8:], 2, 0), chat("here", 3, 1)]

    masked = mask(events(pieces, "events"), "events", FINDER)

    assert "11111111" not in masked.text and masked.found == {"card": 1}
    assert '"nothing "' in masked.text and '"here"' in masked.text


def test_arguments_that_are_streamed_are_masked_by_their_fields() -> None:
    arguments = json.dumps({"user": "u", "password": "correct horse", "n": 1})
    pieces = [
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"tool_calls": [{"index": 0, "function": {"arguments": arguments[start : start + 3]}}]},
                }
            ]
        }
        for start in range(0, len(arguments), 3)
    ]

    masked = mask(events(pieces, "events"), "events", FINDER).text

    said = "".join(
        json.loads(line[6:])["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]
        for line in masked.splitlines()
        if line.startswith("data: {")
    )
    assert json.loads(said) == {"user": "u", "password": "[secret]", "n": 1}


def test_absurd_nesting_is_no_way_around() -> None:
    assert CARD not in mask("[" * 5000 + f'"{CARD}"' + "]" * 5000, "json", FINDER).text
