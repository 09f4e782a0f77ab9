"""The few paths that see all tenants: every call that opens a transaction as nexus_system, listed with its reason."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "nexus"

# Module: why it may see all tenants. A module that is not here may not open such a transaction.
PATHS = {
    "identity/authentication.py": "finds out whose key or cookie it is, before the organization is known",
    "identity/service.py": "sign-in and own account: a person belongs to several organizations, or to none yet",
    "identity/routes.py": "one's own account, sessions and organizations; making users and organizations; invitations taken up",
    "identity/jobs.py": "forgets expired sessions and old lines of the security log",
    "identity/commands.py": "the operator on the machine",
    "catalog/routes.py": "shared prices: conflicts decided for all, estimates by the whole book",
    "catalog/commands.py": "the operator on the machine",
    "operations/routes.py": "system configuration belongs to no organization",
    "metering/jobs.py": "fold, repricing and retention work through all organizations",
    "metering/commands.py": "the operator on the machine",
    "dashboards/routes.py": "reads the version of the keys' snapshot, no tenant's row",
    "dataplane/snapshots.py": "compiles keys and prices of all organizations into the data plane's tables",
    "platform/db/partitions.py": "makes partitions",
    "platform/db/pool.py": "defines it",
    "entry/first_start.py": "makes the first organization",
}


def test_every_path_that_sees_all_tenants_is_listed_with_its_reason() -> None:
    found: Counter[str] = Counter()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "as_system":
                found[path.relative_to(SOURCE).as_posix()] += 1
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "as_system":
                found[path.relative_to(SOURCE).as_posix()] += 1

    assert set(found) <= set(PATHS), f"not listed: {sorted(set(found) - set(PATHS))}"
    assert {name for name in PATHS if (SOURCE / name).exists()} <= set(found), "listed, but it does not do so any more"
