"""Which provider a host is, and the template of a path: what is recorded of an address, and no more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

HOSTS = {
    "api.openai.com": "openai",
    "eu.api.openai.com": "openai",
    "us.api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "aiplatform.googleapis.com": "google",
    "api.mistral.ai": "mistral",
    "codestral.mistral.ai": "mistral",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.x.ai": "x-ai",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "api.fireworks.ai": "fireworks",
    "api.perplexity.ai": "perplexity",
    "openrouter.ai": "openrouter",
    "router.huggingface.co": "huggingface",
    "api-inference.huggingface.co": "huggingface",
    "api.voyageai.com": "voyageai",
    "api.cerebras.ai": "cerebras",
    "api.moonshot.ai": "moonshotai",
    "api.elevenlabs.io": "elevenlabs",
    "api.twilio.com": "twilio",
    "api.sendgrid.com": "sendgrid",
    "slack.com": "slack",
    "api.slack.com": "slack",
    "api.exa.ai": "exa",
    "api.tavily.com": "tavily",
    "api.search.brave.com": "brave",
    "api.apollo.io": "apollo",
    "api.hubapi.com": "hubspot",
    "api.stripe.com": "stripe",
    "api.github.com": "github",
}
_ENDINGS = {
    ".openai.azure.com": "azure",
    ".services.ai.azure.com": "azure",
    ".cognitiveservices.azure.com": "azure",
    "-aiplatform.googleapis.com": "google",
}
_BEDROCK = re.compile(r"bedrock-(?:runtime|agent-runtime)(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")

_VARIABLE = {
    "models": "{model}", "model": "{model}", "engines": "{model}", "deployments": "{deployment}",
    "projects": "{project}", "locations": "{location}",
    "twilio/accounts": "{AccountSid}", "twilio/messages": "{Sid}", "github/repos": "{owner}",
    "hubspot/contacts": "{contactId}", "stripe/charges": "{charge}",
}  # fmt: skip
"""Names after which a variable part comes, whatever it looks like; some mean that with one provider only."""
_WORD = re.compile(
    r"(?!(?:sk|pk|rk|nx|gh[a-z]|xox[a-z])[-_])"
    r"(?:[a-z]+(?:[_.\-][a-z]+)*|[a-z]*(?:[A-Z][a-z]+)+(?:\.[a-z]+)?)(?::[a-zA-Z]+)?"
    r"|[vV]\d+(?:[a-z]+\d*)?|\d{4}-\d{2}-\d{2}"
)
_MAX_WORD_CHARS = 40
_MODEL_IN_PATH = re.compile(r"/(?:models?|engines)/([^/?]+?)(?::[A-Za-z]+)?(?:/|$)")
_MAX_SEGMENTS = 16
_MAX_CHARS = 200


def template_of(path: str, provider: str = "") -> str:
    """Return the template of a path: parts that may be ids, names or secrets are replaced; the query is left out.

    Only words without digits, versions and dates stay as they are.
    """
    segments = path.split("?", 1)[0].split("#", 1)[0].split("/")[: _MAX_SEGMENTS + 1]
    parts: list[str] = []
    before = ""
    for segment in segments:
        stem, dot, ending = segment.rpartition(".")
        suffix = f".{ending}" if dot and stem and ending in {"json", "xml"} else ""
        named = _VARIABLE.get(before.lower()) or _VARIABLE.get(f"{provider}/{before.lower()}")
        if not segment:
            part = ""
        elif named is not None and not _is_collection_verb(segment):
            _, colon, verb = unquote(segment).rpartition(":")
            part = named + (f":{verb}" if colon and verb.isalpha() else suffix)
        elif parts and parts[-1] == "{owner}":
            part = "{repo}"
        elif len(segment) <= _MAX_WORD_CHARS and _WORD.fullmatch(segment):
            part = segment
        else:
            part = "{id}" + suffix
        parts.append(part)
        before = segment
    return "/".join(parts)[:_MAX_CHARS] or "/"


def _is_collection_verb(segment: str) -> bool:
    return segment in {"search", "batch", "list"}


def model_in_path(path: str) -> str | None:
    """Return the model that a path names, as Gemini's and Bedrock's do."""
    found = _MODEL_IN_PATH.search(path)
    return unquote(found.group(1))[:_MAX_CHARS] if found else None


class Providers:
    """Tells whether a host's calls are recorded, and as whose. Calls to Nexus itself never are: it records its own."""

    def __init__(self, hosts: Mapping[str, str], *, records_unknown: bool, own_url: str) -> None:
        self._hosts = {host.lower(): slug for host, slug in hosts.items()}
        self._records_unknown = records_unknown
        try:
            parts = urlsplit(own_url)
            self._own = (parts.hostname, parts.port)
        except ValueError:
            self._own = (None, None)

    def of(self, host: str, port: int | None) -> str | None:
        """Return the provider's slug, or None where calls are not recorded. Names given with their port go first."""
        host = host.lower()
        if (host, port) == self._own:
            return None
        found = self._hosts.get(f"{host}:{port}") or self._hosts.get(host) or HOSTS.get(host)
        if found is not None:
            return found
        for ending, slug in _ENDINGS.items():
            if host.endswith(ending):
                return slug
        if _BEDROCK.fullmatch(host):
            return "aws"
        return host[:64] if self._records_unknown else None
