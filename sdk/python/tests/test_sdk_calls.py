"""`record`, `call`, `recorded` and `attributed`."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import NOBODY, spooled
from nexus_client import Client, attributed
from nexus_client.stats import Counters


def test_record_says_what_it_was_told(client: Client) -> None:
    made = client.record("stripe", 402, endpoint="/v1/charges", metadata={"order": 5})

    (record,) = spooled(client)
    assert record == {
        "id": made, "provider": "stripe", "status_code": 402, "endpoint": "/v1/charges", "metadata": {"order": 5},
    }  # fmt: skip


def test_call_is_timed_and_its_answer_read(client: Client) -> None:
    with client.call("openai", endpoint="/v1/chat/completions") as call:
        call.answer({"model": "gpt-4o", "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
        call.set(status_code=201)

    (record,) = spooled(client)
    assert record["model"] == "gpt-4o"
    assert record["tokens"] == {"input": 3, "output": 2}
    assert record["status_code"] == 201
    assert record["response_time_ms"] >= 0


class Refused(Exception):
    status_code = 429


def test_exception_is_recorded_and_goes_on(client: Client) -> None:
    with pytest.raises(Refused), client.call("openai"):
        raise Refused("the secret plan")
    with pytest.raises(KeyboardInterrupt), client.call("openai"):
        raise KeyboardInterrupt

    refused, interrupted = spooled(client)
    assert (refused["status_code"], refused["error_type"]) == (429, "Refused")
    assert (interrupted["status_code"], interrupted["error_type"]) == (0, "KeyboardInterrupt")
    assert "secret" not in str(refused)


def test_decorated_functions_are_what_they_were(client: Client) -> None:
    @client.recorded("acme", endpoint="/plain")
    def double(number: int) -> int:
        """Twice as much."""
        return 2 * number

    @client.recorded("acme", endpoint="/async")
    async def triple(number: int) -> int:
        return 3 * number

    assert double(4) == 8
    assert asyncio.run(triple(4)) == 12
    assert double.__doc__ == "Twice as much."
    assert [record["endpoint"] for record in spooled(client)] == ["/plain", "/async"]


def test_decorated_generator_is_recorded_at_its_end(client: Client) -> None:
    @client.recorded("acme", endpoint="/stream")
    def words() -> Iterator[str]:
        heard = yield "one"
        yield heard or "two"

    whole, closed, failed = words(), words(), words()
    next(whole)
    assert spooled(client) == []
    assert whole.send("what was sent") == "what was sent"
    assert list(whole) == []
    next(closed)
    closed.close()
    next(failed)
    with pytest.raises(Refused):
        failed.throw(Refused())

    records = spooled(client)
    assert [(record["status_code"], record.get("error_type")) for record in records] == [
        (200, None), (200, None), (429, "Refused"),
    ]  # fmt: skip


def test_attribution_nests_and_ends(client: Client) -> None:
    with attributed(tags={"team": "search"}, user="a@acme.example"):
        with attributed(tags={"feature": "suggest"}, user="b@acme.example"):
            client.record("openai", 200, tags={"customer": "c1"})
        client.record("openai", 200)
    client.record("openai", 200)

    inner, outer, none = spooled(client)
    assert inner["tags"] == {"team": "search", "feature": "suggest", "customer": "c1"}
    assert inner["user"] == "b@acme.example"
    assert (outer["tags"], outer["user"]) == ({"team": "search"}, "a@acme.example")
    assert "tags" not in none


def test_threads_record_together(client: Client) -> None:
    def many() -> None:
        for _ in range(500):
            client.record("openai", 200)

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    records = spooled(client)
    assert len({record["id"] for record in records}) == len(records) == 4000


def test_what_is_no_json_is_counted_and_the_rest_goes_on(client: Client) -> None:
    client.record("openai", 200, response_time_ms=float("nan"))
    circle: dict[str, object] = {}
    circle["self"] = circle
    client.record("openai", 200, metadata=circle)
    client.record("openai", 200, metadata={"when": object()})
    client.record("openai", 200, error_message="\ud800")
    client.record("openai", 200)

    assert len(spooled(client)) == 3
    assert client.stats.invalid == 2


def test_fault_of_ours_in_a_call_is_counted_and_the_function_goes_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("nexus_client.client.Client.put", broken)

    assert client.recorded("acme")(lambda: 5)() == 5
    with pytest.raises(Refused), client.call("acme"):
        raise Refused
    assert client.record("acme", 200, id="the-id") == "the-id"
    assert client.stats.own_failures == 3
    assert client.stats.last_failure == "ZeroDivisionError: a fault of ours"


def test_fields_of_a_wrong_type_do_not_raise(client: Client) -> None:
    client.record("acme", 200, tags="search")
    with client.call("acme", tags=5):
        pass

    assert client.stats.own_failures == 2
    assert spooled(client) == []


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nobody is to see me")


def test_shield_holds_back_faults_of_ours_and_nothing_else() -> None:
    counters = Counters()

    with counters.shield, counters.shield:
        raise Wordless
    for passing in (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError):
        with pytest.raises(passing), counters.shield:
            raise passing

    assert counters.snapshot().own_failures == 1
    assert counters.snapshot().last_failure == "Wordless"


class FailingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the program's logs cannot be written")


def test_handler_of_logs_that_fails_does_not_reach_the_program(client: Client) -> None:
    handler = FailingHandler()
    logging.getLogger("nexus_client").addHandler(handler)
    try:
        client.record("openai", 200, response_time_ms=float("nan"))
        client.record("openai", 200)

        assert len(spooled(client)) == 1
    finally:
        logging.getLogger("nexus_client").removeHandler(handler)
    assert client.stats.invalid == 1


def test_failures_are_logged_once_a_minute_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()

    for kind in ("disk_failures", "dropped"):
        for number in range(3):
            counters.fail(kind, f"fault {number}")

    assert [record.message for record in caplog.records] == ["disk_failures: fault 0", "dropped: fault 0"]
    assert counters.snapshot().last_failure == "fault 2"
    assert (counters.snapshot().disk_failures, counters.snapshot().dropped) == (3, 3)


def test_more_than_the_queue_holds_is_dropped_and_counted(tmp_path: Path) -> None:
    # The writer lets records gather for a minute, so it takes none of them here.
    client = Client(NOBODY, "nx_test", spool_dir=tmp_path, queue_records=5, linger_seconds=60)

    for _ in range(20):
        client.record("openai", 200)

    assert client.stats.dropped == 15
    assert len(spooled(client)) == 5
    client.close(1)


def test_loader_may_wait_for_room(tmp_path: Path) -> None:
    client = Client(NOBODY, "nx_test", spool_dir=tmp_path, queue_records=5, waits_when_full=True, linger_seconds=60)

    for _ in range(200):
        client.record("openai", 200)

    assert len(spooled(client)) == 200
    assert client.stats.dropped == 0
    client.close(1)


def test_closed_client_drops_and_counts(client: Client) -> None:
    client.close(1)

    client.record("openai", 200)
    client.recover()

    assert client.stats.dropped == 1
    assert client.close(1)
