"""The shape of the source: one guess finds anything, nothing grows too large, and what is promised in docs is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nexus.platform.db.schema import all_queries, schema_files
from nexus.platform.settings import SETTINGS

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "nexus"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if "web/node_modules" not in str(path))
ROOMS = {"store", "routes", "jobs", "commands"}
SLICES = {
    "identity", "catalog", "admission", "metering", "mcp", "issues", "metrics", "storage", "costs", "governance", "operations",
    "dashboards", "dataplane",
}  # fmt: skip
FRAMEWORK_FREE = {"service", "store", "jobs"}


def slice_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0]


def imports_of(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def test_imports_go_down_only() -> None:
    done = subprocess.run([str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_keeps_to_the_rules_of_the_house(path: Path) -> None:
    own, stem = slice_of(path), path.stem
    assert len(path.read_text().splitlines()) <= 600
    assert stem not in {"utils", "helpers", "manager", "base", "common", "util", "helper"}
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "nexus" and len(parts) > 2 and parts[1] in SLICES and own in SLICES and parts[1] != own:
            assert parts[2] not in ROOMS, f"{name}: another slice's {parts[2]}"
        if (own in SLICES and stem in FRAMEWORK_FREE) or own in {"kit", "contracts", "dataplane"}:
            assert parts[0] not in {"litestar", "uvicorn", "starlette", "fastapi"}, name


def test_other_files_are_not_too_long_either() -> None:
    for folder, pattern in (
        (SOURCE, "*.sql"),
        (ROOT / "web" / "src", "*.ts*"),
        (ROOT / "tests", "*.py"),
        (ROOT / "bench", "*.py"),
    ):
        for path in folder.rglob(pattern):
            if "migrations/versions" not in str(path):
                assert len(path.read_text().splitlines()) <= 600, path


def test_every_file_of_schema_is_named_after_what_it_makes() -> None:
    for file in schema_files():
        slice_, name = file.path.split("/")
        assert file.schema == slice_, file.path
        assert file.name.split(".")[1] == name.removesuffix(".sql"), file.path
        made = re.findall(
            r"CREATE (?:OR REPLACE )?(?:TABLE|FUNCTION|VIEW|TYPE|AGGREGATE)\s+([a-z_]+\.[a-z_0-9]+)", file.sql
        )
        assert file.name in made, f"{file.path} does not make {file.name}"


def test_every_table_has_one_file() -> None:
    made: list[str] = []
    for file in schema_files():
        made += re.findall(r"CREATE TABLE\s+([a-z_]+\.[a-z_0-9]+)", file.sql)

    assert len(made) == len(set(made))


def test_queries_have_distinct_names_in_their_slice() -> None:
    names = [(query.package, query.name) for query in all_queries()]

    assert len(names) == len(set(names)) and len(names) > 50


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "settings.md").read_text()

    assert [entry.env for entry in SETTINGS if f"`{entry.env}`" not in text] == []


def test_every_command_is_documented() -> None:
    from nexus.entry.cli import app

    text = (ROOT / "docs" / "reference" / "commands.md").read_text()
    names: list[str] = []

    def walk(current: object, prefix: str) -> None:
        for name in current:  # type: ignore[attr-defined]
            if name.startswith("-"):
                continue
            inner = current[name]  # type: ignore[index]
            children = [item for item in inner if not item.startswith("-")]
            if children:
                walk(inner, f"{prefix} {name}")
            else:
                names.append(f"{prefix} {name}")

    walk(app, "nexus")

    assert len(names) > 15
    assert [name for name in names if f"`{name}" not in text] == []


def test_every_permission_and_role_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "identity.md").read_text()
    slices = ROOT / "src" / "nexus"
    names = re.findall(r"'([a-z_]+:[a-z_]+)'", (slices / "identity" / "sql" / "permissions.sql").read_text())
    names += re.findall(r"', '([a-z_]+)', '", (slices / "identity" / "sql" / "roles.sql").read_text())

    assert len(names) > 40
    assert [name for name in names if f"`{name}`" not in text] == []


def rows_with_tests(page: str) -> list[list[str]]:
    """The rows of a page's tables whose last column names tests."""
    lines = (ROOT / "docs" / "explanation" / page).read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return [row for row in rows if row[-1] != "tests"]


@pytest.mark.parametrize("page", ["security.md", "gateway-promises.md", "admission-promises.md"])
def test_every_threat_and_promise_names_tests_that_exist(page: str) -> None:
    missing: list[str] = []
    for what, _, tests in rows_with_tests(page):
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", tests)
        assert named, what
        for name, function in named:
            path = ROOT / name
            if not path.is_file() or (function and f"def {function}(" not in path.read_text()):
                missing.append(f"{what}: {name}::{function}")

    assert missing == []


def test_no_threat_that_must_be_met_is_left_out() -> None:
    rows = rows_with_tests("security.md")

    threats = " ".join(row[0] for row in rows)
    for threat in (
        "fixation",
        "brute force",
        "enumeration",
        "CSRF",
        "stored XSS",
        "reflected XSS",
        "open redirect",
        "role",
    ):
        assert threat in threats


def test_links_between_documents_lead_somewhere() -> None:
    broken: list[str] = []
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changes").glob("*.md")]:
        broken += [
            f"{path.relative_to(ROOT)}: {target}"
            for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
            if "://" not in target and not (path.parent / target).exists()
        ]

    assert broken == []


def test_nothing_committed_names_a_registry_or_a_path_of_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("no git repository here, so what is committed cannot be listed")
    # Written in two halves, so that this file does not name them.
    words = ["/" + "work/", "pypi" + ".org/simple", "registry." + "npmjs", "/root" + "/", "-----BEGIN " + "PRIVATE"]
    found: list[str] = []
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.suffix not in {".png", ".gz", ".zst"}:
            text = path.read_text("utf-8", "replace")
            found += [f"{name}: {word}" for word in words if word in text]

    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nobody_searches_the_key_space_of_a_redis_that_others_share(path: Path) -> None:
    called = {node.func.attr for node in ast.walk(ast.parse(path.read_text()))
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}  # fmt: skip

    assert not called & {"scan", "scan_iter", "flushdb", "flushall"}
