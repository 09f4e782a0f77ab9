"""Password hashing with argon2id, off the event loop, and what makes a password acceptable."""

from __future__ import annotations

import asyncio
import re
import secrets
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from nexus.identity.errors import WeakPassword
from nexus.kit.errors import FieldFault

# OWASP Password Storage Cheat Sheet: argon2id, 19 MiB, two passes, one lane.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Made with these parameters from random bytes that were kept nowhere: no password fits it.
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$EnzMp5v4ILNhnbnfEg7CYA$k8Vi4Mm4fXlEdXV1nXI89HVk0cxOgmmFj4xdwnnvsLg"
# Few threads: hashing is meant to be costly, and must not crowd out the event loop's own work.
_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="password")
MAX_LENGTH = 1000
LEAST_GUESSES_LOG10 = 8.0
"""A password must withstand this many guesses, as a power of ten, by whoever knows lists and patterns."""
_JUDGED_LENGTH = 72


async def hash_password(password: str) -> str:
    """Return the hash to store."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _HASHER.hash, password)


def _verify(stored: str | None, password: str) -> bool:
    try:
        _HASHER.verify(stored or _NOBODY, password)
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False
    return stored is not None


async def verify_password(stored: str | None, password: str) -> bool:
    """Tell whether a password fits; the same work is done where nothing is stored, so that time tells nothing."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _verify, stored, password[:MAX_LENGTH])


def needs_rehash(stored: str) -> bool:
    """Tell whether a stored hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(stored)


def _log10_of_guesses(password: str, own_words: list[str]) -> float:
    # Its lists of common passwords, names and words are large: loaded when the first password is set.
    from zxcvbn import zxcvbn

    found = zxcvbn(password[:_JUDGED_LENGTH], user_inputs=own_words, max_length=_JUDGED_LENGTH)
    return float(found["guesses_log10"])


async def check_strength(password: str, *, minimum: int, email: str = "") -> None:
    """Raise `WeakPassword` with the remedy. (NIST SP 800-63B: length, nothing common or near the name, no composition.)

    What is easy to guess is judged offline, by lists of common passwords and words and by patterns.
    """
    message = None
    if len(password) < minimum:
        message = f"take {minimum} or more characters"
    elif len(password) > MAX_LENGTH or "\x00" in password:
        message = f"take at most {MAX_LENGTH} characters, without NUL"
    elif len(set(password)) < 5:
        message = "take more than four different characters"
    elif email and password.lower() in {email.lower(), email.split("@", 1)[0].lower()}:
        message = "take something other than the e-mail address"
    else:
        words = [word for word in re.split(r"[^0-9a-z]+", email.lower()) if len(word) > 2]
        guesses = await asyncio.get_running_loop().run_in_executor(
            _THREADS, _log10_of_guesses, password, [*words, email.lower(), email.lower().split("@", 1)[0], "nexus"]
        )
        if guesses < LEAST_GUESSES_LOG10:
            message = "it is common or easy to guess: take several unusual words"
    if message:
        raise WeakPassword(message, faults=[FieldFault("password", message)])


def generate_password() -> str:
    """Make a password for the first start."""
    return secrets.token_urlsafe(18)
