"""What a request's body says of the answer it asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nexus.dataplane.gateway.request import inspect


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 0}, 0),
        ({"max_completion_tokens": 9, "n": 3}, 27),
        ({"max_completion_tokens": 9, "max_tokens": 8, "n": 0}, 8),
        ({"max_output_tokens": 10**9, "n": 2}, 10**9),
        ({"generationConfig": {"maxOutputTokens": 5}}, 5),
        ({"generationConfig": {"maxOutputTokens": 5}, "max_tokens": 4, "n": "2"}, 4),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 1.5}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": 10**9 + 1}, None),
        ({"max_tokens": 10**30}, None),
        ({"max_tokens": "many", "generationConfig": []}, None),
        ({"generationConfig": {}}, None),
        ({"model": "m"}, None),
        ([], None),
    ],
)
def test_the_most_an_answer_can_take_is_read_from_the_request(body: Any, most: int | None) -> None:
    for text in (json.dumps(body), json.dumps(body, indent=3)):
        inquiry, _ = inspect(text.encode(), "/v1/chat/completions", asks_usage=False)
        assert inquiry.most_output == most


def test_a_body_that_cannot_be_read_says_nothing_of_its_answer() -> None:
    inquiry, sent = inspect(b"\xff{", "/v1/chat/completions", asks_usage=True)

    assert inquiry.most_output is None and sent == b"\xff{"
