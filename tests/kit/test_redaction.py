"""A quick look tells most texts that hold no secret; it never spares one that the search would have found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexus.kit.redaction import _SECRET_TEXT, REDACTED, redact_headers, redact_text

_TOKEN = st.text("abcdefABCDEF0123456789_-.~+/=", max_size=40)
_PIECE = st.one_of(
    st.sampled_from(
        [
            *[
                "nx_",
                "sk-",
                "ghp_",
                "gho_",
                "ghs_",
                "github_pat_",
                "AKIA",
                "AIza",
                "xoxb-",
                "eyJ",
                ".",
                "://",
                ":",
                "@",
                "/",
                "a",
            ],
            " ",
            "Bearer ",
            "bearer ",
        ]
    ),
    _TOKEN,
    st.text(max_size=4),
)


@given(st.lists(_PIECE, max_size=8).map("".join))
def test_what_the_search_finds_is_redacted(text: str) -> None:
    assert redact_text(text) == _SECRET_TEXT.sub(REDACTED, text)


def test_each_kind_is_found() -> None:
    for text in (
        "nx_" + "a" * 20, "sk-" + "a" * 16, "ghp_" + "a" * 16, "github_pat_" + "a" * 16, "AKIA" + "A" * 16, "AIza" + "a" * 30,
        "xoxb-" + "a" * 10, "eyJ" + "a" * 8 + "." + "b" * 8 + ".", "x://:p@h", "Bearer aaaaaaaa",
    ):  # fmt: skip
        assert REDACTED in redact_text(text)


def test_headers_are_kept_by_name_and_redacted_by_value() -> None:
    given_headers = {"X-Request-Id": "r-1", "Authorization": "Bearer aaaaaaaa", "server": "sk-" + "a" * 16}
    assert redact_headers(given_headers) == {"x-request-id": "r-1", "server": REDACTED}
