"""Rates of providers and models: quotas by another door, in force as limits like any other."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.admission.provider_limits import quota_name
from nexus.contracts.limits import Call
from nexus.dataplane.decide.engine import Admission
from nexus.platform.db import Database
from tests.admission.conftest import Api, make_key
from tests.conftest import TestOrganization


async def put(api: Api, provider: str, **rates: Any) -> httpx.Response:
    body = {"requests_per_minute": None, "tokens_per_minute": None, "reason": "our tier", **rates}
    return await api.http.put(
        f"/api/admission/provider-limits/{provider}", json=body, headers={"authorization": f"Bearer {api.key}"}
    )


@pytest.fixture(autouse=True)
async def provider(database: Database, organization: TestOrganization) -> None:
    async with database.as_system() as connection:
        await connection.execute(
            "INSERT INTO catalog.providers (id, organization_id, slug, name) VALUES (gen_random_uuid(), $1, 'exa', 'Exa')",
            organization.id,
        )


async def test_rates_are_in_force_for_the_provider_and_the_model_and_no_others(
    api: Api, organization: TestOrganization
) -> None:
    first = await put(api, "exa", requests_per_minute=2, tokens_per_minute=1000)
    model = await put(api, "exa", model="Large/v2", requests_per_minute=1)
    assert first.status_code == model.status_code == 200, (first.text, model.text)
    await api.limits.refresh()
    engine = Admission(api.redis, lambda: api.limits.table, timeout_seconds=5)

    async def ask(model: str, tokens: int = 1, provider: str = "exa") -> tuple[str, str | None]:
        call = Call(organization_id=organization.id, provider=provider, model=model, tokens=tokens)
        decision = await engine.decide(call)
        return decision.outcome, decision.refused_by.name if decision.refused_by else None

    assert await ask("small", 2000) == ("impossible", "tokens-per-minute")
    assert await ask("Large/v2") == ("admitted", None)
    assert await ask("Large/v2") == ("refused", "requests-per-minute")
    assert await ask("small") == ("admitted", None)
    assert await ask("small") == ("refused", "requests-per-minute")
    assert await ask("small", provider="openai") == ("admitted", None)
    assert await ask("Large/v2", provider="openai") == ("admitted", None)
    await engine.stop()

    listed = (await api.get("provider-limits")).json()
    fields = ("scope", "subject", "provider", "requests_per_minute", "tokens_per_minute")
    assert [tuple(item[name] for name in fields) for item in listed] == [
        ("provider", "exa", "exa", 2, 1000), ("model", "Large/v2", "exa", 1, None),
    ]  # fmt: skip


async def test_each_model_at_one_provider_has_limits_of_its_own_and_nothing_else_is_for_one_provider(
    api: Api, organization: TestOrganization
) -> None:
    once = {"name": "once", "dimension": "requests", "method": "fixed_window", "amount": "1", "period": "month"}
    quota = {"name": "each-at-exa", "reason": "a trial", "limits": [once], "provider": "exa"}
    made = await api.post("quotas", {**quota, "scope": "model"})
    wrong = await api.post("quotas", {**quota, "name": "wrong", "scope": "user"})

    assert made.status_code == 201 and made.json()["provider"] == "exa", made.text
    assert wrong.status_code == 422 and [item["field"] for item in wrong.json()["errors"]] == ["provider"], wrong.text
    await api.limits.refresh()
    engine = Admission(api.redis, lambda: api.limits.table, timeout_seconds=5)
    outcomes = [
        (await engine.decide(Call(organization_id=organization.id, provider=provider, model=model))).outcome
        for provider, model in [("exa", "a"), ("exa", "b"), ("exa", "a"), ("openai", "a"), ("openai", "a")]
    ]
    await engine.stop()
    assert outcomes == ["admitted", "admitted", "refused", "admitted", "admitted"]


async def test_a_change_is_a_version_of_its_quota_and_leaves_other_limits_alone(api: Api) -> None:
    made = (await put(api, "exa", requests_per_minute=60)).json()
    same = (await put(api, "exa", requests_per_minute=60, reason="again")).json()
    own = {"name": "daily", "dimension": "requests", "method": "fixed_window", "amount": "9", "period": "day"}
    current = (await api.get(f"quotas/{made['quota_id']}")).json()["current"]["limits"]
    await api.post(f"quotas/{made['quota_id']}/versions", {"limits": [*current, own], "reason": "a day"})

    changed = (await put(api, "exa", tokens_per_minute=500, reason="a higher tier")).json()

    assert (made["version"], same["version"], changed["version"]) == (1, 1, 3) and same["reason"] == "our tier"
    assert (changed["requests_per_minute"], changed["tokens_per_minute"]) == (None, 500)
    limits = (await api.get(f"quotas/{made['quota_id']}")).json()["current"]["limits"]
    assert {item["name"] for item in limits} == {"tokens-per-minute", "daily"}


async def test_what_makes_no_sense_is_refused_by_field_and_only_who_may_sets_rates(
    api: Api, database: Database, organization: TestOrganization
) -> None:
    zero, unknown = await put(api, "exa", requests_per_minute=0), await put(api, "nobody", requests_per_minute=1)
    taken = {"name": "provider.exa", "scope": "user", "reason": "mine", "limits": []}
    assert (await api.post("quotas", taken)).status_code == 201
    clash = await put(api, "exa", requests_per_minute=1)
    api.key = await make_key(database, organization.id, "quota:read")
    forbidden = await put(api, "exa", requests_per_minute=1)

    assert [answer.status_code for answer in (zero, unknown, clash, forbidden)] == [422, 404, 409, 403]
    assert zero.json()["errors"][0]["field"] == "requests_per_minute"


@given(st.text(st.characters(codec="ascii", exclude_characters="\x00"), min_size=1, max_size=300), st.text(max_size=9))
def test_the_names_of_quotas_are_allowed_and_tell_models_apart(one: str, more: str) -> None:
    name = quota_name("model", one)

    assert len(name) <= 63 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-") and name[0] == "m"
    assert (quota_name("model", one + more) == name) == (more == "")
