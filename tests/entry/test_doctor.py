"""`nexus doctor`: what it finds, what it advises, and what its exit code says."""

from __future__ import annotations

import socket
from collections.abc import Callable

from nexus.platform.settings import SETTINGS
from tests.entry.conftest import KEY, PASSWORD
from tests.races.node import Node

MakeNode = Callable[..., Node]


def lines_of(output: str, mark: str) -> list[str]:
    return [line.removeprefix(mark).strip() for line in output.splitlines() if line.startswith(mark)]


def test_machine_on_which_nothing_runs_is_well(make_node: MakeNode) -> None:
    node = make_node()

    done = node.command("doctor")

    assert (done.returncode, done.stderr) == (0, "")
    assert lines_of(done.stdout, "wrong") == []
    assert lines_of(done.stdout, "note") == ["processes: Nexus does not run here"]
    assert "-> `nexus up` starts it" in done.stdout
    assert f"port: 127.0.0.1:{node.port} is free" in lines_of(done.stdout, "ok")
    # Looking changes nothing.
    assert not node.data_dir.exists()


def test_running_node_is_well_and_every_part_is_told(running: Node) -> None:
    done = running.command("doctor")

    assert (done.returncode, done.stderr) == (0, "")
    told = {line.split(":")[0] for line in lines_of(done.stdout, "ok")}
    assert told == {"Python", "data directory", "PostgreSQL", "Redis", "processes", "schema", "database"}
    for entry in running.processes():
        assert f"{entry.role} {entry.pid}" in done.stdout


def test_every_setting_is_listed_and_no_secret(running: Node) -> None:
    done = running.command("doctor")

    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith(("NEXUS_", "OTEL_"))}
    assert listed == {entry.env for entry in SETTINGS}
    assert KEY not in done.stdout and PASSWORD not in done.stdout
    (key,) = [line for line in done.stdout.splitlines() if line.startswith("NEXUS_BOOTSTRAP_KEY")]
    assert "(set)" in key


def test_port_that_is_taken_is_wrong(make_node: MakeNode) -> None:
    node = make_node()
    with socket.socket() as other:
        other.bind(("127.0.0.1", node.port))
        other.listen()

        done = node.command("doctor")

    assert done.returncode == 1
    (wrong,) = lines_of(done.stdout, "wrong")
    assert wrong.startswith("port: ") and "NEXUS_PORT" in wrong


def test_faulty_settings_are_wrong_by_name(make_node: MakeNode) -> None:
    done = make_node(NEXUS_PORT="x", NEXUS_WORKERS="0").command("doctor")

    assert done.returncode == 1
    assert [line.split(":")[0] for line in lines_of(done.stdout, "wrong")] == ["NEXUS_PORT", "NEXUS_WORKERS"]


def test_secrets_that_others_can_read_are_wrong(make_node: MakeNode) -> None:
    node = make_node()
    node.data_dir.mkdir()
    secrets = node.data_dir / "secrets.json"
    secrets.write_text("{}")
    secrets.chmod(0o644)

    done = node.command("doctor")

    assert done.returncode == 1
    assert lines_of(done.stdout, "wrong") == ["secrets.json: others can read it"]
    assert f"-> chmod 600 {secrets}" in done.stdout


def test_database_that_does_not_answer_is_wrong(make_node: MakeNode) -> None:
    url = "postgresql://nexus_service:secret-word@127.0.0.1:1/nexus"

    done = make_node(NEXUS_DATABASE_URL=url, NEXUS_WRITER_URL=url, NEXUS_SYSTEM_URL=url).command("doctor")

    assert done.returncode == 1
    assert [line.split(":")[0] for line in lines_of(done.stdout, "wrong")] == ["database"]
    assert "secret-word" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
