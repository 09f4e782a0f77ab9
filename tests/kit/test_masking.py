"""What is a secret or somebody's number is found wherever it stands; what only looks like one is left."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.kit.masking import Finder, is_card, is_iban, mask_of

ALL = Finder(["email", "phone", "card", "iban", "ip"], fields=["ssn", "geburtsdatum"], words=["Projekt Blau", "c++"])
# In two parts, so that nobody takes this file for one that holds a key.
BEGIN, KEY = "-----BEGIN", "PRIVATE KEY-----"
TOKEN = string.ascii_letters + string.digits


def found(text: str, finder: Finder = ALL) -> list[tuple[str, str]]:
    return [(span.kind, text[span.start : span.end]) for span in finder.find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key sk-abcdefghijklmnop1", [("secret", "sk-abcdefghijklmnop1")]),
        ("nx_0123456789012345678901234567890123456789", [("secret", "nx_0123456789012345678901234567890123456789")]),
        ("AKIAIOSFODNN7EXAMPLE!", [("secret", "AKIAIOSFODNN7EXAMPLE")]),
        ("Authorization: Bearer abc.def-123", [("secret", "abc.def-123")]),
        ("Authorization: Basic dXNlcjpwYXNz", [("secret", "dXNlcjpwYXNz")]),
        ("use bearer abc12345 here", [("secret", "abc12345")]),
        ("postgres://app:pass@db/x", [("secret", "app:pass")]),
        ("my password is: no\npassword=hunter2&x=1", [("secret", "hunter2")]),
        ('"api_key": "a b c", "n": 1', [("secret", "a b c")]),
        (r"{\"password\": \"a\\\"b\", \"n\": 1}", [("secret", r"a\\\"b")]),
        (
            f"a {BEGIN} RSA {KEY}\nMII\n-----END RSA {KEY} b",
            [("secret", f"{BEGIN} RSA {KEY}\nMII\n-----END RSA {KEY}")],
        ),
        (f"{BEGIN} {KEY}\nMII cut", [("secret", f"{BEGIN} {KEY}\nMII cut")]),
        ('"SSN": 123456789, "x": 1', [("field", "123456789")]),
        ("about projekt blau and C++.", [("word", "projekt blau"), ("word", "C++")]),
        ("bob.o'hara+x@example.co.uk.", [("email", "bob.o'hara+x@example.co.uk")]),
        ("bob%40example.org", [("email", "bob%40example.org")]),
        ("1 4111-1111-1111-1111 2", [("card", "4111-1111-1111-1111")]),
        ("3782 822463 10005", [("card", "3782 822463 10005")]),
        ("iban de89 3704 0044 0532 0130 00 and", [("iban", "de89 3704 0044 0532 0130 00")]),
        ("GB82WEST12345698765432", [("iban", "GB82WEST12345698765432")]),
        ("from 10.0.0.1, 2001:db8::1 and fe80::1", [("ip", "10.0.0.1"), ("ip", "2001:db8::1"), ("ip", "fe80::1")]),
        ("call +49 (30) 123456-78 or (555) 123-4567", [("phone", "+49 (30) 123456-78"), ("phone", "(555) 123-4567")]),
    ],
)
def test_is_found(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a basic understanding of token economics",
        "task-management-software",
        "the max_tokens and prompt_tokens of gpt-4o-mini-2024-07-18",
        "4111 1111 1111 1112",
        "1763738053123456",
        "NO93 8601 1117 948",
        "at 12:30:45 on 2026-11-21, 2026-11-21 14:22:33",
        "300.1.2.3 and 1.2.3",
        "std::vector<a::b> and @decorator",
        "chatcmpl-123 of 2048 and 1536 and 12345678",
    ],
)
def test_is_left(text: str) -> None:
    assert found(text) == []


def test_only_what_is_asked_for_is_found_but_secrets_always() -> None:
    text = "sk-abcdefghijklmnop1 bob@example.org 10.0.0.1"

    assert [kind for kind, _ in found(text, Finder())] == ["secret"]
    assert [kind for kind, _ in found(text, Finder(["ip"]))] == ["secret", "ip"]


def test_finds_that_overlap_are_one() -> None:
    assert found("password=sk-abcdefghijklmnop1@example.org") == [("secret", "sk-abcdefghijklmnop1@example.org")]


def card_of(digits: str) -> str:
    """Complete fifteen digits to a card's number."""
    return next(digits + last for last in string.digits if is_card(digits + last))


cards = st.text(string.digits, min_size=14, max_size=14).map(lambda rest: card_of("4" + rest))
tokens = st.builds(
    lambda prefix, rest: prefix + rest + "7",
    st.sampled_from(["sk-", "sk-ant-", "gsk_", "xai-", "hf_", "ghp_", "nx_", "glpat-"]),
    st.text(TOKEN, min_size=20, max_size=40),
)
texts = st.text(max_size=60)


def masked(text: str) -> str:
    kept = text
    for span in reversed(ALL.find(text)):
        kept = kept[: span.start] + mask_of(span.kind) + kept[span.end :]
    return kept


@given(texts, tokens, texts)
def test_no_token_survives_at_any_place(before: str, token: str, after: str) -> None:
    assert token[8:] not in masked(before + token + after)


@given(texts, cards, st.sampled_from(["", " ", "-", "."]), st.sampled_from([4, 5, 16]), texts)
def test_no_card_survives_at_any_place(before: str, card: str, separator: str, group: int, after: str) -> None:
    written = separator.join(card[start : start + group] for start in range(0, 16, group))
    # Glued to other digits it would be another number.
    before, after = before.rstrip(string.digits), after.lstrip(string.digits)

    assert written not in masked(before + written + after)


@given(st.sampled_from(["DE89370400440532013000", "GB82WEST12345698765432", "NO9386011117947"]), texts, texts)
def test_no_iban_survives_at_any_place(iban: str, before: str, after: str) -> None:
    assert is_iban(iban)
    before, after = before.rstrip(TOKEN), after.lstrip(TOKEN)
    assert iban not in masked(before + iban + after)


@pytest.mark.parametrize(
    "piece",
    ["@", "a", "eyJ", "1 ", "4 ", "4444 ", "444-", "://", "://a", "password", "(0", "+1 ", f"{BEGIN} {KEY}",
     '"password":"', "DE00 ", "DE", ":", "a.b@", "\\", "\\'", '\\"ssn', "bearer ", "SG.", "1.", "ab:", "data:", "=", "ssn",
     '"ssn":'],
)  # fmt: skip
def test_time_grows_with_the_length_alone(piece: str) -> None:
    """Counted, not timed: a text ten times as long may take about ten times the steps of the interpreter, not a hundred.

    The steps inside one search of a pattern are not counted here; that they are bounded is for the patterns to see to.
    """
    import sys

    def steps_of(text: str) -> int:
        count = 0

        def note(*_: Any) -> Any:
            nonlocal count
            count += 1
            return note

        before = sys.gettrace()
        sys.settrace(note)
        try:
            ALL.find(text)
        finally:
            sys.settrace(before)
        return count

    once, more = steps_of(piece * 200), steps_of(piece * 2000)

    assert more < once * 20 + 2000
