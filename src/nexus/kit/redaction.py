"""Keeps secrets out of what is stored and logged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

REDACTED = "[redacted]"
_SECRET_NAMES = re.compile(
    r"authorization|cookie|secret|passw|api[-_]?key|access[-_]?key|private[-_]?key|credential|signature|(?:^|[-_])token$"
    r"|(?:^|[-_])auth(?:$|[-_])",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"(?:\bnx_[A-Za-z0-9_\-]{20,}|\bsk-[A-Za-z0-9_\-]{16,}|\b(?:ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{16,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_\-]{30,}|\bxox[abprs]-[A-Za-z0-9\-]{10,}"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)|(?<=[Bb]earer )[A-Za-z0-9._~+/=\-]{8,})"
)

DEFAULT_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "accept-language", "cache-control", "content-encoding", "content-length",
        "content-type", "date", "host", "origin", "referer", "retry-after", "server", "traceparent", "user-agent",
        "x-request-id", "x-correlation-id", "request-id", "openai-processing-ms", "openai-version", "openai-model",
        "anthropic-version", "anthropic-beta", "x-ratelimit-limit-requests", "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens", "ratelimit", "ratelimit-policy", "via", "cf-ray",
    }
)  # fmt: skip


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Tell whether a header or field of this name usually holds a secret."""
    return _SECRET_NAMES.search(name) is not None


def redact_text(text: str) -> str:
    """Replace what looks like a key, a token or a password in a URL."""
    return _SECRET_TEXT.sub(REDACTED, text) if _may_hold_secret(text) else text


# What every alternative of the pattern needs: most texts have none of it, which is told sooner than by searching.
_SHORTEST_TOKEN = 15


def _may_hold_secret(text: str) -> bool:
    if "@" in text:
        return True
    return len(text) >= _SHORTEST_TOKEN and (
        "nx_" in text or "sk-" in text or "gh" in text or "github_pat_" in text or "AKIA" in text or "AIza" in text
        or "xox" in text or "eyJ" in text or "earer " in text
    )  # fmt: skip


def redact_headers(headers: Mapping[str, str], allowed: Iterable[str] = DEFAULT_HEADERS) -> dict[str, str]:
    """Keep the allow-listed headers, lower-cased and redacted; the others are left out altogether."""
    permitted = allowed if isinstance(allowed, (frozenset, set)) else frozenset(allowed)
    return {
        lower: redact_text(value)
        for name, value in headers.items()
        if (lower := name.lower()) in permitted and not is_secret_name(lower)
    }
