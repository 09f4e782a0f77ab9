"""The demo tells one story: the figures in Nexus are those of its calls, however often it is started."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from nexus.demo import sending
from nexus.demo.calling import Caller
from nexus.demo.requests import COURSES, can_be_sent, is_of, request_of
from nexus.demo.setting_up import PROGRAMS, SANDBOXED, Api, Ready, Secrets
from nexus.demo.spans import Spans
from nexus.demo.traffic import OUTAGE_PROVIDER, Call, calls, hours, outage
from nexus.demo.world import COMPANIES, Company
from nexus.entry.cli import apart
from nexus.entry.supervisor import read_processes
from nexus.kit.ids import uuid7_time
from nexus.platform.settings import Settings
from tests.races.node import ROOT, free_port

DAYS = 11
VOLUME = 0.04
BEGAN_ON = datetime(2026, 3, 12, tzinfo=UTC)


def story(company: Company, start: datetime, end: datetime, began_on: datetime, volume: float = VOLUME) -> list[Call]:
    """Every call of an organization that began in a range."""
    return [
        call
        for application in company.applications
        for hour in hours(start - timedelta(hours=1), end)
        for call in calls(company, application, hour, began_on, volume=volume)
        if start <= call.began_at < end
    ]


def test_a_call_s_id_tells_when_it_began() -> None:
    hour = datetime(2026, 3, 3, 14, tzinfo=UTC)

    for call in story(COMPANIES[0], hour, hour + timedelta(hours=1), BEGAN_ON, 1.0):
        at = uuid7_time(UUID(call.record["id"]))
        assert at is not None and timedelta() <= call.began_at - at < timedelta(milliseconds=1)


def test_same_hour_always_has_the_same_calls() -> None:
    for company in COMPANIES:
        hour = datetime(2026, 3, 3, 14, tzinfo=UTC)
        first = story(company, hour, hour + timedelta(hours=1), BEGAN_ON, 1.0)

        assert first
        assert first == story(company, hour, hour + timedelta(hours=1), BEGAN_ON, 1.0)
        assert len({call.record["id"] for call in first}) == len(first)


def test_outage_is_seen_and_others_step_in() -> None:
    down_from, down_until = outage(BEGAN_ON)
    others: Counter[str] = Counter()

    for company in COMPANIES:
        for span, is_down in ((timedelta(), True), (timedelta(days=7), False)):
            found = [
                call.record
                for call in story(company, down_from + span, down_until + span, BEGAN_ON, 3.0)
                if call.record["provider"] == OUTAGE_PROVIDER
            ]
            failed = sum(record["status_code"] in {0, 503, 529} for record in found) / len(found)
            assert (failed > 0.75) == is_down
        others.update(
            call.record["provider"]
            for call in story(company, down_from, down_until, BEGAN_ON, 3.0)
            if call.record["status_code"] == 200
        )
    assert others.keys() >= {"openai", "google"}


def test_days_have_a_rhythm() -> None:
    support, acme = COMPANIES[0].applications[1], COMPANIES[0]
    monday = datetime(2026, 3, 2, tzinfo=UTC)

    def count(day: datetime, hour: int) -> int:
        return len(calls(acme, support, day + timedelta(hours=hour), BEGAN_ON, volume=20))

    assert count(monday, 9) > 5 * count(monday, 1)
    assert count(monday, 9) > 3 * count(monday - timedelta(days=1), 9)


def test_demo_has_a_folder_of_its_own_unless_one_is_chosen() -> None:
    chosen = {"NEXUS_DATA_DIR": "/somewhere/nexus"}

    assert apart(Settings.from_environment({}), {}).data_dir.name == "nexus-demo"
    assert apart(Settings.from_environment(chosen), chosen).data_dir == Path("/somewhere/nexus")


def test_demo_that_cannot_sign_in_says_so_and_is_not_tried_again(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}

    done = subprocess.run(
        [sys.executable, "-m", "nexus.entry.processes", "demo", "1", "1", "9"],
        cwd=ROOT, env={**environment, "NEXUS_DATA_DIR": str(tmp_path)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    # Code 0: the supervisor starts again whatever ends with another one.
    assert done.returncode == 0
    assert done.stderr == (
        f"error: the demo: there is no {tmp_path / 'first-start.json'}: set NEXUS_ADMIN_EMAIL and "
        "NEXUS_ADMIN_PASSWORD to sign in with\n"
    )


def test_demo_that_finds_nobody_who_answers_is_to_be_started_again(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    environment |= {"NEXUS_ADMIN_EMAIL": "root@acme.example", "NEXUS_ADMIN_PASSWORD": "correct horse battery staple"}

    done = subprocess.run(
        [sys.executable, "-m", "nexus.entry.processes", "demo", "1", "1", "9"],
        cwd=ROOT, env={**environment, "NEXUS_DATA_DIR": str(tmp_path), "NEXUS_PORT": str(free_port())},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_live_calls_no_provider_is_played_for_are_told_when_they_end(tmp_path: Path) -> None:
    keys = {f"{company.slug}/{item.name}": "nx_test" for company in COMPANIES for item in company.applications}
    since = datetime.now(UTC)
    began_on = since.replace(hour=0, minute=0, second=0, microsecond=0)
    ready = Ready(Secrets(keys=keys), began_on, {})
    stopping = threading.Event()

    # Nobody takes them here, so they can be read in the spool.
    nobody = "http://127.0.0.1:9"
    with sending.senders(nobody, ready, tmp_path) as senders, Caller(nobody) as caller:
        for _ in sending.live(senders, ready, since, stopping, caller, Spans(tmp_path), volume=300):
            # Tool calls and errors are among them, and are left out below.
            if sum(sender.client.stats.recorded for sender in senders) >= 40 and caller.ends["failed"]:
                stopping.set()
    until = datetime.now(UTC)

    sent = {
        record["id"]
        for path in tmp_path.glob("*/*/*.ndjson")
        for record in map(json.loads, path.read_bytes().splitlines())
        # Tool calls and errors are told too, and are no calls of providers.
        if "type" not in record
    }
    told = {
        call.record["id"]: call.ended_at
        for company in COMPANIES
        for call in story(company, since - timedelta(hours=1), until, began_on, 300)
        if not (can_be_sent(call) and call.began_at >= since)
    }
    assert len(sent) >= 20
    assert all(since <= told[name] <= until for name in sent)
    assert caller.ends["failed"] > 0


def test_what_began_while_the_gateway_was_called_is_not_told_again(tmp_path: Path) -> None:
    since = datetime(2026, 3, 3, 14, tzinfo=UTC)
    spans = Spans(tmp_path)
    sure_until = spans.goes_on(since, since + timedelta(seconds=2))

    # Killed: what is remembered lies ahead of what was called.
    after_a_kill = Spans(tmp_path)
    spans.ends(since + timedelta(seconds=3))
    after_an_end = Spans(tmp_path)

    assert sure_until > since + timedelta(seconds=2)
    assert after_a_kill.has(since) and after_a_kill.has(sure_until - timedelta(microseconds=1))
    assert not after_a_kill.has(sure_until) and not after_a_kill.has(since - timedelta(microseconds=1))
    assert after_an_end.has(since) and not after_an_end.has(since + timedelta(seconds=3))


def test_every_course_has_its_request() -> None:
    acme, globex = COMPANIES
    hour = datetime(2026, 3, 3, 14, tzinfo=UTC)
    paths = set()

    for company, application in ((acme, acme.applications[0]), (globex, globex.applications[0])):
        found = [call for call in calls(company, application, hour, BEGAN_ON, volume=50) if can_be_sent(call)]
        assert {call.record["provider"] for call in found} <= set(SANDBOXED)
        for kind in COURSES:
            call = next(call for call in found if is_of(application, call, kind))
            request = request_of(application, call, kind=kind)
            body = json.loads(request.body)
            paths.add(request.path.split("?")[0])

            assert request == request_of(application, call, kind=kind)
            assert (request.leaves_after_bytes is not None) >= (kind == "left")
            assert ("x-sandbox-status-of" in request.headers) == (kind == "fallback")
            assert request.headers.get("x-sandbox-status") == {"refused": "429", "failed": "500"}.get(kind)
            assert body.get("stream", False) or "stream" in request.path or kind not in {"streamed", "left"}
        for call in found:
            paths.add(request_of(application, call).path.split("?")[0])
    assert paths >= {
        "/gw/v1/chat/completions",
        "/gw/anthropic/v1/messages",
        "/gw/google/v1beta/models/gemini-2.5-flash:streamGenerateContent",
    }


def wait_for(condition: Callable[[], bool], what: str, *, within_seconds: float = 240) -> None:
    limit = time.monotonic() + within_seconds
    while not condition():
        assert time.monotonic() < limit, what
        time.sleep(0.1)


def said_by(folder: Path) -> str:
    return folder.with_suffix(".out").read_text()


def demo_pid(folder: Path) -> int | None:
    entries = read_processes(folder / "run" / "processes.json")
    return next((entry.pid for entry in entries if entry.role == "demo"), None)


def completion_tokens_of(said: str) -> int:
    """Make the call that the demo tells people to make."""
    command = re.search(r"curl .*?}'$", said.replace("\\\n", " "), re.DOTALL | re.MULTILINE)
    assert command is not None, said
    _, url, *options = shlex.split(command[0])
    headers = dict(value.split(": ", 1) for flag, value in pairwise(options) if flag == "-H")
    request = urllib.request.Request(url, options[-1].encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return int(json.load(answer)["usage"]["completion_tokens"])


@contextmanager
def running(folder: Path, port: int) -> Iterator[Api]:
    """A demo whose days are filled; an administrator is signed in."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
    environment |= {"NEXUS_DATA_DIR": str(folder), "NEXUS_PORT": str(port)}
    with folder.with_suffix(".out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "nexus", "up", "--demo", "--days", str(DAYS), "--volume", str(VOLUME)],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_for(lambda: "New calls keep coming" in said_by(folder) or process.poll() is not None, "days are filled")
        assert process.poll() is None, said_by(folder)
        api = Api(f"http://127.0.0.1:{port}")
        email, password = said_by(folder).partition("Sign in as")[2].split()[:2]
        api.sign_in(email, password)
        yield api
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, said_by(folder)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(120)


def missing(api: Api, company: Company, since: datetime) -> set[str]:
    """What is not to be seen yet of the calls through the gateway."""
    found = api.call(
        "GET", "/api/metering/calls", organization=company.slug, limit="200",
        **{"from": since.isoformat(), "to": "2099-01-01T00:00:00Z"},
    )["items"]  # fmt: skip
    sent = [(call, call["metadata"]["gateway"]) for call in found if "gateway" in (call["metadata"] or {})]
    credentials = api.call("GET", "/api/identity/provider-credentials", organization=company.slug)["items"]

    def limits(name: str) -> Any:
        return api.call("GET", f"/api/identity/provider-credentials/{name}/limits", organization=company.slug)

    seen = {
        "streamed": any(told.get("streamed") for _, told in sent),
        "not streamed": any(not told.get("streamed") and call["method"] == "POST" for call, told in sent),
        "a fallback": any(
            told.get("attempt", 1) > 1 and call["status_code"] == 200 and call["provider"] == "anthropic"
            for call, told in sent
        ),
        "its failed attempts": any(
            told.get("attempt", 1) == 1 and call["status_code"] in {429, 503} for call, told in sent
        ),
        "a rate limit": any(call["status_code"] == 429 for call, _ in sent),
        "an error": any(call["status_code"] == 500 for call, _ in sent),
        "a hang-up": any(told.get("client_left") for _, told in sent),
        "a price": any(call["status_code"] == 200 and call["cost"] and float(call["cost"]) > 0 for call, _ in sent),
        "limits learned": any(limits(item["id"])["limits"] for item in credentials),
    }
    return {what for what, is_seen in seen.items() if not is_seen}


def figures(api: Api, company: Company, start: datetime, end: datetime) -> dict[str, Any]:
    """What Nexus says of a range."""
    found = api.call(
        "GET", "/api/metering/summary", organization=company.slug, group_by="provider",
        **{"from": start.isoformat(), "to": end.isoformat()},
    )  # fmt: skip
    return {"total": found["total"], "providers": {item["provider"]: item["requests"] for item in found["groups"]}}


def unlimited(api: Api, company: Company) -> set[str]:
    """Return the pages of limits and budgets that have nothing to show yet."""

    def items(path: str, **query: str) -> list[dict[str, Any]]:
        found = api.call("GET", path, organization=company.slug, **query)
        return list(found["items"] if isinstance(found, dict) else found)

    found: dict[str, Any] = {
        "quotas": items("/api/admission/quotas"),
        "rates": items("/api/admission/provider-limits"),
        "budgets": items("/api/costs/budgets"),
    }
    if company is COMPANIES[0]:
        found |= {
            "buckets": items("/api/admission/buckets"),
            "refusals": items("/api/admission/refusals"),
            "loans": items("/api/admission/loans"),
            "cost rules": items("/api/admission/cost-rules"),
            "refused calls": items("/api/metering/calls", refused="true"),
            "trail": items("/api/admission/token-transactions"),
        }
    return {name for name, value in found.items() if not value}


@dataclass
class Told:
    """What Nexus says of the days that a demo has filled, and since when its story goes."""

    start: datetime
    end: datetime
    figures: dict[str, dict[str, Any]]


def assert_story(api: Api) -> Told:
    """Every figure is that of the story, and every page has something to show."""
    # What is younger may still be on its way, what is older may have ended before the first day.
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    told = Told(end - timedelta(days=DAYS - 1), end, {})
    made_at = [
        datetime.fromisoformat(api.call("GET", "/api/identity/organization", organization=company.slug)["created_at"])
        for company in COMPANIES
    ]
    began_on = min(made_at).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for company in COMPANIES:
        expected = story(company, told.start, end, began_on)
        told.figures[company.slug] = found = figures(api, company, told.start, end)

        records = [call.record for call in expected]
        total = found["total"]
        assert total["requests"] == len(records) > 100
        assert total["errors"] == sum(not 200 <= record["status_code"] < 400 for record in records) > 0
        assert total["tokens_input"] == sum(record.get("tokens", {}).get("input", 0) for record in records)
        assert total["unpriced"] == sum(record["provider"] == "self-hosted" for record in records)
        assert float(total["cost"]) > 0
        assert found["providers"] == Counter(record["provider"] for record in records)

        members = api.call("GET", "/api/identity/members", organization=company.slug)["items"]
        assert {member["email"] for member in members} >= {person.email for person in company.people}
        keys = api.call("GET", "/api/identity/access-keys", organization=company.slug)["items"]
        more = set(PROGRAMS) if company is COMPANIES[0] else set()
        assert {key["application"] for key in keys} == {item.name for item in company.applications} | more
        wait_for(lambda company=company: not unlimited(api, company), "every page of limits has something to show")
        wait_for(lambda company=company: not missing(api, company, end), "every course of a call is to be seen")
    return told


def assert_unchanged_when_killed(api: Api, folder: Path, told: Told) -> None:
    """A demo that is killed is started again, and makes nothing twice."""
    killed = demo_pid(folder)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: demo_pid(folder) not in {None, killed}, "the demo is started again")
    wait_for(lambda: said_by(folder).count("New calls keep coming") == 2, "it has filled what was missing")
    for company in COMPANIES:
        assert figures(api, company, told.start, told.end) == told.figures[company.slug]
        keys = api.call("GET", "/api/identity/access-keys", organization=company.slug)["items"]
        assert len(keys) == len(company.applications) + len(PROGRAMS) * (company is COMPANIES[0])
        credentials = api.call("GET", "/api/identity/provider-credentials", organization=company.slug)["items"]
        assert {item["provider"] for item in credentials} == set(SANDBOXED) and len(credentials) == len(SANDBOXED)
        aliases = api.call("GET", "/api/catalog/model-routes", organization=company.slug)["items"]
        assert len(aliases) == len(company.ways)
    assert completion_tokens_of(said_by(folder)) > 0
    person = COMPANIES[0].people[0].email
    api.sign_in(person, Secrets.read(folder).passwords[person])


def test_figures_are_those_of_the_story_and_stay_when_the_demo_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "demo"

    with running(folder, free_port()) as api:
        told = assert_story(api)
        assert (folder / "demo.json").stat().st_mode & 0o077 == 0
        assert_unchanged_when_killed(api, folder, told)
