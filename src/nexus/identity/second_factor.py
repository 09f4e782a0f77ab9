"""The second factor: time-based one-time passwords (RFC 6238) and recovery codes.

    none --enrol--> pending --confirm with a first code--> enrolled --take away (fresh proof)--> none

A pending one changes nothing at sign-in. A code is taken at most once, whether it came from the app or from the list of
recovery codes, and none is taken that is older than one taken before.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import pyotp

from nexus.contracts.keys import key_hash
from nexus.identity import lockout, sessions, store
from nexus.identity.errors import AlreadyEnrolled, ChallengeEnded, NotEnrolled, WrongCode
from nexus.identity.types import Principal, SignedIn
from nexus.kit.errors import FieldFault, InvalidRequest
from nexus.platform.db import Actor, Connection, Database
from nexus.platform.db.configuration import get_configuration
from nexus.platform.sealing import Sealer

STEP_SECONDS = 30
DRIFT_STEPS = 1
"""How many steps a phone's clock may be off, either way."""
RECOVERY_CODES = 10
_RECOVERY_BYTES = 15
CHALLENGE_MINUTES = 5
ISSUER = "Nexus"


class SecondFactor(msgspec.Struct, frozen=True):
    """How a person's second factor stands."""

    is_enrolled: bool
    confirmed_at: datetime | None
    recovery_codes_left: int


class Enrolment(msgspec.Struct, frozen=True):
    """What an authenticator app needs; shown once."""

    secret: str
    otpauth_uri: str


class Challenge(msgspec.Struct, frozen=True):
    """A sign-in whose password was right: the code that is due goes with this token."""

    challenge: str
    expires_at: datetime
    methods: tuple[str, ...] = ("totp", "recovery_code")


def _context(user_id: UUID) -> bytes:
    return b"identity.second_factors/" + user_id.bytes


def new_recovery_codes() -> list[str]:
    """Make recovery codes: 120 random bits each, in groups that can be read out."""
    texts = (base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode() for _ in range(RECOVERY_CODES))
    return ["-".join(text[start : start + 6] for start in range(0, len(text), 6)) for text in texts]


def _plain(code: str) -> str:
    return "".join(code.split()).replace("-", "").upper()


def step_of_code(secret: str, code: str, at: datetime) -> int | None:
    """Return the time step whose code this is, of the current one and its neighbours; None for a wrong code."""
    otp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    now = int(at.timestamp()) // STEP_SECONDS
    matching = [
        step
        for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1)
        if hmac.compare_digest(otp.generate_otp(step).encode(), code.encode())
    ]
    return matching[-1] if matching else None


async def status(connection: Connection, user_id: UUID) -> SecondFactor:
    """Tell how a person's second factor stands, as nexus_system."""
    found = await store.row(connection, "second_factor", user_id)
    if found is None or found["confirmed_at"] is None:
        return SecondFactor(False, None, 0)
    return SecondFactor(True, found["confirmed_at"], found["codes_left"])


async def enrol(connection: Connection, user_id: UUID, email: str, sealer: Sealer, at: datetime) -> Enrolment:
    """Make a secret, as nexus_system. Enrolling again before confirming makes another; after it: `AlreadyEnrolled`."""
    secret = pyotp.random_base32(32)
    if not await store.run(
        connection, "start_second_factor", user_id, sealer.seal(secret.encode(), _context(user_id)), at
    ):
        raise AlreadyEnrolled
    return Enrolment(secret, pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER))


async def _take(connection: Connection, user_id: UUID, code: str, sealer: Sealer, at: datetime) -> str | None:
    """Take a code if it is right; returns what it was. A pending factor takes codes of the app only."""
    found = await store.row(connection, "lock_second_factor", user_id)
    if found is None:
        return None
    plain = _plain(code)
    if len(plain) == 6 and plain.isascii() and plain.isdigit():
        secret = sealer.open(bytes(found["secret_sealed"]), _context(user_id)).decode()
        step = step_of_code(secret, plain, at)
        if step is not None and await store.run(connection, "take_step", user_id, step):
            return "totp"
    elif found["confirmed_at"] is not None and await store.run(
        connection, "use_recovery_code", user_id, key_hash(plain), at
    ):
        return "recovery_code"
    return None


async def _begin(connection: Connection, user_id: UUID, device: str | None, at: datetime) -> lockout.Attempt:
    """Count an attempt: a known device has a lane of its own, all strangers together have one.

    Only who knows the password comes here, so that a stranger's failures must add up over all addresses.
    """
    rules = lockout.Rules.of(await get_configuration(connection))
    known = await store.value(connection, "known_device", key_hash(device or ""), user_id)
    source = "second-factor" if known is None else f"second-factor:device:{known}"
    return await lockout.begin(connection, lockout.subject_of_user(user_id), source, rules, at)


async def check_code(
    database: Database,
    user_id: UUID,
    code: str,
    *,
    sealer: Sealer,
    actor: Actor,
    at: datetime,
    device: str | None = None,
) -> None:
    """Take a code of somebody who is signed in; raises where it is wrong. Wrong ones are counted."""
    async with database.as_system(actor) as connection:
        attempt = await _begin(connection, user_id, device, at)
        until = attempt.locked_until
        if until is None:
            if await _take(connection, user_id, code, sealer, at) is not None:
                await attempt.succeed(connection)
                return
            until = await attempt.fail(connection, at)
            await store.log_security(connection, "wrong_code", "MEDIUM", user_id, actor, {})
    if until is not None:
        raise lockout.locked(until, at)
    raise InvalidRequest("code: it is wrong, or was used before", faults=[FieldFault("code", "give the next one")])


async def confirm(
    connection: Connection, principal: Principal, code: str, sealer: Sealer, actor: Actor, at: datetime
) -> list[str]:
    """Put a pending factor in force by its first code, as nexus_system; returns the recovery codes, shown once.

    Every other session of the person ends: they were opened without it.
    """
    user_id = principal.user_id
    assert user_id is not None
    if await store.value(connection, "has_second_factor", user_id):
        raise AlreadyEnrolled
    if await _take(connection, user_id, code, sealer, at) != "totp":
        raise InvalidRequest("code: it is wrong", faults=[FieldFault("code", "give the code the app shows now")])
    await store.run(connection, "confirm_second_factor", user_id, at)
    await store.run(connection, "mark_second_factor", user_id, True)
    await store.run(connection, "mark_mfa_verified", principal.session_id)
    await sessions.end_sessions(connection, user_id, at, keep=principal.session_id)
    await store.log_security(connection, "second_factor_enrolled", "MEDIUM", user_id, actor, {})
    return await renew_recovery_codes(connection, user_id, actor, at)


async def renew_recovery_codes(connection: Connection, user_id: UUID, actor: Actor, at: datetime) -> list[str]:
    """Make new recovery codes, as nexus_system; those before are worth nothing any more."""
    if not await store.value(connection, "has_second_factor", user_id):
        raise NotEnrolled
    codes = new_recovery_codes()
    await store.run(connection, "delete_recovery_codes", user_id)
    await store.run(connection, "insert_recovery_codes", user_id, [key_hash(_plain(code)) for code in codes], at)
    await store.log_security(connection, "recovery_codes_renewed", "MEDIUM", user_id, actor, {})
    return codes


async def take_away(connection: Connection, user_id: UUID, actor: Actor) -> None:
    """Take the second factor off an account, as nexus_system."""
    if not await store.run(connection, "delete_second_factor", user_id):
        raise NotEnrolled
    await store.run(connection, "mark_second_factor", user_id, False)
    await store.log_security(connection, "second_factor_removed", "HIGH", user_id, actor, {})


async def challenge(connection: Connection, user_id: UUID, at: datetime, *, method: str = "password") -> Challenge:
    """Ask for the code, as nexus_system: the password was right, or a provider vouched for the person."""
    token = secrets.token_urlsafe(32)
    expires_at = at + timedelta(minutes=CHALLENGE_MINUTES)
    await store.run(connection, "insert_challenge", key_hash(token), user_id, expires_at, method)
    return Challenge(token, expires_at)


async def answer(
    database: Database,
    *,
    token: str,
    code: str,
    sealer: Sealer,
    actor: Actor,
    at: datetime,
    device: str | None = None,
    replaces: str | None = None,
) -> SignedIn:
    """Open the session a challenge stands for. `ChallengeEnded` when it is too old, `WrongCode`, `AccountLocked`."""
    async with database.as_system(actor) as connection:
        found = await store.row(connection, "challenge", key_hash(token), at)
        if found is None:
            raise ChallengeEnded
        user_id: UUID = found["user_id"]
        attempt = await _begin(connection, user_id, device, at)
        until = attempt.locked_until
        if until is None:
            taken = await _take(connection, user_id, code, sealer, at)
            # Of two answers at once only one finds the challenge still there.
            if taken is not None and await store.run(connection, "delete_challenge", key_hash(token)):
                await attempt.succeed(connection)
                if taken == "recovery_code":
                    await store.log_security(connection, "recovery_code_used", "HIGH", user_id, actor, {})
                settings = await get_configuration(connection)
                return await sessions.open_session(
                    connection, user_id, actor, at, settings, method=found["method"], is_mfa_verified=True,
                    device=device, replaces=replaces,
                )  # fmt: skip
            until = await attempt.fail(connection, at)
            await store.log_security(connection, "wrong_code", "HIGH", user_id, actor, {})
    if until is not None:
        raise lockout.locked(until, at)
    raise WrongCode
