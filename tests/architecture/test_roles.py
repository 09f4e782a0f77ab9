"""The role table that people read is the one that is in force."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def in_force() -> dict[str, set[str]]:
    text = (ROOT / "src/nexus/identity/sql/role_permissions.sql").read_text()
    grants = re.findall(r"\('([a-z_]+)', ARRAY\[(.*?)\]\)", text, re.DOTALL)
    return {role: set(re.findall(r"'([^']+)'", permissions)) for role, permissions in grants}


def documented() -> dict[str, set[str]]:
    text = (
        (ROOT / "docs/reference/identity.md").read_text().split("## What each role may do", 1)[1].split("\n## ", 1)[0]
    )
    rows = re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", text, re.MULTILINE)
    return {role: set(re.findall(r"`([^`]+)`", permissions)) for role, permissions in rows}


def test_what_each_role_may_do_is_documented() -> None:
    found = in_force()

    assert len(found) == 9 and found["system_admin"] == {"*"}
    assert documented() == found, "docs/reference/identity.md, “What each role may do”, is to say the same"
