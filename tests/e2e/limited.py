"""An organization whose calls are limited: quotas with a history, applications on a cluster, keys that may ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
from playwright.async_api import APIRequestContext

SLUG = "limited"
IOPS = {"name": "iops", "dimension": "operations", "rate": "100", "burst": "150", "burst_seconds": 60, "reserve": "20"}
FLIGHT = {"name": "flight", "dimension": "concurrency", "method": "concurrency", "amount": "8"}


@dataclass
class Limited:
    """The organization, and how calls are asked for in it."""

    url: str
    key: str
    """May do everything there."""
    quota: str
    """The quota `shop`: two versions were published, the second is in force."""
    browser: APIRequestContext

    async def api(self, method: str, path: str, data: Any = None) -> Any:
        """Ask the API as the organization's administrator; returns the answer's JSON."""
        answer = await self.browser.fetch(
            f"{self.url}/api/{path}", method=method, data=data,
            headers={"origin": self.url, "x-nexus-organization": SLUG},
        )  # fmt: skip
        assert answer.ok, await answer.text()
        return await answer.json()

    async def admit(self, **question: Any) -> tuple[int, dict[str, Any]]:
        """Ask for one call; returns status and answer."""
        async with (
            aiohttp.ClientSession() as client,
            client.post(
                f"{self.url}/v1/admit", json=question, headers={"authorization": f"Bearer {self.key}"}
            ) as answer,
        ):
            return answer.status, await answer.json()

    async def settle(self, ending: dict[str, Any]) -> None:
        """Settle one hold."""
        headers = {"authorization": f"Bearer {self.key}"}
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{self.url}/v1/settle", json=ending, headers=headers) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def use(self) -> None:
        """Ask for more calls than the application may have at once, once the limits are known."""
        question = {"operation": "write_large", "size_bytes": 4_000_000, "application": "shop"}
        while not (await self.admit(**question))[1].get("limits"):
            pass
        for _ in range(30):
            await self.admit(**question, hold_seconds=600)


async def limit(url: str, browser: APIRequestContext) -> Limited:
    """Make it."""
    found = Limited(url, "", "", browser)
    answer = await browser.post(
        f"{url}/api/identity/organizations", data={"name": "Limited", "slug": SLUG}, headers={"origin": url}
    )
    assert answer.status == 201, await answer.text()
    cluster = await found.api("POST", "admission/clusters", {"name": "ceph-1", "region": "eu", "max_capacity": 50_000})
    shop = await found.api("POST", "admission/applications", {"name": "shop", "cluster_id": cluster["id"]})
    rule = {"application_id": shop["id"], "operation": "read_small", "c_base": "0.5"}
    await found.api("POST", "admission/cost-rules", rule)
    first = {"name": "shop", "scope": "application", "subject": "shop", "limits": [IOPS], "reason": "launch"}
    found.quota = (await found.api("POST", "admission/quotas", first))["id"]
    version = {"limits": [{**IOPS, "rate": "120"}, FLIGHT], "reason": "the sale is on"}
    await found.api("POST", f"admission/quotas/{found.quota}/versions", version)
    key = {"name": "limited", "scopes": ["calls:admit", "quota:read", "quota:create"]}
    found.key = (await found.api("POST", "identity/access-keys", key))["key"]
    return found
