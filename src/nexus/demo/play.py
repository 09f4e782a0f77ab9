"""The demo's course: sign in, make what is missing, fill the days before, tell who can look at it, go on until told to stop."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from nexus.demo import limiting, sending, traffic
from nexus.demo.calling import Caller
from nexus.demo.setting_up import PLAYGROUND, STORE, TRAINEES, Api, NotSetUpError, Ready, set_up
from nexus.demo.spans import Spans
from nexus.demo.traffic import Amount
from nexus.demo.world import COMPANIES

_out = Console(highlight=False, soft_wrap=True)


def play(url: str, sandbox_url: str, folder: Path, amount: Amount, stopping: threading.Event) -> None:
    """Play the demo against a Nexus that is up, until `stopping` is set. `NotSetUpError` says why it cannot begin,
    `OSError` why it cannot begin now.

    `folder` is Nexus's data directory: it holds the administrator's sign-in, and the demo's keys and spool. At
    `sandbox_url` the sandbox answers, to which Nexus's gateway sends the demo's calls, and those of people who try it.
    """
    _out.print(f"\nThe demo fills the {amount.days} days before now …", markup=False)
    email, password = _sign_in(folder)
    api = Api(url)
    api.sign_in(email, password)
    ready = set_up(api, folder, sandbox_url)
    spans = Spans(folder)
    with sending.senders(url, ready, folder / "demo-spool") as senders, Caller(url) as caller:
        now = datetime.now(UTC)
        _fill(senders, ready, now, spans, amount)
        sending.open_with_some(senders, ready, now, caller)
        keys = ready.secrets.keys
        limiting.limit(api, keys, stopping.is_set)
        limiting.try_too_much(url, keys[f"{COMPANIES[0].slug}/{TRAINEES}"])
        store = limiting.Store(url, keys[f"{COMPANIES[0].slug}/{STORE}"])
        _tell(url, ready, email, password)
        for _ in sending.live(senders, ready, now, stopping, caller, spans, volume=amount.volume):
            store.go_on()


def _sign_in(folder: Path) -> tuple[str, str]:
    try:
        first = json.loads((folder / "first-start.json").read_bytes())
        return first["admin_email"], first["admin_password"]
    except (OSError, ValueError, KeyError):
        email, password = os.environ.get("NEXUS_ADMIN_EMAIL"), os.environ.get("NEXUS_ADMIN_PASSWORD")
        if email and password:
            return email, password
        raise NotSetUpError(
            f"there is no {folder / 'first-start.json'}: set NEXUS_ADMIN_EMAIL and NEXUS_ADMIN_PASSWORD to sign in with"
        ) from None


def _fill(senders: list[sending.Sender], ready: Ready, until: datetime, spans: Spans, amount: Amount) -> None:
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]:,} calls"), TimeRemainingColumn(),
        console=_out, disable=not _out.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(f"the last {amount.days} days", total=None, count=0)
        state = sending.Progress()
        for state in sending.back_fill(senders, ready, until, spans, volume=amount.volume, days=amount.days):
            bar.update(task, total=state.hours, completed=state.hours_done, count=state.calls)
    counts = [sender.client.stats for sender in senders]
    known = sum(stats.duplicates for stats in counts)
    _out.print(
        f"{state.calls:,} calls of the last {amount.days} days in {state.seconds:.0f} s; "
        f"{sum(stats.sent for stats in counts) - known:,} new, {known:,} known before",
        markup=False,
    )
    for name in state.unsent:
        _out.print(f"not sent yet, and tried again: {name}", markup=False)


def _tell(url: str, ready: Ready, email: str, password: str) -> None:
    down_from, down_until = traffic.outage(ready.began_on)
    outage = f"{down_from:%Y-%m-%d}, {down_from:%H:%M} to {down_until:%H:%M} UTC"
    lines = [
        "",
        "Sign in as",
        f"  {email}   {password}   (administrator of everything)",
    ]
    for company in COMPANIES:
        lines += [
            f"  {person.email}   {ready.secrets.passwords[person.email]}   ({company.name}, {person.role})"
            for person in company.people
            if person.email in ready.secrets.passwords
        ]
    lines += [
        "",
        "Look at",
        f"  {url}/        choose Acme Robotics or Globex Travel at the top, and the last 30 days",
        f"  {url}/calls   what comes in now through the gateway: attempts, errors, tokens",
        f"  {url}/limits  what Acme Robotics' backups take of their limits, and what is refused",
        f"  {url}/budgets one near its amount, one over it",
        f"  {url}/explore how fast programs answer and what waits; {url}/storage what disks do",
        f"  {url}/docs    the HTTP API",
        f"  {traffic.OUTAGE_PROVIDER} was down on {outage}: others stepped in",
        "",
        "Call the sandbox through the gateway; it answers as OpenAI and Anthropic do",
        f"  curl {url}/gw/openai/v1/chat/completions -H 'content-type: application/json' \\",
        f"    -H 'authorization: Bearer {ready.secrets.keys[f'{COMPANIES[0].slug}/{PLAYGROUND}']}' \\",
        """    -d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}'""",
        "",
        "New calls keep coming. Ctrl-C stops it.",
    ]
    for line in lines:
        _out.print(line, markup=False)
