"""Files that one process holds and another adopts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nexus.dataplane.gateway.journal import clear_unfinished
from nexus.dataplane.held_files import adopt, clear_drafts, create_held, files_of, read_nobodys


def test_what_is_held_is_nobody_elses_until_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "1.x"
    held = create_held(path)

    assert adopt(path) is None
    assert list(read_nobodys(tmp_path, ".x")) == []

    os.write(held, b"content")
    os.close(held)
    [(found, descriptor, content)] = read_nobodys(tmp_path, ".x")

    assert (found, content) == (path, b"content")
    assert adopt(path) is None
    os.close(descriptor)


def test_a_file_of_a_dead_process_is_adopted(tmp_path: Path) -> None:
    code = "import os, sys; from pathlib import Path; from nexus.dataplane.held_files import create_held\n"
    code += "os.write(create_held(Path(sys.argv[1])), b'left'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "1.x")], check=False)

    [(_, descriptor, content)] = read_nobodys(tmp_path, ".x")

    assert content == b"left"
    os.close(descriptor)


def test_what_is_gone_or_not_there_is_nobodys_concern(tmp_path: Path) -> None:
    assert adopt(tmp_path / "1.x") is None
    assert files_of(tmp_path / "nowhere", ".x") == []
    clear_drafts(tmp_path / "nowhere", ".x")


def test_a_journal_clears_the_drafts_of_the_dead_and_leaves_those_of_the_living(tmp_path: Path) -> None:
    (tmp_path / "1.draft").write_bytes(b"")
    living = create_held(tmp_path / "2.draft")

    clear_unfinished(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["2.draft"]
    os.close(living)
