"""Every kind of secret is found wherever it stands, and what only looks alike is left alone."""

from __future__ import annotations

import json

import pytest

from nexus.contracts.bodies import MASKS
from nexus.kit.masked_text import mask
from nexus.kit.masking import Finder
from tests.secret_corpus import CORPUS, Planted

FINDER = Finder(MASKS)


def leaks(text: str, planted: Planted) -> bool:
    """Tell whether a text holds a secret, or a good part of it."""
    return any(part in text for part in (planted.secret, planted.secret[-12:], planted.secret[4:16]))


@pytest.mark.parametrize("planted", CORPUS, ids=lambda item: item.kind)
def test_secret_is_masked_in_text_in_json_and_in_json_within_json(planted: Planted) -> None:
    plain = mask(planted.text, "plain", FINDER).text
    document = mask(json.dumps({"a": [planted.text]}), "json", FINDER).text
    nested = mask(json.dumps({"a": json.dumps({"b": planted.text})}), "json", FINDER).text

    assert [text for text in (plain, document, nested) if leaks(text, planted)] == []
    assert "[secret]" in plain


@pytest.mark.parametrize(
    "text",
    [
        "the code=404 came from /search?code=blue&page=2",
        "key-value stores need a key=value pair",
        "cookie: the browser did not send one",
        "GET https://api.example.com/v1/items?key=a1&limit=10 200",
        "the account key was rotated, the signing key too",
        "hvs.short and dapi docs",
        "session?sid=1 at https://hooks.example.com/services",
        "port 12345678:AA is no token",
        "Error: signature does not match (SignatureDoesNotMatch)",
        "connection 01234567-0123-4567-8901-012345678901 refused",
        "expected 3 arguments, got 4 at app.js:10:5",
    ],
)
def test_what_only_looks_like_a_secret_stays(text: str) -> None:
    assert mask(text, "plain", FINDER).text == text
