"""When the demo's calls went through the gateway: what began then is recorded by the gateway, and is not told again.

A span is written before anything of it is called, some seconds ahead. So a demo that is killed leaves at most those seconds
without calls, and none twice.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

FILE = "demo-live.json"
_AHEAD = timedelta(seconds=10)
_KEPT = timedelta(days=60)


class Spans:
    """The spans that a data directory remembers, and the one that goes on."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        try:
            found = json.loads(self._path.read_bytes())
            self._known = [(datetime.fromisoformat(first), datetime.fromisoformat(last)) for first, last in found]
        except (OSError, ValueError, TypeError):
            self._known = []
        self._now: tuple[datetime, datetime] | None = None

    def has(self, at: datetime) -> bool:
        """Tell whether an instant lies in a span of before."""
        return any(first <= at < last for first, last in self._known)

    def goes_on(self, since: datetime, now: datetime) -> datetime:
        """Note that calls go through the gateway since an instant; returns until when that is sure to be remembered."""
        if self._now is None or now + _AHEAD / 2 > self._now[1]:
            self._now = since, now + _AHEAD
            self._write(now)
        return self._now[1]

    def ends(self, now: datetime) -> None:
        """Note that no call begins any more."""
        if self._now is not None:
            self._known.append((self._now[0], min(self._now[1], now)))
            self._now = None
            self._write(now)

    def _write(self, now: datetime) -> None:
        spans = [span for span in [*self._known, *([self._now] if self._now else [])] if span[1] > now - _KEPT]
        path = self._path.with_suffix(".new")
        path.write_text(json.dumps([[first.isoformat(), last.isoformat()] for first, last in spans]))
        path.replace(self._path)
