"""The command line: what the reference lists is there, and what goes wrong is one line."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import nexus
from nexus.entry.cli import app
from tests.entry.conftest import KEY
from tests.races.node import Node

MakeNode = Callable[..., Node]
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
ROWS = [
    (found[1].split(), set(re.findall(r"`(--[a-z-]+)", line)) - {"--unit"})
    for line in REFERENCE.read_text().splitlines()
    if (found := re.match(r"\| `nexus ((?:[a-z-]+ ?)+)", line))
]


def help_of(words: list[str]) -> str:
    text = io.StringIO()
    app.help_print(words, console=Console(file=text, width=400))
    return text.getvalue()


@pytest.mark.parametrize(
    ("words", "options"), ROWS, ids=lambda value: "-".join(value) if isinstance(value, list) else ""
)
def test_command_of_the_reference_is_there_with_its_options(words: list[str], options: set[str]) -> None:
    at = app
    for word in words:
        at = at[word]

    text = help_of(words)
    assert [option for option in options if option not in text] == []


def test_reference_lists_many() -> None:
    assert len(ROWS) > 20
    assert sum(len(options) for _, options in ROWS) > 15


def test_version_and_help_are_told_at_once(make_node: MakeNode) -> None:
    node = make_node()

    for arguments in (("--version",), ("version",)):
        done = node.command(*arguments)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, nexus.__version__, "")
    done = node.command("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("up", "server", "worker", "doctor", "replay", "catalog", "key"))


@pytest.mark.parametrize("arguments", [("nonsense",), ("key", "create")])
def test_misuse_is_told_without_a_traceback(make_node: MakeNode, arguments: tuple[str, ...]) -> None:
    done = make_node().command(*arguments)

    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("key", "list"), ("db", "check"), ("metering", "fold")])
def test_commands_where_nothing_runs_are_one_line(make_node: MakeNode, arguments: tuple[str, ...]) -> None:
    done = make_node().command(*arguments)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")


def test_commands_reach_the_node_that_runs_and_cut_nothing_in_a_pipe(running: Node) -> None:
    for arguments, told in (
        (("key", "list"), "first"),
        (("org", "list"), "default"),
        (("user", "list"), "root@acme.example"),
        (("db", "check"), ""),
        (("catalog", "price", "openai", "gpt-4o", "--input", "1000000"), "2.5"),
        (("metering", "fold"), ""),
    ):
        done = running.command(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert told in done.stdout.lower(), arguments
        assert KEY not in done.stdout
