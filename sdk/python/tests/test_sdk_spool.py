"""What is in the spool outlives the process, and nothing that goes wrong there reaches the program."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from conftest import NOBODY, spooled
from nexus_client import Client
from nexus_client.spool import Spool, SpoolFull


def make_spool(folder: Path, **options: int) -> Spool:
    limits = {"limit_bytes": 2**20, "segment_records": 10, "segment_bytes": 2**20, **options}
    return Spool(folder, fsync=False, **limits)


def lines_in(folder: Path) -> list[dict[str, object]]:
    return [
        json.loads(line)
        for path in sorted(folder.glob("*/*.ndjson"))
        for line in path.read_bytes().splitlines(keepends=False)
    ]


def run(program: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a program of its own to its end, however that comes."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def test_segment_holds_what_was_appended_and_goes_when_removed(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)

    assert spool.append([b'{"n":%d}' % n for n in range(12)]) == 10
    assert spool.is_full
    segment = spool.rotate()
    assert segment is not None
    assert segment.read() == ([b'{"n":%d}' % n for n in range(10)], 0)
    segment.remove()
    spool.close()

    assert list(tmp_path.iterdir()) == []


def test_folder_is_closed_to_others(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    spool.append([b"{}"])

    modes = {path.name.rpartition(".")[2]: path.stat().st_mode & 0o777 for path in (tmp_path / "spool").rglob("*.*")}
    assert modes == {"lock": 0o600, "ndjson": 0o600}
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    spool.close()


def test_living_process_keeps_its_segments_and_a_dead_one_leaves_them(tmp_path: Path) -> None:
    first, second = make_spool(tmp_path), make_spool(tmp_path)
    first.append([b'{"n":1}'])

    assert list(second.adopt()) == []

    first.close()
    (left,) = second.adopt()
    assert [segment.read() for segment in left.segments] == [([b'{"n":1}'], 0)]
    assert list(make_spool(tmp_path).adopt()) == []
    for segment in left.segments:
        segment.remove()
    left.release()
    assert list(tmp_path.iterdir()) == []


def test_lines_that_were_cut_off_are_left_out_and_counted(tmp_path: Path) -> None:
    first, second = make_spool(tmp_path), make_spool(tmp_path)
    first.append([b'{"n":1}', b"{no json", b'{"n":2}'])
    first.close()
    (path,) = tmp_path.glob("*/*.ndjson")
    with path.open("ab") as file:
        file.write(b'{"n":3')

    (left,) = second.adopt()

    assert left.segments[0].read() == ([b'{"n":1}', b'{"n":2}'], 2)
    left.release()


def test_spool_takes_no_more_than_its_limit(tmp_path: Path) -> None:
    spool = make_spool(tmp_path, limit_bytes=1000)
    line = b"x" * 99

    for _ in range(10):
        spool.append([line])
        spool.rotate()
    with pytest.raises(SpoolFull):
        spool.append([line])

    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) == 1000
    spool.close()


def test_full_spool_drops_and_counts_and_never_raises(tmp_path: Path) -> None:
    client = Client(NOBODY, "nx_test", spool_dir=tmp_path, spool_limit_bytes=5000, memory_limit_bytes=1000)

    for _ in range(200):
        client.record("openai", 200, metadata={"filling": "x" * 100})
        client.persist(10)
    stats = client.stats
    client.close(1)

    assert stats.recorded == 200
    assert stats.dropped > 100
    assert len(lines_in(client.spool_dir)) == stats.written < 40
    assert stats.disk_failures > 0


def test_disk_that_takes_nothing_more_ends_a_segment_at_a_whole_record(tmp_path: Path) -> None:
    # A limit of the file size stands for a full disk: a write is cut short, and the next one fails.
    done = run(
        """
        import resource, signal, sys
        from nexus_client import Client
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        client = Client("http://127.0.0.1:9", "nx_test", spool_dir=sys.argv[1], memory_limit_bytes=0)
        for _ in range(100):
            client.record("openai", 200, metadata={"filling": "x" * 50})
        client.persist()
        stats = client.stats
        assert stats.disk_failures and stats.dropped, stats
        assert stats.written + stats.dropped == 100, stats
        client.close()
        """,
        tmp_path,
    )

    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    for path in tmp_path.glob("*/*/*.ndjson"):
        for line in path.read_bytes().splitlines():
            json.loads(line)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_really_full_disk_never_raises(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this system lets nobody mount a tmpfs: " + mounted.stderr.decode().strip())
    try:
        client = Client(NOBODY, "nx_test", spool_dir=disk, memory_limit_bytes=10_000)
        for _ in range(3000):
            client.record("openai", 200, metadata={"filling": "x" * 100})
            if client.stats.recorded % 100 == 0:
                client.persist(10)
        stats = client.stats
        client.close(1)
        read = len(lines_in(client.spool_dir))
    finally:
        subprocess.run(["umount", str(disk)], check=True)

    assert stats.disk_failures
    assert stats.dropped
    assert read == stats.written
    assert stats.recorded == 3000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_cannot_be_written_never_raises(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    client = Client(NOBODY, "nx_test", spool_dir=tmp_path / "spool")
    client.record("openai", 200)

    assert not client.persist(5)
    assert client.stats.disk_failures


def test_folder_that_is_a_file_never_raises(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("not a folder")
    client = Client(NOBODY, "nx_test", spool_dir=tmp_path / "spool")
    client.record("openai", 200)

    assert not client.persist(5)
    assert client.stats.disk_failures
    assert not client.close(1)
    assert client.stats.dropped == 1


def test_system_without_file_locks_keeps_records_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_client.spool.fcntl", None)
    client = Client(NOBODY, "nx_test", spool_dir=tmp_path)
    client.record("openai", 200)

    assert not client.persist(5)
    assert "memory only" in (client.stats.last_failure or "") or client.stats.attempts_failed
    assert client.stats.dropped == 0
    assert not client.close(1)
    assert client.stats.dropped == 1
    assert list(tmp_path.iterdir()) == []


def test_client_can_be_imported_where_there_are_no_file_locks(tmp_path: Path) -> None:
    (tmp_path / "fcntl.py").write_text("raise ImportError('there is no such module on Windows')")

    done = run(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        from nexus_client import Client
        client = Client("http://127.0.0.1:9", "nx_test", spool_dir=sys.argv[1])
        client.record("openai", 200)
        assert not client.persist(5)
        client.close(1)
        assert client.stats.disk_failures and not client.stats.own_failures, client.stats
        """,
        tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_what_was_written_survives_kill(tmp_path: Path) -> None:
    done = run(
        """
        import os, signal, sys
        from nexus_client import Client
        client = Client("http://127.0.0.1:9", "nx_test", spool_dir=sys.argv[1])
        for number in range(500):
            client.record("openai", 200, metadata={"number": number})
        assert client.persist()
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )

    assert done.returncode == -signal.SIGKILL, done.stderr
    (folder,) = tmp_path.iterdir()
    assert [record["metadata"]["number"] for record in lines_in(folder)] == list(range(500))  # type: ignore[index]


def test_program_that_just_ends_leaves_its_records_in_the_spool(tmp_path: Path) -> None:
    done = run(
        """
        import sys
        from nexus_client import Client

        def work():
            client = Client("http://127.0.0.1:9", "nx_test", spool_dir=sys.argv[1])
            for _ in range(3000):
                client.record("openai", 200)

        work()
        """,
        tmp_path,
    )

    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert len(lines_in(folder)) == 3000


def test_program_ends_though_the_server_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = run(
            """
            import sys
            from nexus_client import Client
            client = Client(sys.argv[2], "nx_test", spool_dir=sys.argv[1], timeout_seconds=3600)
            for _ in range(300):
                client.record("openai", 200)
            """,
            tmp_path,
            f"http://127.0.0.1:{silent.getsockname()[1]}",
        )

    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    (folder,) = tmp_path.iterdir()
    assert len(lines_in(folder)) == 300


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_made_by_multiprocessing_leave_theirs_too(tmp_path: Path, method: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, sys
            from nexus_client import Client

            def work(number, folder, inherited=None):
                client = inherited or Client("http://127.0.0.1:9", "nx_test", spool_dir=folder)
                for _ in range(100):
                    client.record("openai", 200, metadata={{"process": number}})

            if __name__ == "__main__":
                context = multiprocessing.get_context({method!r})
                client = Client("http://127.0.0.1:9", "nx_test", spool_dir=sys.argv[1])
                for _ in range(100):
                    client.record("openai", 200, metadata={{"process": 0}})
                inherited = client if {method!r} == "fork" else None
                processes = [
                    context.Process(target=work, args=(number, sys.argv[1], inherited)) for number in (1, 2, 3)
                ]
                for process in processes:
                    process.start()
                for process in processes:
                    process.join()
                    assert process.exitcode == 0
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "spool")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "spool").iterdir()
    records = lines_in(folder)
    assert len({record["id"] for record in records}) == len(records) == 400
    numbers = [record["metadata"]["process"] for record in records]  # type: ignore[index]
    assert {number: numbers.count(number) for number in numbers} == {0: 100, 1: 100, 2: 100, 3: 100}


def test_spool_that_is_synced_holds_the_same(tmp_path: Path) -> None:
    client = Client(NOBODY, "nx_test", spool_dir=tmp_path, fsync=True)
    made = [client.record("openai", 200) for _ in range(3)]

    assert [record["id"] for record in spooled(client)] == made
    assert client.stats.disk_failures == 0
    client.close(1)


def test_client_without_key_or_with_a_wrong_address_is_inert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXUS_ACCESS_KEY", raising=False)

    for client in (Client(NOBODY, spool_dir=tmp_path), Client("nowhere", "nx_test", spool_dir=tmp_path)):
        client.record("openai", 200)
        assert not client.flush(1)
        assert client.stats.dropped == 1
        assert client.stats.last_failure
        client.close()
    assert list(tmp_path.iterdir()) == []


def test_records_of_two_keys_are_kept_apart(tmp_path: Path) -> None:
    first, second = (Client(NOBODY, key, spool_dir=tmp_path) for key in ("nx_first", "nx_second"))

    first.record("openai", 200)

    assert len(spooled(first)) == 1
    assert spooled(second) == []
    assert "nx_" not in "".join(path.as_posix() for path in tmp_path.rglob("*"))
    first.close(1)
    second.close(1)
