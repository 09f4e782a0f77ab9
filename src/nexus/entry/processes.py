"""The kinds of process of ours: web (serves both planes), worker (background work), and the demo's: sandbox and demo."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable

import structlog
import uvloop
from rich.console import Console

from nexus.entry import lifeline
from nexus.platform.settings import Settings
from nexus.platform.telemetry import configure_logging

_log = structlog.get_logger("nexus.process")
_DRAIN_SECONDS = 10
_COLLECTOR_THRESHOLDS = (25_000, 20, 20)
SANDBOX_HOST = "127.0.0.1"
"""Where the demo's sandbox listens: nobody else is to call it."""


def run_web() -> None:
    """Serve until told to stop. Several such processes share the port (SO_REUSEPORT)."""
    settings = Settings.from_environment()
    configure_logging(settings, role="web")
    raise_open_files()
    uvloop.run(_web(settings))


def run_worker() -> None:
    """Do background work until told to stop."""
    settings = Settings.from_environment()
    configure_logging(settings, role="worker")
    raise_open_files()
    uvloop.run(_worker(settings))


def raise_open_files() -> int:
    """Let this process open as many files as its hard limit allows; returns how many.

    Each connection is one. The usual soft limit, 1,024, is there for programs of old that cannot count further.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        _log.warning("the limit of open files stays as it is", limit=soft, error=str(error))
        return soft
    return hard


def _spare_the_collector() -> None:
    """Let the garbage collector look at what requests leave behind, and seldom: not at what stays for the process's life.

    Left as it is it walks all modules and tables again and again. Cycles are few here: reference counting frees nearly
    everything at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)


def _on_stop(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop)
    lifeline.watch(loop, stop)


async def _web(settings: Settings) -> None:
    from nexus.entry.api import Application
    from nexus.platform.web.server import HttpServer

    application = Application(settings)
    await application.start()
    _spare_the_collector()
    server = HttpServer(application, host=settings.host, port=settings.port, is_shared=True, websockets=True)
    stopping = asyncio.Event()
    _on_stop(stopping.set)
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(stopping.wait())
    _log.info("serving", url=settings.url)
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    ended_by_itself = serving.done()
    application.end_streams()
    server.stop()
    with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
        await asyncio.wait_for(serving, _DRAIN_SECONDS)
    waiting.cancel()
    await application.stop()
    if ended_by_itself:
        _log.error("the server ended without being told to")
        sys.exit(1)


async def _worker(settings: Settings) -> None:
    from nexus.entry.worker import Worker

    worker = Worker(settings)
    stopping = asyncio.Event()
    _on_stop(stopping.set)
    await worker.start()
    _spare_the_collector()
    _log.info("working")
    await stopping.wait()
    await worker.stop()


def sandbox_url(port: int) -> str:
    """Return the address of the demo's sandbox."""
    return f"http://{SANDBOX_HOST}:{port}"


def run_demo() -> None:
    """Play the demo until told to stop; its amount of days, its volume and the sandbox's port stand on the command line.

    Where it cannot begin it says why and ends with code 0: starting it again would not help. Where Nexus does not answer
    just now, it would: code 1.
    """
    from nexus.demo.play import play
    from nexus.demo.setting_up import NotSetUpError
    from nexus.demo.traffic import Amount

    settings = Settings.from_environment()
    configure_logging(settings, role="demo")
    stopping = threading.Event()

    def stop(*_: object) -> None:
        # Interrupts whatever is waited for, but not the giving up that follows.
        if not stopping.is_set():
            stopping.set()
            raise KeyboardInterrupt

    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, stop)
    lifeline.watch_in_thread(lambda: os.kill(os.getpid(), signal.SIGTERM))
    with contextlib.suppress(KeyboardInterrupt):
        try:
            amount = Amount(int(sys.argv[2]), float(sys.argv[3]))
            play(settings.local_url, sandbox_url(int(sys.argv[4])), settings.data_dir, amount, stopping)
        except NotSetUpError as error:
            Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: the demo: {error}", markup=False)
        except OSError as error:
            _log.warning("the demo cannot begin yet", error=str(error))
            sys.exit(1)


def run_sandbox() -> None:
    """Serve the demo's sandbox, on the port that stands on the command line, until told to stop."""
    from nexus.sandbox.app import serve

    lifeline.watch_in_thread(lambda: os.kill(os.getpid(), signal.SIGTERM))
    uvloop.run(serve(SANDBOX_HOST, int(sys.argv[2])))


PROCESSES: dict[str, Callable[[], None]] = {
    "web": run_web,
    "worker": run_worker,
    "sandbox": run_sandbox,
    "demo": run_demo,
}


def main() -> None:
    """Run the process named on the command line: how the supervisor starts its children."""
    PROCESSES[sys.argv[1]]()


if __name__ == "__main__":
    main()
