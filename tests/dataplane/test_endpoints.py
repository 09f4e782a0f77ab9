"""Templates of paths: the catalog's first, then what looks like an id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.dataplane.endpoints import EndpointTable, guess_template, strip_query
from nexus.dataplane.store import EndpointEntry

TABLE = EndpointTable(
    [
        EndpointEntry("github", "GET", "/repos/{owner}/{repo}"),
        EndpointEntry("github", "GET", "/repos/{owner}/{repo}/issues/{number}"),
        EndpointEntry("github", "GET", "/repos/{owner}/settings"),
        EndpointEntry("github", "", "/user"),
        EndpointEntry("github", "POST", "/user/keys"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/repos/a/b", "/repos/{owner}/{repo}"),
        ("GET", "/repos/a/b/", "/repos/{owner}/{repo}"),
        ("GET", "/repos/a/settings", "/repos/{owner}/settings"),
        ("GET", "/repos/a/b/issues/7", "/repos/{owner}/{repo}/issues/{number}"),
        ("POST", "/repos/a/b", None),
        ("PUT", "/user", "/user"),
        ("POST", "/user/keys", "/user/keys"),
        ("", "/user/keys", "/user/keys"),
        ("GET", "/nothing", None),
    ],
)
def test_catalog_decides(method: str, path: str, template: str | None) -> None:
    assert TABLE.find("github", method, path) == template


def test_other_providers_have_other_endpoints() -> None:
    assert TABLE.find("gitlab", "GET", "/user") is None


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/v1/users/123/orders", "/v1/users/{id}/orders"),
        ("/v1/threads/thread_abc123DEF456ghi7/runs", "/v1/threads/{id}/runs"),
        ("/items/550e8400-e29b-41d4-a716-446655440000", "/items/{id}"),
        ("/objects/0af7651916cd43dd8448eb211c80319c", "/objects/{id}"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/models/gpt-4o-mini", "/v1/models/gpt-4o-mini"),
        ("/feedback", "/feedback"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_ids_are_guessed(path: str, template: str) -> None:
    assert guess_template(path) == template


def test_query_and_fragment_are_cut_off() -> None:
    assert strip_query("/a?token=1#b") == "/a"
    assert strip_query("/a#b?c") == "/a"


@given(st.text(alphabet="ab/{}1", max_size=20), st.text(max_size=5))
def test_any_path_has_an_answer(path: str, method: str) -> None:
    TABLE.find("github", method, path)
    guess_template(path)
