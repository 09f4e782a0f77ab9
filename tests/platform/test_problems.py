"""Errors leave as problem details that name the field and the remedy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import asyncpg
import msgspec
import pytest
from litestar import Litestar, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.testing import TestClient

from nexus.kit.errors import Conflict, FieldFault, TooManyRequests, Unauthenticated
from nexus.platform.web import PROBLEM_TYPE, Page, decode_cursor, encode_cursor, exception_handlers, id_of, page_of
from nexus.platform.web.pages import InvalidCursor


class Body(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    size: int


@post("/things", sync_to_thread=False)
def make(data: JSONBody[Body]) -> None: ...


@get("/things/{kind:str}", sync_to_thread=False)
def read(kind: FromPath[str], limit: FromQuery[int] = 1) -> None:
    raise {
        "conflict": Conflict("it is there already", faults=[FieldFault("name", "take another")]),
        "slow": TooManyRequests(retry_after_seconds=7, headers={"ratelimit": '"calls";r=0'}, limit="calls"),
        "closed": Unauthenticated(),
        "away": asyncpg.CannotConnectNowError("starting up"),
        "data": asyncpg.DataError("invalid input"),
        "bug": ZeroDivisionError("secret detail"),
    }[kind]


@get("/range", sync_to_thread=False)
def between(start: Annotated[int, QueryParameter(name="from")]) -> None: ...


@pytest.fixture
def client() -> TestClient[Litestar]:
    return TestClient(
        Litestar([make, read, between], exception_handlers=exception_handlers), raise_server_exceptions=False
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "/things", b'{"name": 1, "size": 2}', 422, "name"),
        ("POST", "/things", b'{"name": "a"}', 422, "size"),
        ("POST", "/things", b'{"name": "a", "size": 1, "other": 2}', 422, "other"),
        ("POST", "/things", b"{", 400, None),
        ("POST", "/things", b"\xff\xfe", 400, None),
        ("GET", "/things/conflict?limit=x", None, 422, "limit"),
        ("GET", "/things/conflict", None, 409, "name"),
        ("GET", "/things/data", None, 422, "body"),
        ("GET", "/range", None, 422, "from"),
        ("GET", "/range?from=x", None, 422, "from"),
        ("GET", "/nothing", None, 404, None),
        ("DELETE", "/things", None, 405, None),
        ("GET", "/things/away", None, 503, None),
        ("GET", "/things/bug", None, 500, None),
    ],
)
def test_refusals_are_problem_details(
    client: TestClient[Litestar], method: str, path: str, body: bytes | None, status: int, field: str | None
) -> None:
    answer = client.request(method, path, content=body, headers={"content-type": "application/json"})

    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert answer.headers["content-type"].startswith(PROBLEM_TYPE)
    assert problem["type"].startswith("urn:nexus:problem:") and problem["title"] and problem["detail"]
    if field is not None:
        assert [item["field"] for item in problem["errors"]] == [field]
    assert "secret detail" not in answer.text


def test_waiting_is_told(client: TestClient[Litestar]) -> None:
    assert client.get("/things/slow").headers["retry-after"] == "7"
    assert "retry-after" in client.get("/things/away").headers


def test_an_error_brings_its_own_headers(client: TestClient[Litestar]) -> None:
    slow = client.get("/things/slow")

    assert slow.headers["ratelimit"] == '"calls";r=0'
    assert slow.json()["limit"] == "calls" and "headers" not in slow.json()
    assert client.get("/things/closed").headers["www-authenticate"] == 'Bearer realm="nexus"'
    assert set(client.delete("/things").headers["allow"].split(", ")) == {"OPTIONS", "POST"}


def test_cursors_come_back_and_strange_ones_are_refused() -> None:
    value = (3, UUID(int=5))

    assert decode_cursor(encode_cursor(*value), tuple[int, UUID]) == value
    for strange in ("", "%%%", "AAAA", encode_cursor("x", "y"), "ü"):
        with pytest.raises(InvalidCursor):
            decode_cursor(strange, tuple[int, UUID])


def test_a_cursor_holds_nothing_that_no_list_gives_out() -> None:
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)

    assert decode_cursor(encode_cursor(at, "a"), tuple[datetime, str]) == (at, "a")
    for strange in ((at.replace(tzinfo=None), "a"), ("0001-01-01T00:00:00+23:59", "a"), (at, "a\x00")):
        with pytest.raises(InvalidCursor):
            decode_cursor(encode_cursor(*strange), tuple[datetime, str])


def test_pages_end_where_nothing_follows() -> None:
    first = page_of([1, 2, 3], 2, lambda item: (item,))

    assert first.items == [1, 2] and first.next_cursor == encode_cursor(2)
    assert page_of([3], 2, lambda item: (item,)) == Page([3])
    assert page_of([], 2, lambda item: (item,)) == Page([])
    assert id_of(None) is None and id_of(encode_cursor(UUID(int=5))) == UUID(int=5)
