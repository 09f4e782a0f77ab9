"""An organization whose calls go through the gateway: a sandbox as its providers, an alias, and calls that had to go on."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from playwright.async_api import APIRequestContext

from tests.races.node import ROOT, free_port, until

SLUG = "routed"
ALIAS = "fast"
FIRST = "llama-3.3-70b-versatile"
SECOND = "gpt-4o-mini"


@contextlib.contextmanager
def sandbox_process() -> Iterator[str]:
    """Run a sandbox of its own; gives its host and port. Wait for it with `sandbox_answers`."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "nexus", "sandbox", "--port", str(port)], cwd=ROOT,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class Forwarded:
    """The organization, and how calls are made for it."""

    url: str
    key: str
    routes: list[dict[str, Any]]
    retried: list[dict[str, Any]] = field(default_factory=list)
    """The attempts of a request whose first provider failed twice. Made once: its breaker opens when it fails too often."""

    async def chat(self, model: str = ALIAS, **headers: str) -> tuple[int, str]:
        """Send one request; returns its status and its id."""
        body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}]}
        sent = {
            "authorization": f"Bearer {self.key}",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{self.url}/gw/v1/chat/completions", json=body, headers=sent) as answer,
        ):
            await answer.read()
            return answer.status, answer.headers["x-nexus-request-id"]

    async def attempts(self, request_id: str, count: int, browser: APIRequestContext) -> list[dict[str, Any]]:
        """Wait until so many attempts of a request are stored; the first one first."""
        found: list[dict[str, Any]] = []

        async def are_stored() -> bool:
            nonlocal found
            answer = await browser.get(
                f"{self.url}/api/metering/calls",
                params={"request_id": request_id},
                headers={"x-nexus-organization": SLUG},
            )
            found = (await answer.json())["items"][::-1]
            return len(found) == count

        await until(are_stored, f"{count} attempts are stored")
        return found


async def sandbox_answers(address: str) -> None:
    """Wait until a sandbox answers."""

    async def does() -> bool:
        try:
            async with aiohttp.ClientSession() as client, client.get(f"http://{address}/v1/models") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    await until(does, "the sandbox answers")


async def forward(url: str, sandbox: str, browser: APIRequestContext) -> Forwarded:
    """Make the organization, its credentials, its alias and its key, and wait until the gateway knows them."""
    await sandbox_answers(sandbox)
    origin = {"origin": url}

    async def make(path: str, data: dict[str, Any], **headers: str) -> dict[str, Any]:
        answer = await browser.post(f"{url}/api/{path}", data=data, headers=origin | headers)
        assert answer.status == 201, await answer.text()
        return dict(await answer.json())

    await make("identity/organizations", {"name": "Routed", "slug": SLUG})
    own = {"x-nexus-organization": SLUG}
    for provider in ("groq", "openai"):
        credential = {"provider": provider, "name": "sandbox", "secret": f"sk-{provider}-0123456789"}
        await make("identity/provider-credentials", credential | {"base_url": f"http://{sandbox}"}, **own)
    routes = [
        await make(
            "catalog/model-routes", {"alias": ALIAS, "provider": provider, "model": model, "priority": place}, **own
        )
        for place, (provider, model) in enumerate([("groq", FIRST), ("openai", SECOND)])
    ]
    key = (await make("identity/access-keys", {"name": "routed", "scopes": ["gateway:call"]}, **own))["key"]
    found = Forwarded(url, key, routes)

    async def is_known() -> bool:
        return (await found.chat())[0] == 200

    await until(is_known, "the gateway knows the organization")
    _, request_id = await found.chat(x_sandbox_status_of=f"{FIRST}=503")
    found.retried = await found.attempts(request_id, 3, browser)
    return found
