"""What makes a password acceptable: length and being hard to guess, nothing else; and that it is taken as it was typed."""

from __future__ import annotations

import asyncpg
import httpx
import pytest
from argon2 import PasswordHasher

from nexus.identity import passwords
from nexus.identity.errors import WeakPassword
from nexus.identity.passwords import check_strength, hash_password, needs_rehash, verify_password
from tests.identity.people import PASSWORD, sign_in


@pytest.mark.parametrize(
    "password",
    [
        "password1234", "123456789012", "qwertyuiop123", "letmein12345", "aaaaaaaaaaaaaaaa", "abcabcabcabc",
        "Password123!", "ada.lovelace1", "nexusnexus12", "iloveyou1234",
    ],
)  # fmt: skip
async def test_what_is_easy_to_guess_is_refused_with_the_remedy(password: str) -> None:
    with pytest.raises(WeakPassword) as refused:
        await check_strength(password, minimum=12, email="ada.lovelace@example.com")

    assert refused.value.faults[0].field == "password"


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "lowercase onlywords here",
        "тридцать три коровы",
        "長い合言葉は安全です本当に",
        "x7!" * 20 + "Kd92ms",
    ],
)
async def test_any_characters_make_a_password(password: str) -> None:
    await check_strength(password, minimum=12, email="ada@example.com")


@pytest.mark.parametrize(
    ("password", "minimum"), [("elevenchars", 12), ("k9#mQ2v", 8), ("a\x00" * 10, 12), ("ab" * 501, 12)]
)
async def test_length_has_bounds(password: str, minimum: int) -> None:
    with pytest.raises(WeakPassword):
        await check_strength(password, minimum=minimum)


async def test_a_password_is_taken_as_it_was_typed() -> None:
    long = "a long phrase with spaces at its end  " + "und weiter " * 20
    stored = await hash_password(long)

    assert await verify_password(stored, long)
    for changed in (long.strip(), long.lower() + " ", long.upper(), long[:72], long[:-1]):
        assert not await verify_password(stored, changed)


async def test_two_hashes_of_one_password_differ() -> None:
    assert await hash_password(PASSWORD) != await hash_password(PASSWORD)


async def test_a_new_password_is_judged_wherever_it_is_set(client: httpx.AsyncClient) -> None:
    await sign_in(client)

    changed = await client.post(
        "/api/identity/me/password", json={"current_password": PASSWORD, "new_password": "password1234"}
    )
    made = await client.post("/api/identity/users", json={"email": "b@example.com", "password": "password1234"})

    assert {item.json()["errors"][0]["field"] for item in (changed, made)} == {"password"}


async def test_a_hash_of_former_parameters_is_made_anew_at_sign_in(
    client: httpx.AsyncClient, admin_connection: asyncpg.Connection, product_hasher: PasswordHasher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(passwords, "_HASHER", product_hasher)
    former = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(PASSWORD)
    await admin_connection.execute("UPDATE identity.passwords SET password_hash = $1", former)

    first, second = [(await sign_in(client)).status_code for _ in range(2)]
    stored = await admin_connection.fetchval("SELECT password_hash FROM identity.passwords")

    assert (first, second) == (200, 200)
    assert stored != former and not needs_rehash(stored)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$"), "OWASP's parameters"


def test_whoever_does_not_exist_takes_as_much_work_as_anybody(product_hasher: PasswordHasher) -> None:
    assert not product_hasher.check_needs_rehash(passwords._NOBODY)
