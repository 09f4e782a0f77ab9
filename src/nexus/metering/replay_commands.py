"""`nexus replay FILE`: sends recorded traffic."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from nexus.kit.errors import InvalidRequest
from nexus.metering import replay as sending
from nexus.metering.recordings import Format, Recording, open_recording
from nexus.platform.settings import Settings

_out = Console(highlight=False, soft_wrap=True)


def replay(
    file: Path,
    *,
    format: Format | None = None,  # noqa: A002  # the name of the option
    provider: str | None = None,
    model: str | None = None,
    rate: float | None = None,
    shift_to_now: Annotated[bool, Parameter(negative="")] = False,
    url: str | None = None,
    key: str | None = None,
    batch_size: int = 1000,
    concurrency: int = 4,
    give_up_after: float = 120.0,
) -> int:
    """Send a recording: NDJSON of records, an Azure LLM trace (CSV), or an access log of Apache or nginx; gzip and zstd too.

    Sent again, shifted or not, the figures do not move: ids come from the file's content and the record's number.

    Parameters
    ----------
    file
        The recording.
    format
        Its form; told by its first lines unless given.
    provider
        Provider to record the calls under.
    model
        Model to price them as.
    rate
        Records a second; without it as fast as it goes.
    shift_to_now
        Move all times so that the last record is now.
    url
        Where Nexus is; this node's own unless given.
    key
        Access key; NEXUS_ACCESS_KEY or the first start's unless given.
    batch_size
        Records in one request.
    concurrency
        Requests at once.
    give_up_after
        Seconds for which a batch that Nexus does not take is tried again.
    """
    if rate is not None and rate <= 0:
        raise InvalidRequest("--rate: give a number above 0")
    if not 1 <= batch_size <= 10_000 or not 1 <= concurrency <= 64:
        raise InvalidRequest("--batch-size: 1 to 10000; --concurrency: 1 to 64")
    recording = open_recording(file, format=format, provider=provider, model=model)
    address, secret = _target(url, key)
    target = sending.Target(
        address,
        secret,
        batch_size=min(batch_size, max(1, int(rate))) if rate else batch_size,
        concurrency=concurrency,
        rate=rate,
        give_up_after_seconds=give_up_after,
    )
    total, shift = _survey(recording, shift_to_now)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"), TimeRemainingColumn(), console=_out, disable=not _out.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(f"{file.name} ({recording.format})", total=total, speed="")
        began = datetime.now(UTC)

        def show(state: sending.Progress) -> None:
            seconds = max((datetime.now(UTC) - began).total_seconds(), 0.001)
            done = state.acknowledged + state.refused + state.malformed
            bar.update(task, completed=done, speed=f"{state.acknowledged / seconds:,.0f}/s")

        done = asyncio.run(sending.replay(recording, target, shift=shift, on_progress=show))
    seconds = max((datetime.now(UTC) - began).total_seconds(), 0.001)
    _out.print(
        f"{done.acknowledged} acknowledged ({done.stored} new, {done.duplicates} known before, {done.spooled} spooled), "
        f"{done.refused} refused, {done.malformed} malformed, in {seconds:.1f} s ({done.acknowledged / seconds:,.0f}/s)",
        markup=False,
    )
    for line in done.told:
        _out.print(f"  {line}", markup=False)
    untold = done.refused + done.malformed - len(done.told)
    if untold:
        _out.print(f"  and {untold} more", markup=False)
    return 1 if done.refused or done.malformed else 0


def _survey(recording: Recording, shift_to_now: bool) -> tuple[int, timedelta]:
    total, last = 0, None
    for line in recording:
        total += 1
        if line.at is not None and (last is None or line.at > last):
            last = line.at
    shift = datetime.now(UTC) - last if shift_to_now and last is not None else timedelta()
    return total, shift


class _FirstStart(msgspec.Struct):
    access_key: str


def _target(url: str | None, key: str | None) -> tuple[str, str]:
    settings = Settings.from_environment()
    key = key or os.environ.get("NEXUS_ACCESS_KEY") or settings.bootstrap_key
    try:
        first = msgspec.json.decode((settings.data_dir / "first-start.json").read_bytes(), type=_FirstStart)
    except (OSError, msgspec.DecodeError):
        first = None
    key = key or (first.access_key if first else None)
    if key is None:
        raise InvalidRequest(
            f"no access key: give --key or NEXUS_ACCESS_KEY (there is no first-start.json in {settings.data_dir})"
        )
    return (url or settings.url).rstrip("/"), key
