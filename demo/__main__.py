"""`python -m demo`: start Nexus, fill it with a month of traffic, and go on until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from demo import sending, traffic
from demo.setting_up import Api, NotSetUpError, Ready, set_up
from demo.world import COMPANIES

_out = Console(highlight=False, soft_wrap=True)
_START_SECONDS = 300


class Node:
    """`nexus up` as a child of ours."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        environment = {**os.environ, "NEXUS_DATA_DIR": str(folder), "NEXUS_PORT": str(port), "NEXUS_HOST": "127.0.0.1"}
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        self.log = folder / "demo-nexus.log"
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C comes to us, and we stop it when the clients are closed.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nexus", "up"],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait_ready(self, stopping: threading.Event) -> None:
        """Wait until it takes records. `NotSetUpError` when it ends instead."""
        deadline = time.monotonic() + _START_SECONDS
        while not stopping.is_set():
            if self._process.poll() is not None:
                last = self.log.read_text(errors="replace").strip().splitlines()[-3:]
                raise NotSetUpError("nexus up ended: " + " | ".join(last))
            try:
                with urllib.request.urlopen(f"{self.url}/health/ready", timeout=2) as answer:  # noqa: S310
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                pass
            if time.monotonic() > deadline:
                raise NotSetUpError(f"Nexus did not become ready in {_START_SECONDS} s: see {self.log}")
            stopping.wait(0.2)

    def has_ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """Stop it cleanly."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(90)
            except subprocess.TimeoutExpired:
                self._process.kill()


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


def _tell(url: str, ready: Ready, email: str, password: str) -> None:
    down_from, down_until = traffic.outage(ready.began_on)
    outage = f"{down_from:%Y-%m-%d}, {down_from:%H:%M} to {down_until:%H:%M} UTC"
    lines = [
        "",
        f"Nexus is up: {url}",
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
        f"  {url}/calls   what comes in now, each call with its errors and tokens",
        f"  {url}/docs    the HTTP API",
        f"  {traffic.OUTAGE_PROVIDER} was down on {outage}: others stepped in",
        "",
    ]
    for line in lines:
        _out.print(line, markup=False)


def _fill(senders: list[sending.Sender], ready: Ready, until: datetime, arguments: argparse.Namespace) -> None:
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]:,} calls"), TimeRemainingColumn(),
        console=_out, disable=not _out.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(f"the last {arguments.days} days", total=None, count=0)
        state = sending.Progress()
        for state in sending.back_fill(senders, ready, until, volume=arguments.volume, days=arguments.days):
            bar.update(task, total=state.hours, completed=state.hours_done, count=state.calls)
    counts = [sender.client.stats for sender in senders]
    known = sum(stats.duplicates for stats in counts)
    _out.print(
        f"{state.calls:,} calls of the last {arguments.days} days in {state.seconds:.0f} s; "
        f"{sum(stats.sent for stats in counts) - known:,} new, {known:,} known before",
        markup=False,
    )
    for name in state.unsent:
        _out.print(f"not sent yet, and tried again: {name}", markup=False)


def run(arguments: argparse.Namespace, stopping: threading.Event) -> int:
    """Run the demo to its end."""
    folder = Path(arguments.data_dir).expanduser().resolve()
    _out.print(f"starting Nexus in {folder} …", markup=False)
    node = Node(folder, arguments.port)
    try:
        node.wait_ready(stopping)
        if stopping.is_set():
            return 0
        email, password = _sign_in(folder)
        api = Api(node.url)
        api.sign_in(email, password)
        ready = set_up(api, folder)
        with sending.senders(node.url, ready, folder / "demo-spool") as senders:
            now = datetime.now(UTC)
            _fill(senders, ready, now, arguments)
            _tell(node.url, ready, email, password)
            if arguments.no_live:
                return 0
            _out.print("New calls keep coming. Ctrl-C stops it.", markup=False)
            for _ in sending.live(senders, ready, now, stopping, volume=arguments.volume):
                if node.has_ended():
                    raise NotSetUpError(f"nexus up ended: see {node.log}")
        return 0
    except KeyboardInterrupt:
        return 0
    except NotSetUpError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        return 1
    finally:
        _out.print("stopping …")
        node.stop()


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    home = os.environ.get("NEXUS_DATA_DIR") or "~/.local/share/nexus-demo"
    parser.add_argument("--data-dir", default=home, help="folder of the demo; NEXUS_DATA_DIR, else %(default)s")
    parser.add_argument("--port", type=int, default=int(os.environ.get("NEXUS_PORT", "8420")))
    parser.add_argument("--days", type=int, default=traffic.DAYS, help="days to fill")
    parser.add_argument("--volume", type=float, default=1.0, help="how much traffic, 1 being about 4,500 calls a day")
    parser.add_argument("--no-live", action="store_true", help="stop when the days are filled")
    arguments = parser.parse_args()
    stopping = threading.Event()

    def stop(*_: object) -> None:
        # The first one interrupts whatever is waited for; during the stop that follows more of them change nothing.
        if not stopping.is_set():
            stopping.set()
            raise KeyboardInterrupt

    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, stop)
    sys.exit(run(arguments, stopping))


if __name__ == "__main__":
    main()
