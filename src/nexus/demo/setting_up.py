"""Makes the demo's organizations, people and keys over the public HTTP API, and keeps the keys for the next start."""

from __future__ import annotations

import http.cookiejar
import json
import os
import secrets
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from nexus.demo.world import COMPANIES, Company

FILE = "demo.json"
PLAYGROUND = "playground"
"""The application, and the key, with which people try the gateway."""
STORE, TRAINEES = "backup-store", "trainees"
"""Programs that are no part of the story: one asks before it reads and writes storage, one may do little."""
PROGRAMS = {PLAYGROUND: ("gateway:call",), STORE: ("calls:admit",), TRAINEES: ("gateway:call",)}
"""Those of the first organization that have keys beside its applications, and what they may."""
SANDBOXED = ("openai", "anthropic", "google", "mistral")
"""The providers whose calls go through the gateway: the sandbox answers as they do."""
_SCOPES = ("events:write", "gateway:call")


class NotSetUpError(Exception):
    """The demo's organizations could not be made; the message says why."""


@dataclass
class Secrets:
    """What only this machine knows: shown once by Nexus, kept readable by the owner only."""

    passwords: dict[str, str] = field(default_factory=dict)
    """By e-mail address."""
    keys: dict[str, str] = field(default_factory=dict)
    """By organization and application."""

    @classmethod
    def read(cls, folder: Path) -> Secrets:
        """Return what was kept; nothing where nothing was."""
        try:
            return cls(**json.loads((folder / FILE).read_bytes()))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, folder: Path) -> None:
        """Keep it."""
        path = folder / f"{FILE}.new"
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=2)
        path.replace(folder / FILE)


class Api:
    """The HTTP API, as a signed-in person uses it."""

    def __init__(self, url: str) -> None:
        self.url = url
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(jar)

    def call(
        self, method: str, path: str, body: object = None, *, organization: str | None = None, **query: str
    ) -> Any:
        """Ask; returns the answer's JSON. `NotSetUpError` with the problem's detail; `OSError` where Nexus cannot answer now."""
        address = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(address, method=method)  # noqa: S310 - the address of the Nexus we belong to
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("content-type", "application/json")
        if organization is not None:
            request.add_header("x-nexus-organization", organization)
        try:
            with self._opener.open(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                raise
            raise NotSetUpError(f"{method} {path}: {error.code} {_detail(error.read())}") from None

    def sign_in(self, email: str, password: str) -> None:
        """Sign in; the session's cookie is kept."""
        found = self.call("POST", "/api/identity/sign-in", {"email": email, "password": password})
        if "challenge" in found:
            raise NotSetUpError(f"{email} has a second factor: the demo signs in with a password alone")


def _detail(content: bytes) -> str:
    try:
        problem = json.loads(content)
        faults = [f"{fault.get('field')}: {fault.get('message')}" for fault in problem.get("errors") or []]
        return " ".join([str(problem.get("detail", "")), *faults])
    except (ValueError, AttributeError):
        return content[:200].decode("utf-8", "replace")


@dataclass(frozen=True)
class Ready:
    """The demo's organizations, as they are in Nexus."""

    secrets: Secrets
    began_on: datetime
    """The day on which the first of them was made: the demo's story is told from it."""
    newest: dict[str, datetime]
    """The newest call of each organization, by slug; absent where there is none."""


def set_up(api: Api, folder: Path, sandbox_url: str) -> Ready:
    """Make what is missing. Run again, it makes nothing. What goes through the gateway goes to the sandbox."""
    kept = Secrets.read(folder)
    there = {item["slug"] for item in api.call("GET", "/api/identity/organizations")["items"]}
    made_at, newest = [], {}
    for company in COMPANIES:
        if company.slug not in there:
            api.call(
                "POST",
                "/api/identity/organizations",
                {"name": company.name, "slug": company.slug, "plan": "pro", "reporting_zone": company.reporting_zone},
            )
        organization = api.call("GET", "/api/identity/organization", organization=company.slug)
        made_at.append(datetime.fromisoformat(organization["created_at"]).astimezone(UTC))
        _people(api, company, kept, folder)
        _keys(api, company, kept)
        _gateway(api, company, sandbox_url)
        kept.write(folder)
        found = api.call(
            "GET", "/api/metering/calls", organization=company.slug, limit="1",
            **{"from": "2000-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"},
        )["items"]  # fmt: skip
        if found:
            newest[company.slug] = datetime.fromisoformat(found[0]["timestamp"]).astimezone(UTC)
    for name, scopes in PROGRAMS.items():
        _key(api, COMPANIES[0], kept, name, scopes)
    kept.write(folder)
    began_on = min(made_at).replace(hour=0, minute=0, second=0, microsecond=0)
    return Ready(kept, began_on, newest)


def _people(api: Api, company: Company, kept: Secrets, folder: Path) -> None:
    members = api.call("GET", "/api/identity/members", organization=company.slug)["items"]
    there = {item["email"] for item in members}
    for person in company.people:
        if person.email in there:
            continue
        password = kept.passwords.setdefault(person.email, secrets.token_urlsafe(12))
        kept.write(folder)
        api.call(
            "POST",
            "/api/identity/users",
            {"email": person.email, "name": person.name, "role": person.role, "password": password},
            organization=company.slug,
        )


def _keys(api: Api, company: Company, kept: Secrets) -> None:
    items = api.call("GET", "/api/identity/access-keys", organization=company.slug, limit="200")["items"]
    # A folder of an older demo has keys that may not call the gateway.
    outdated = {item["application"] for item in items if not set(_SCOPES) <= set(item["scopes"])}
    outdated -= {item["application"] for item in items if set(_SCOPES) <= set(item["scopes"])}
    for application in company.applications:
        _key(api, company, kept, application.name, _SCOPES, is_outdated=application.name in outdated)


def _key(
    api: Api, company: Company, kept: Secrets, application: str, scopes: tuple[str, ...], *, is_outdated: bool = False
) -> None:
    name = f"{company.slug}/{application}"
    if name in kept.keys and not is_outdated:
        return
    made = api.call(
        "POST",
        "/api/identity/access-keys",
        {"name": application, "application": application, "scopes": list(scopes)},
        organization=company.slug,
    )
    kept.keys[name] = made["key"]


def _gateway(api: Api, company: Company, sandbox_url: str) -> None:
    there = api.call("GET", "/api/identity/provider-credentials", organization=company.slug)["items"]
    sandboxed = {item["provider"]: item for item in there if item["name"] == "sandbox"}
    for provider in SANDBOXED:
        found = sandboxed.get(provider)
        if found is None:
            api.call(
                "POST",
                "/api/identity/provider-credentials",
                {
                    "provider": provider,
                    "name": "sandbox",
                    "secret": "the sandbox asks for none",
                    "base_url": sandbox_url,
                },
                organization=company.slug,
            )
        elif found["base_url"] != sandbox_url:
            # It stands beside Nexus, whose port may be another one this time.
            path = f"/api/identity/provider-credentials/{found['id']}"
            api.call("PATCH", path, {"base_url": sandbox_url}, organization=company.slug)
    aliases = {
        item["alias"] for item in api.call("GET", "/api/catalog/model-routes", organization=company.slug)["items"]
    }
    for way in company.ways:
        if way.alias not in aliases:
            api.call("POST", "/api/catalog/model-routes", asdict(way), organization=company.slug)
