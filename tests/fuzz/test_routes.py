"""Whatever is sent to a documented route, the answer is one that the description names, and never a failure of ours."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.errors import SchemathesisError
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from nexus.platform.settings import Settings
from tests.application import ADMIN, ORIGIN, PASSWORD
from tests.fuzz.bridge import bridged

load_all_checks()
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = max(1, hypothesis_settings.default.max_examples // 10)
"""Requests of each kind to each route. The first is also sent by nobody, who is stopped at the door: to make up a request
takes far longer than to send it."""
KNOWN_LISTS = (
    "identity/access-keys", "identity/members", "identity/roles", "identity/invitations", "identity/sessions",
    "catalog/prices", "catalog/providers", "metering/repricings", "operations/configuration",
)  # fmt: skip


class Visitor:
    """Who sends: nobody, or the owner with a session that is opened again when what was sent has ended it."""

    def __init__(self, session: requests.Session, is_owner: bool) -> None:
        self._session = session
        self.is_owner = is_owner
        self._headers: dict[str, str] = {}
        self.statuses: dict[str, set[int]] = {}
        self.enter()

    def enter(self) -> None:
        """Sign in."""
        if self.is_owner:
            answer = self._session.post(f"{ORIGIN}/api/identity/sign-in", json={"email": ADMIN, "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            cookie = next(
                item for item in answer.raw.headers.getlist("set-cookie") if item.startswith("nexus_session=")
            )
            self._headers = {"cookie": cookie.partition(";")[0]}

    def get(self, path: str) -> requests.Response:
        """Ask for a page of something."""
        return self._session.get(f"{ORIGIN}/api/{path}", headers=self._headers)

    def send(self, case: schemathesis.Case[Any]) -> schemathesis.Response:
        """Send what was made up; a session that a former example ended is opened again."""
        case.headers.pop("authorization", None)
        answer = case.call(base_url=ORIGIN, session=self._session, headers=self._headers)
        if answer.status_code == 401 and self.is_owner and self.get("identity/me").status_code == 401:
            self.enter()
            answer = case.call(base_url=ORIGIN, session=self._session, headers=self._headers)
        self.statuses.setdefault(case.operation.label, set()).add(answer.status_code)
        return answer

    def known(self) -> list[str]:
        """Return names of things that are there, so that more than 404 is tried."""
        found: list[str] = []
        for path in KNOWN_LISTS:
            items = self.get(path).json().get("items", [])[:3]
            found += [str(item.get("id") or item.get("user_id") or item.get("key")) for item in items]
        return found


def judge(case: schemathesis.Case[Any], answer: schemathesis.Response) -> None:
    """Fail unless the answer is one of those described, and a problem where it is a refusal."""
    assert answer.status_code < 500, f"{answer.status_code}: {answer.content[:500]!r}"
    if answer.status_code >= 400:
        assert answer.headers["content-type"][0] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code and problem["detail"] and problem["title"]
        assert problem["type"].startswith("urn:nexus:problem:")
        assert all(fault["message"] for fault in problem.get("errors", []))
        if answer.status_code == 422:
            assert problem["errors"], problem
    case.validate_response(answer, checks=CHECKS)


def fuzz(
    operation: APIOperation[Any, Any, Any], owner: Visitor, nobody: Visitor, mode: GenerationMode, known: list[str]
) -> None:
    """Send made-up requests to one route."""

    @hypothesis_settings(
        max_examples=EXAMPLES, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        database=None,
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), name=st.none() | st.sampled_from(known or [""]))
    def run(case: schemathesis.Case[Any], name: str | None) -> None:
        if name and case.path_parameters:
            for parameter in list(case.path_parameters):
                case.path_parameters[parameter] = name
        if operation.label not in nobody.statuses:
            judge(case, nobody.send(case))
        judge(case, owner.send(case))

    try:
        run()
    except (Unsatisfiable, SchemathesisError) as nothing:
        # There is no wrong way to send what has neither parameters nor body.
        if mode is not GenerationMode.NEGATIVE or operation.body or operation.query or operation.path_parameters:
            raise AssertionError(f"{operation.label}: {nothing}") from nothing


@pytest.mark.hypothesis
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as described", "otherwise"])
def test_every_documented_route_answers_as_described(settings: Settings, mode: GenerationMode) -> None:
    with bridged(settings) as session:
        # Whoever sends brings the cookies: the session keeps none for the next one.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        owner, nobody = Visitor(session, is_owner=True), Visitor(session, is_owner=False)
        known = owner.known()
        document = session.get(f"{ORIGIN}/openapi.json").json()
        operations = [item.ok() for item in schemathesis.openapi.from_dict(document).get_all_operations()]
        assert len(operations) > 40
        failures = []
        for operation in operations:
            try:
                fuzz(operation, owner, nobody, mode, known)
            except (Exception, FailureGroup) as failure:  # all routes are tried, then all failures told at once
                failures.append(f"{operation.label}: {failure}")

    assert not failures, "\n\n".join(failures)
    with_body = {operation.label for operation in operations if operation.body}
    assert set(owner.statuses) >= with_body and set(nobody.statuses) >= with_body
    if mode is GenerationMode.POSITIVE:
        passed = {label for label, statuses in owner.statuses.items() if min(statuses) < 300}
        assert len(passed) > len(operations) / 3, sorted(set(owner.statuses) - passed)
    opened = {label for label, statuses in nobody.statuses.items() if min(statuses) < 300}
    assert opened <= {item.label for item in operations if _is_public(item, document)}, opened


def _is_public(operation: APIOperation[Any, Any, Any], document: dict[str, Any]) -> bool:
    described = document["paths"][operation.path][operation.method.lower()]
    return operation.path.startswith(("/api/identity/sign-in", "/health")) or described.get("security") == []
