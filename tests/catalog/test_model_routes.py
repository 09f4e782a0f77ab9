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


async def test_a_way_is_changed_and_what_is_left_out_stays(client: httpx.AsyncClient, first: FirstStart) -> None:
    client.headers["authorization"] = f"Bearer {first.access_key}"
    made = (await client.post(URL, json=NEW)).json()
    other = (await client.post(URL, json=NEW | {"model": "gpt-4o"})).json()

    changed = await client.patch(f"{URL}/{made['id']}", json={"priority": 3, "weight": 0})
    renamed = await client.patch(f"{URL}/{made['id']}", json={"alias": "quick", "model": "gpt-4.1"})
    nothing = await client.patch(f"{URL}/{made['id']}", json={})
    taken = await client.patch(f"{URL}/{made['id']}", json={"alias": "fast", "model": "gpt-4o"})
    wrong = await client.patch(f"{URL}/{made['id']}", json={"weight": -1})
    unknown = await client.patch(f"{URL}/{other['id'][:-4]}0000", json={"weight": 1})

    assert changed.json() == made | {"priority": 3, "weight": 0}
    assert renamed.json() == nothing.json() == changed.json() | {"alias": "quick", "model": "gpt-4.1"}
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (409, "model")
    assert (wrong.status_code, unknown.status_code) == (422, 404)
    listed = (await client.get(URL)).json()["items"]
    assert listed == [renamed.json(), other]
