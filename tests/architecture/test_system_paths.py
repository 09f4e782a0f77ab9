"""The few paths that see all tenants: every call that opens a transaction as nexus_system, listed with its reason."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "nexus"

# Module: why it may see all tenants. A module that is not here may not open such a transaction.
PATHS = {
    "identity/authentication.py": "finds out whose key or cookie it is, before the organization is known",
    "identity/service.py": "own password: a person belongs to several organizations, or to none yet",
    "identity/sign_in.py": "sign-in, before anything is known",
    "identity/second_factor.py": "second step of sign-in; a person's own second factor",
    "identity/sessions.py": "proves again who a person is",
    "identity/sign_in_routes.py": "the account that has just signed in; sign-out",
    "identity/account_routes.py": "one's own account, preferences and sessions",
    "identity/second_factor_routes.py": "one's own second factor",
    "identity/single_sign_on.py": "who comes back from a sign-in provider, before anything is known",
    "identity/single_sign_on_routes.py": "sign-in providers belong to no organization; one's own linked identities",
    "identity/people_routes.py": "the organizations one may enter; making users and organizations",
    "identity/invitation_routes.py": "an invitation is looked at and taken up before its taker is a member",
    "identity/password_routes.py": "passwords and second factors are a person's, of no organization",
    "identity/jobs.py": "forgets expired sessions and old lines of the security log; ends expired roles",
    "identity/commands.py": "the operator on the machine",
    "identity/provider_credential_commands.py": "the operator on the machine",
    "catalog/routes.py": "shared prices: conflicts decided for all, estimates by the whole book",
    "catalog/commands.py": "the operator on the machine",
    "catalog/price_import_routes.py": "shared prices: lists taken in for all",
    "operations/routes.py": "system configuration belongs to no organization",
    "admission/commands.py": "the operator on the machine",
    "admission/jobs.py": "drains the trails of all organizations into the token transactions",
    "admission/capacity/jobs.py": "divides shared capacities among the organizations that share them",
    "admission/capacity/routes.py": "shared capacities belong to the installation; whoever configures it sees all members",
    "admission/loans/jobs.py": "loans of all organizations are repaid each second, and deleted when they are old",
    "dataplane/decide/refusals.py": "tells the counts of refused calls of all organizations",
    "dataplane/decide/tables.py": "compiles the limits of all organizations; rebuilds what Redis lost",
    "costs/jobs.py": "events and counters of all organizations' budgets",
    "costs/commands.py": "the operator on the machine: shared exchange rates",
    "metering/jobs.py": "fold, repricing and retention work through all organizations",
    "metering/body_jobs.py": "deletes bodies of all organizations that are over their time",
    "metering/export_jobs.py": "tells a collector of all organizations' calls",
    "issues/jobs.py": "fold and retention work through all organizations",
    "metrics/jobs.py": "fold and retention work through all organizations",
    "storage/jobs.py": "fold and retention work through all organizations",
    "mcp/commands.py": "the operator on the machine",
    "mcp/jobs.py": "fold and retention work through all organizations",
    "metering/commands.py": "the operator on the machine",
    "dashboards/routes.py": "reads the version of the keys' snapshot, and which open streams' sessions still hold",
    "dashboards/jobs.py": "retention of product analytics works through all organizations",
    "dataplane/key_use.py": "notes when access keys of all organizations were last used",
    "dataplane/snapshots.py": "compiles keys and prices of all organizations into the data plane's tables",
    "platform/db/partitions.py": "makes partitions",
    "platform/jobs/retention.py": "retention works through all organizations",
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
