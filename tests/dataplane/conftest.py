"""A real Redis of the test's own, to stop and kill."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_client

from nexus.platform.db.embedded import as_service_user, make_reachable, own
from nexus.platform.redis.embedded import redis_binary


class OwnRedis:
    """A Redis that the test may freeze, kill and start again, empty."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "redis.sock"
        self.folder = folder
        self.url = f"unix://{self.path}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                str(redis_binary()),
                "--port",
                "0",
                "--unixsocket",
                str(self.path),
                "--save",
                "",
                "--dir",
                str(self.folder),
            ],
            stdout=subprocess.DEVNULL,
            **as_service_user(),
        )
        client = redis_client.Redis(unix_socket_path=str(self.path))
        for _ in range(400):
            try:
                client.ping()
                break
            except redis_client.ConnectionError:
                time.sleep(0.02)
        client.close()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    """A running Redis of the test's own."""
    folder = tmp_path_factory.mktemp("own-redis")
    make_reachable(folder)
    own(folder)
    server = OwnRedis(folder)
    server.start()
    yield server
    server.kill()
