"""Aliases of models over HTTP: added, listed, taken once, removed."""

from __future__ import annotations

import httpx

from nexus.identity.types import FirstStart

URL = "/api/catalog/model-routes"
NEW = {"alias": "fast", "provider": "openai", "model": "gpt-4o-mini", "priority": 1}


async def test_an_alias_is_added_listed_and_removed(client: httpx.AsyncClient, first: FirstStart) -> None:
    client.headers["authorization"] = f"Bearer {first.access_key}"

    made = await client.post(URL, json=NEW)
    again = await client.post(URL, json=NEW)
    wrong = await client.post(URL, json=NEW | {"provider": "Open AI"})
    listed = await client.get(URL, params={"alias": "fast"})
    removed = await client.delete(f"{URL}/{made.json()['id']}")
    gone = await client.delete(f"{URL}/{made.json()['id']}")

    assert made.status_code == 201 and listed.json()["items"] == [made.json()]
    assert (again.status_code, wrong.status_code, removed.status_code, gone.status_code) == (409, 422, 204, 404)
