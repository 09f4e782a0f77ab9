"""`nexus up`: the first start and the second, how it ends, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from tests.entry.conftest import EMAIL, KEY, PASSWORD
from tests.races.node import Node, is_alive, until

MakeNode = Callable[..., Node]


async def sign_in(node: Node, email: str, password: str) -> int:
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{node.url}/api/identity/sign-in", json={"email": email, "password": password}) as answer,
    ):
        return answer.status


async def test_first_start_makes_what_it_shows_and_the_second_shows_nothing(make_node: MakeNode) -> None:
    node = make_node()
    loop = asyncio.get_running_loop()

    began = loop.time()
    node.start()
    await node.wait_ready()
    first_seconds = loop.time() - began
    made = node.first_start()
    file = node.data_dir / "first-start.json"
    shown = await until(
        lambda: "Ctrl-C" in node.output.read_text() and node.output.read_text(), "it says that it is up"
    )
    assert await sign_in(node, made["admin_email"], made["admin_password"]) == 200
    await node.ask("/api/metering/summary")
    assert await node.stop() == 0
    before = file.read_bytes()
    node.output.unlink()
    began = loop.time()
    node.start()
    await node.wait_ready()
    second_seconds = loop.time() - began
    shown_again = await until(
        lambda: "Ctrl-C" in node.output.read_text() and node.output.read_text(), "it says that it is up"
    )

    print(f"first start {first_seconds:.1f} s, second {second_seconds:.1f} s")
    assert set(made) == {"url", "admin_email", "admin_password", "access_key"}
    assert made["url"] == node.url
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert all(value in shown for value in made.values())
    assert node.url in shown_again
    assert not [name for name in ("admin_password", "access_key") if made[name] in shown_again]
    assert "first start" not in shown_again
    assert file.read_bytes() == before
    # What the first start made still opens the door.
    assert await sign_in(node, made["admin_email"], made["admin_password"]) == 200
    await node.ask("/api/metering/summary")


async def test_first_start_takes_what_was_chosen(running: Node) -> None:
    assert running.first_start() == {
        "url": running.url,
        "admin_email": EMAIL,
        "admin_password": PASSWORD,
        "access_key": KEY,
    }
    assert await sign_in(running, EMAIL, PASSWORD) == 200
    assert await sign_in(running, EMAIL, PASSWORD + "!") == 401
    await running.ask("/api/metering/summary")


async def test_secrets_are_readable_by_their_owner_only(running: Node) -> None:
    closed = ("secrets.json", "first-start.json", "log", "postgres", "redis")
    modes = {name: stat.S_IMODE((running.data_dir / name).stat().st_mode) for name in closed}

    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


async def test_it_is_stopped_cleanly(make_node: MakeNode, prepared: Path) -> None:
    node = make_node(prepared=prepared)
    for sign in (signal.SIGINT, signal.SIGTERM):
        # As in a terminal, where Ctrl-C reaches the whole group of processes.
        node.start(start_new_session=True)
        await node.wait_ready()
        assert node.process is not None
        pids = [entry.pid for entry in node.processes()]

        os.killpg(node.process.pid, sign)
        code = await asyncio.to_thread(node.process.wait, 60)

        assert code == 0
        assert len(pids) == 5  # supervisor, PostgreSQL, Redis, worker, web
        assert [pid for pid in pids if is_alive(pid)] == []
        assert not node.processes_file.exists()
        assert "stopped by force" not in node.log.read_text()
        assert "died" not in node.log.read_text()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", node.port)) != 0


async def test_it_can_be_stopped_while_it_starts(make_node: MakeNode) -> None:
    node = make_node()
    node.start()
    assert node.process is not None
    await until(lambda: node.pids("postgres"), "PostgreSQL is being started")
    pids = [entry.pid for entry in node.processes()]

    node.process.send_signal(signal.SIGINT)
    code = await asyncio.to_thread(node.process.wait, 60)

    assert code == 0
    assert [pid for pid in pids if is_alive(pid)] == []
    # What was half made is made whole by the next start.
    node.start()
    await node.wait_ready()
    assert await sign_in(node, node.first_start()["admin_email"], node.first_start()["admin_password"]) == 200


def test_port_that_is_taken_is_one_line(make_node: MakeNode) -> None:
    node = make_node()
    with socket.socket() as other:
        other.bind(("127.0.0.1", node.port))
        other.listen()

        done = node.command("up")

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: 127.0.0.1:{node.port} cannot be used (Address already in use): set NEXUS_PORT or NEXUS_HOST"
    ]
    assert not (node.data_dir / "postgres").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NEXUS_PORT", "eighty"),
        ("NEXUS_BOOTSTRAP_KEY", "nx_short"),
        ("NEXUS_DATABASE_URL", "mysql://localhost/nexus"),
    ],
)
def test_faulty_setting_is_one_line_that_names_it(make_node: MakeNode, name: str, value: str) -> None:
    node = make_node(**{name: value})

    done = node.command("up")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: {name}: ")
    assert not node.data_dir.exists()


def test_all_faulty_settings_are_named_at_once(make_node: MakeNode) -> None:
    done = make_node(NEXUS_PORT="x", NEXUS_LOG_LEVEL="loud").command("up")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "NEXUS_PORT: " in done.stderr and "NEXUS_LOG_LEVEL: " in done.stderr


def test_data_directory_that_cannot_be_made_is_one_line(make_node: MakeNode) -> None:
    node = make_node()
    node.data_dir.write_text("a file is in the way")

    done = node.command("up")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ") and str(node.data_dir) in done.stderr


def test_database_that_does_not_answer_is_one_line(make_node: MakeNode) -> None:
    node = make_node(NEXUS_ADMIN_URL="postgresql://nobody:secret-word@127.0.0.1:1/postgres")

    done = node.command("up")

    errors = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == 1
    assert len(errors) == 1 and errors[0].startswith("error: ")
    assert "secret-word" not in done.stderr + done.stdout


def test_second_one_on_the_same_data_is_refused_in_one_line(running: Node) -> None:
    done = running.command("up")

    assert running.process is not None
    assert done.returncode == 1
    assert done.stderr == (
        f"error: `nexus up` runs on {running.data_dir} already (process {running.process.pid}): "
        "stop it, or set another NEXUS_DATA_DIR and NEXUS_PORT\n"
    )
