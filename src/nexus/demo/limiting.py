"""What the demo's organizations limit: quotas, rates, a loan, budgets; and a program that asks before it reads and writes.

The calls of the story stay as they are: what is refused is asked for by programs of this module alone, or larger than a limit
will ever allow. Made once; started again, it makes what is missing.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal
from typing import Any

from nexus.demo.setting_up import STORE, TRAINEES, Api
from nexus.demo.world import ACME, COMPANIES, GLOBEX, Company

ARCHIVE = "photo-archive"
CLUSTER = "ceph-berlin"
_KNOWN_SECONDS = 20.0
_EVERY_SECONDS = 3.0
_OPERATIONS = (
    ("read_small", 4_096, 6),
    ("read_large", 2_000_000, 2),
    ("write_small", 8_192, 3),
    ("write_large", 6_000_000, 2),
)
"""What the store does: the operation, about how many bytes, how often."""
_IOPS = {"name": "iops", "dimension": "operations", "rate": "5", "burst": "9", "burst_seconds": 60, "reserve": "20"}
_BANDWIDTH = {"name": "bandwidth", "dimension": "bytes", "rate": "20000000", "capacity": "400000000"}
_BACKUPS = {"name": "full-backups", "dimension": "requests", "rate": "30", "per": "hour"}
_FLIGHT = {"name": "in-flight", "dimension": "concurrency", "method": "concurrency", "amount": "40"}

_QUOTAS: dict[str, list[dict[str, Any]]] = {
    ACME.slug: [
        {
            "name": "storage", "scope": "application", "subject": STORE, "reason": "what the cluster gives the backups",
            "limits": [{**_IOPS, "rate": "4", "burst": "8"}, _BANDWIDTH],
        },
        {
            "name": "archive", "scope": "application", "subject": ARCHIVE, "reason": "what the cluster gives the archive",
            "limits": [{"name": "archive-iops", "dimension": "operations", "rate": "20"}],
        },
        {
            "name": "trainees", "scope": "application", "subject": TRAINEES, "reason": "to try, not to build on",
            "limits": [
                {"name": "daily-tokens", "dimension": "tokens", "method": "fixed_window", "amount": "500", "period": "day"}
            ],
        },
        {
            "name": "company", "scope": "organization", "reason": "to see how near we come before it holds",
            "limits": [
                {
                    "name": "monthly-tokens", "dimension": "tokens", "method": "fixed_window", "amount": "2000000000",
                    "period": "month", "zone": ACME.reporting_zone, "shadow": True,
                }
            ],
        },
    ],
    GLOBEX.slug: [
        {
            "name": "planner", "scope": "application", "subject": "trip-planner", "reason": "what the season was planned with",
            "limits": [{"name": "tokens", "dimension": "tokens", "rate": "400000", "per": "minute"}],
        }
    ],
}  # fmt: skip


def limit(api: Api, keys: dict[str, str], stopping: Callable[[], bool]) -> None:
    """Make what is limited, and let a program run into it; once the days before are stored, as budgets tell what was spent."""
    for company in COMPANIES:
        _quotas(api, company)
        _budgets(api, company)
    _cluster(api)
    _rates(api)
    store = Store(api.url, keys[f"{ACME.slug}/{STORE}"])
    until = time.monotonic() + _KNOWN_SECONDS
    while not store.ask(30) and time.monotonic() < until and not stopping():
        time.sleep(0.25)
    if not _all(api, ACME, "/api/admission/loans"):
        store.back_up(28)
        _loan(api)


def _all(api: Api, company: Company, path: str) -> list[dict[str, Any]]:
    found = api.call("GET", path, organization=company.slug)
    items: list[dict[str, Any]] = found["items"] if isinstance(found, dict) else found
    return items


def _quotas(api: Api, company: Company) -> None:
    there = {item["name"] for item in _all(api, company, "/api/admission/quotas")}
    for quota in _QUOTAS[company.slug]:
        if quota["name"] in there:
            continue
        made = api.call("POST", "/api/admission/quotas", quota, organization=company.slug)
        if quota["name"] == "storage":
            # A history: what it was first, and what it is now.
            version = {"limits": [_IOPS, _BANDWIDTH, _FLIGHT, _BACKUPS], "reason": "two more disks in the cluster"}
            api.call("POST", f"/api/admission/quotas/{made['id']}/versions", version, organization=company.slug)


def _cluster(api: Api) -> None:
    if _all(api, ACME, "/api/admission/clusters"):
        return
    cluster = {"name": CLUSTER, "region": "eu-central", "max_capacity": 50_000}
    cluster_id = api.call("POST", "/api/admission/clusters", cluster, organization=ACME.slug)["id"]
    made = {
        name: api.call(
            "POST", "/api/admission/applications", {"name": name, "cluster_id": cluster_id}, organization=ACME.slug
        )["id"]
        for name in (STORE, ARCHIVE)
    }
    snapshot = {"name": "snapshot", "category": "backup", "c_base": "3", "description": "freeze a volume, and copy it"}
    api.call("POST", "/api/admission/operation-types", snapshot, organization=ACME.slug)
    rule = {"application_id": made[STORE], "operation": "read_small", "c_base": "0.5"}
    api.call("POST", "/api/admission/cost-rules", rule, organization=ACME.slug)
    borrows = {"name": "backups-borrow", "lends_from": "own_future", "application_id": made[STORE]}
    api.call("POST", "/api/admission/borrowing-rules", borrows, organization=ACME.slug)


def _rates(api: Api) -> None:
    for company, provider, requests, tokens in (
        (ACME, "openai", 5_000, 2_000_000),
        (ACME, "anthropic", 4_000, 800_000),
        (GLOBEX, "google", 2_000, 4_000_000),
    ):
        rates = {"requests_per_minute": requests, "tokens_per_minute": tokens, "reason": "the account's tier"}
        api.call("PUT", f"/api/admission/provider-limits/{provider}", rates, organization=company.slug)


def _loan(api: Api) -> None:
    """Let the backups borrow from their own future."""
    for party in _all(api, ACME, "/api/admission/loans/parties"):
        if party["limit"] == _BACKUPS["name"]:
            wanted = {"borrower": party["bucket"], "units": 10, "reason": "the weekly backup of everything"}
            api.call("POST", "/api/admission/loans", wanted, organization=ACME.slug)
            return


def _budgets(api: Api, company: Company) -> None:
    if _all(api, company, "/api/costs/budgets"):
        return
    near, over = ("support-assistant", "code-review") if company is ACME else ("trip-planner", "newsletter")
    spent = _spent(api, company)
    for name, subject, share, reason in (
        ("everything", None, "0.62", "what finance planned for the month"),
        (near, near, "0.93", "agreed with the team"),
        (over, over, "1.12", "as much as last month"),
    ):
        of = sum(spent.values(), Decimal(0)) if subject is None else spent.get(subject, Decimal(0))
        budget: dict[str, Any] = {"name": name, "amount": _amount(of / Decimal(share)), "reason": reason}
        if subject is not None:
            budget |= {"scope": "application", "subject": subject}
        api.call("POST", "/api/costs/budgets", budget, organization=company.slug)
    # One that refuses calls before they are made; nobody comes near it.
    trial = {"name": "trainees", "amount": "5", "period": "day", "pauses": True, "reason": "to try, not to build on"}
    trial |= {"scope": "application", "subject": TRAINEES}
    api.call("POST", "/api/costs/budgets", trial, organization=company.slug)


def _spent(api: Api, company: Company) -> dict[str, Decimal]:
    """Return what each application has spent this month."""
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found = api.call(
        "GET", "/api/metering/summary", organization=company.slug, group_by="application", metrics="requests,cost",
        **{"from": month.isoformat(), "to": datetime.now(UTC).isoformat()},
    )  # fmt: skip
    return {item["application"] or "": Decimal(item["cost"] or 0) for item in found["groups"]}


def _amount(exact: Decimal) -> str:
    """Return an amount that somebody might have written, never nothing."""
    step = Decimal(1) if exact > 20 else Decimal("0.1") if exact > 2 else Decimal("0.01")
    return str(max(exact, Decimal("0.01")).quantize(step, ROUND_UP))


class Store:
    """A program that asks whether it may read and write, and settles what it held: now and then more than it may."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self._chance = random.Random(7)  # noqa: S311 - a story, no secret
        self._next_at = 0.0
        self._held: list[str] = []

    def go_on(self) -> None:
        """Ask for what a few seconds bring, once they are over; quietly nothing while Nexus cannot answer."""
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + _EVERY_SECONDS
            self.ask(self._chance.choice((2, 4, 6, 24)))

    def ask(self, count: int) -> bool:
        """Ask for so many operations, and end those that were held before; False where no limit was met, or nobody answered."""
        questions: list[dict[str, Any]] = []
        for name, usual, _ in self._chance.choices(_OPERATIONS, [weight for _, _, weight in _OPERATIONS], k=count):
            size = int(usual * self._chance.uniform(0.5, 1.5))
            # Requests are whole backups here.
            questions.append({"operation": name, "size_bytes": size, "requests": 0, "hold_seconds": 30})
        try:
            if self._held:
                self._post("/v1/settle", [{"hold_id": hold_id} for hold_id in self._held])
            answers = self._post("/v1/admit", questions)
        except (OSError, ValueError):
            self._held = []
            return False
        self._held = [item["hold_id"] for item in answers if item["admitted"] and item["hold_id"]]
        return any(item["limits"] for item in answers)

    def back_up(self, count: int) -> None:
        """Ask for so many whole backups."""
        with contextlib.suppress(OSError, ValueError):
            self._post("/v1/admit", [{"requests": count}])

    def _post(self, path: str, body: object) -> list[dict[str, Any]]:
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        request = urllib.request.Request(f"{self._url}{path}", json.dumps(body).encode(), headers)  # noqa: S310 - our own Nexus
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            found: list[dict[str, Any]] = json.loads(answer.read())
            return found


def try_too_much(url: str, key: str) -> int:
    """Let a trainee ask for more than a day's tokens a few times; returns how many were refused. No provider is asked."""
    refused = 0
    body = {"model": "gpt-4o-mini", "max_tokens": 4_000, "messages": [{"role": "user", "content": "Write a novel."}]}
    for _ in range(3):
        request = urllib.request.Request(  # noqa: S310 - our own Nexus
            f"{url}/gw/openai/v1/chat/completions", json.dumps(body).encode(),
            {"authorization": f"Bearer {key}", "content-type": "application/json"},
        )  # fmt: skip
        try:
            urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            refused += error.code == 429
        except OSError:
            continue
    return refused
