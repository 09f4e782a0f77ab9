"""Recorded exchanges with dozens of providers, served by a replaying upstream through the gateway.

Reads `*_http_exchanges.jsonl*` below the folder that NEXUS_ACCEPT_DATA names. Every answer arrives byte for byte; the usage
that is recorded equals the usage in the answer, as another library reads it; the cost equals that library's price. What
differs is listed with its reason, and counted; NEXUS_ACCEPT_REPORT names a page to write that to (`make exchanges`).
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers as LIBRARY  # noqa: N812

from nexus.catalog import service as catalog
from nexus.catalog.importers.files import read_bytes
from nexus.contracts.units import USAGE_KEYS
from nexus.dataplane.gateway.streams import FrameSplitter
from nexus.kit.money import round_nanos
from tests.accept import exchanges as page
from tests.accept.exchanges import Findings, write_page
from tests.dataplane.gateway.conftest import Node, node, sandbox, served  # noqa: F401

FOLDER = os.environ.get("NEXUS_ACCEPT_DATA", "")
FILES = sorted(Path(FOLDER).rglob("*_http_exchanges.jsonl*")) if FOLDER else []
REPORT = os.environ.get("NEXUS_ACCEPT_REPORT", "")

pytestmark = pytest.mark.skipif(not FOLDER, reason="NEXUS_ACCEPT_DATA names no folder with llm_wire exchanges")

SLUGS = {
    "api.openai.com": "openai", "api.anthropic.com": "anthropic", "generativelanguage.googleapis.com": "google",
    "aiplatform.googleapis.com": "google", "europe-west4-aiplatform.googleapis.com": "google", "api.groq.com": "groq",
    "api.cohere.com": "cohere", "api.mistral.ai": "mistral", "openrouter.ai": "openrouter", "api.deepseek.com": "deepseek",
    "api.together.xyz": "together", "router.huggingface.co": "huggingface", "api.tavily.com": "tavily",
}  # fmt: skip
NOT_SENT = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding", "authorization", "expect"}
NOT_REPLAYED = {"content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive"}


def slug_of(host: str) -> str:
    if host in SLUGS:
        return SLUGS[host]
    if host.endswith("openai.azure.com"):
        return "azure"
    if "amazonaws.com" in host and "bedrock" in host:
        return "aws"
    return re.sub(r"[^a-z0-9.-]", "-", host.lower())[:60]


@dataclass
class Replayed:
    """One recorded exchange."""

    number: int
    file: str
    method: str
    uri: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer_headers: list[tuple[str, str]]
    answer: bytes
    """The body as it was before any encoding."""
    sent: bytes = b""
    """The body as the upstream sends it."""
    slug: str = ""
    received: bytes = b""
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return urlsplit(self.uri).path


def _bytes(part: Mapping[str, Any]) -> bytes:
    body = part.get("body")
    if body is None:
        return b""
    if part["body_kind"] == "base64":
        return b64decode(body)
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else json.dumps(body).encode()


def exchanges_of(path: Path) -> Iterator[Replayed]:
    for number, line in enumerate(read_bytes(path).splitlines()):
        row = json.loads(line)
        asked, answered = row["request"], row["response"]
        answer = _bytes(answered)
        headers: list[tuple[str, str]] = []
        is_packed = False
        for name, value in (answered.get("headers") or {}).items():
            lower = name.lower()
            value = value[0] if isinstance(value, list) else value
            is_packed = is_packed or (lower == "content-encoding" and "gzip" in value)
            if lower not in NOT_REPLAYED:
                headers.append((lower, str(value)))
        found = Replayed(
            number, path.name, asked["method"], asked["uri"],
            {name: str(value[0] if isinstance(value, list) else value) for name, value in asked["headers"].items()},
            _bytes(asked), int(answered["status"]), headers, answer,
        )  # fmt: skip
        found.slug = slug_of(urlsplit(found.uri).hostname or "")
        # Of those that came compressed every second is compressed again; the others come plain.
        if is_packed and answer and number % 2 == 0:
            found.sent = gzip.compress(answer)
            headers.append(("content-encoding", "gzip"))
        else:
            found.sent = answer
        yield found


class Upstream:
    """Answers with what was recorded, in chunks of odd sizes."""

    def __init__(self, exchanges: list[Replayed]) -> None:
        self._exchanges = exchanges

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        found = self._exchanges[int(headers[b"x-replay"])]
        while (await receive()).get("more_body"):
            pass
        start = [
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in found.answer_headers
        ]
        await send({"type": "http.response.start", "status": found.status, "headers": start})
        content, at, size = found.sent, 0, 1 + found.number % 977
        if found.status not in {204, 304}:
            while at < len(content):
                await send({"type": "http.response.body", "body": content[at : at + size], "more_body": True})
                at += size
                size = min(size * 3, 50_000)
        await send({"type": "http.response.body", "body": b""})


def parts_of(found: Replayed) -> list[Any]:
    """Everything in an answer that is JSON, by simple means of the test's own."""
    kind = next((value for name, value in found.answer_headers if name == "content-type"), "")
    if "vnd.amazon.eventstream" in kind:
        payloads: list[bytes] = list(FrameSplitter().feed(found.answer))
    elif "event-stream" in kind:
        text = re.sub(rb"\r\n?", b"\n", found.answer)
        payloads = [
            b"\n".join(line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:"))
            for block in text.split(b"\n\n")
        ]
    elif "ndjson" in kind:
        payloads = found.answer.split(b"\n")
    else:
        payloads = [found.answer]
    parts: list[Any] = []
    for payload in payloads:
        try:
            part = json.loads(payload)
        except ValueError:
            continue
        parts += part if isinstance(part, list) else [part]
    return parts


NAMES = {
    "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "promptTokenCount", "candidatesTokenCount",
    "inputTokens", "outputTokens", "inputTextTokenCount", "prompt_eval_count", "eval_count", "prompt_token_count",
    "generation_token_count", "inputTokenCount", "outputTokenCount", "generated_token_count", "input_token_count",
    "total_tokens", "output_token_count",
}  # fmt: skip


def carries_usage(value: Any) -> bool:
    """Tell whether a count of model tokens above 0 stands anywhere."""
    if isinstance(value, dict):
        return any(
            (name in NAMES and isinstance(item, (int, float)) and item > 0) or carries_usage(item)
            for name, item in value.items()
        )
    return isinstance(value, list) and any(carries_usage(item) for item in value)


def flavors_of(found: Replayed) -> list[str]:
    path = found.path
    if path.endswith("/messages"):
        return ["anthropic", "default"]
    if "/invoke" in path and "anthropic" in path:
        return ["anthropic"]
    if path.endswith("/responses"):
        return ["responses"]
    if path.endswith(("/embeddings", "/embed")):
        return ["embeddings"]
    if path.endswith(("/images/generations", "/images/edits")):
        return ["images"]
    if found.slug == "openrouter":
        return ["chat"]
    return ["default", "chat"]


def expected_usage(found: Replayed, parts: list[Any]) -> tuple[str | None, dict[str, int]] | None:
    """Read the usage with the library's extractors: of a stream the last, Anthropic's two halves joined first."""
    provider = next((item for item in LIBRARY if item.id == found.slug), None)
    if provider is None or not provider.extractors:
        return None
    candidates: list[Any] = []
    merged: dict[str, Any] = {}
    model: str | None = None
    for part in parts:
        if not isinstance(part, dict):
            continue
        inner = part.get("message") if part.get("type") == "message_start" else part.get("response", part)
        inner = inner if isinstance(inner, dict) else part
        model = inner.get("model") or model
        if part.get("type") in {"message_start", "message_delta"} and isinstance(inner.get("usage"), dict):
            merged |= {name: value for name, value in inner["usage"].items() if value is not None}
            inner = {"model": model, "usage": dict(merged)}
        if found.slug == "cohere" and "delta" in inner:
            inner = inner["delta"]
        candidates.append(inner)
    for candidate in reversed(candidates):
        for flavor in flavors_of(found):
            try:
                name, usage = provider.extract_usage(candidate, api_flavor=flavor)
            except (ValueError, KeyError, TypeError):
                continue
            counts = {
                key: int(value) for key, value in vars(usage).items() if isinstance(value, (int, Decimal)) and value
            }
            return name or model, counts
    return None


COMPARED = ("input", "output", "cached_input", "cache_write", "reasoning", "audio_input", "audio_output")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_recorded_exchanges_pass_whole_and_are_measured_and_priced(node: Node, path: Path) -> None:  # noqa: F811
    exchanges = list(exchanges_of(path))
    async with node.database.as_system() as connection:
        imported = catalog.read_price_list("genai-prices", None)
        await catalog.import_price_list(connection, imported, at=datetime.now(UTC), actor_label="test")
        slugs = {item.slug for item in exchanges}
        known = {row["slug"] for row in await connection.fetch("SELECT slug FROM catalog.providers")}
        for slug in sorted(slugs - known):
            await connection.execute(
                "INSERT INTO catalog.providers (id, organization_id, slug, name, base_url, auth_types)"
                " VALUES (gen_random_uuid(), $1, $2, $2, $3, '{none}')",
                node.organization_id, slug, "http://127.0.0.1:1",
            )  # fmt: skip
    async with served(Upstream(exchanges)) as url:
        async with node.database.tenant(node.organization_id) as connection:
            await connection.execute("DELETE FROM identity.provider_credentials")
        for slug in sorted(slugs):
            await node.add_credential(slug, url)
        limit = asyncio.Semaphore(16)

        async def replay(place: int, found: Replayed, client: aiohttp.ClientSession) -> None:
            headers = {name: value for name, value in found.headers.items() if name.lower() not in NOT_SENT}
            headers |= {"x-replay": str(place), "authorization": f"Bearer {node.key}", "accept-encoding": "gzip"}
            headers["x-nexus-tags"] = f"replay={place}"
            parts = urlsplit(found.uri)
            target = f"{node.url}/gw/{found.slug}{parts.path}" + (f"?{parts.query}" if parts.query else "")
            async with limit, client.request(
                found.method, aiohttp.client.URL(target, encoded=True), headers=headers, data=found.body or None,
                allow_redirects=False,
            ) as answer:  # fmt: skip
                found.received = await answer.read()
                assert answer.status == found.status, (
                    f"{found.file}:{found.number}: {answer.status} {found.received[:200]!r}"
                )

        async with aiohttp.ClientSession(auto_decompress=False) as client:
            await asyncio.gather(*(replay(place, found, client) for place, found in enumerate(exchanges)))
    rows = await node.calls(len(exchanges), within_seconds=60)
    for row in rows:
        exchanges[int(row["tags"]["replay"])].row = row

    findings = Findings(path.name, len(exchanges), len({urlsplit(item.uri).hostname for item in exchanges}))
    for found in exchanges:
        judge(found, findings)
    print(findings.text())
    unexplained = findings.unexplained
    assert not unexplained, f"{len(unexplained)}:\n" + "\n".join(unexplained[:60])
    FOUND.append(findings)


FOUND: list[Findings] = []


def test_the_page_is_written_where_one_is_asked_for() -> None:
    if not REPORT:
        pytest.skip("NEXUS_ACCEPT_REPORT names no page to write: `make exchanges DATA=folder` does")
    assert len(FOUND) == len(FILES), "a file failed"

    write_page(Path(REPORT), FOUND)


def judge(found: Replayed, findings: Findings) -> None:
    row, counts = found.row, findings.counts
    where, about = f"{found.file}:{found.number} {found.slug} {found.path}", f"{found.slug} `{shown(found.path)}`"

    def unexplained(text: str) -> None:
        findings.unexplained.append(f"{where}: {text}")

    if found.received == found.sent or found.status in {204, 304}:
        counts[page.SAME] += 1
    elif without_usage_event(found.sent) == found.received:
        counts[page.SAME_BUT_USAGE] += 1
    else:
        unexplained(f"other bytes ({len(found.received)}, not {len(found.sent)})")
    parts = parts_of(found)
    stored = {name: row[f"{name}_tokens"] for name in COMPARED}
    counts[page.ERRORS] += row["status_code"] >= 400
    if row["status_code"] >= 400 or not carries_usage(parts):
        counts[page.WITHOUT_USAGE] += 1
        return
    counts[page.WITH_USAGE] += 1
    if found.path.rstrip("/").rpartition("/")[2].rpartition(":")[2] in COUNTING:
        findings.but("counts beforehand", about, found.number)
        if any(stored.values()):
            unexplained(f"{stored} though nothing was used")
        return
    how = row["metadata"].get("gateway", {}).get("usage")
    if how != "exact":
        unexplained(f"{how} usage though the answer has it: {str(parts)[-300:]}")
        return
    expected = expected_usage(found, parts)
    if expected is None:
        plain = plain_usage(parts)
        if (stored["input"], stored["output"]) in plain:
            counts[page.TOLD_ALIKE] += 1
            findings.but("no rule", about, found.number)
        else:
            unexplained(f"{stored}, not {plain}: {str(parts)[-300:]}")
        return
    model, usage = expected
    ours = {USAGE_KEYS.get(key, key): count for key, count in usage.items()}
    wanted = {name: ours.get(name, 0) for name in COMPARED}
    if wanted == stored:
        counts[page.READ_ALIKE] += 1
    elif within_whole(wanted) == stored:
        findings.but("part above whole", f"{about} {row['model']}", found.number)
        return
    else:
        unexplained(f"{stored}, not {wanted}")
        return
    try:
        price = calc_price(
            Usage(**usage), model_ref=model or row["model"], provider_id=found.slug,
            genai_request_timestamp=row["occurred_at"], price_context=context_of(parts),
        )  # fmt: skip
    except LookupError:
        ours_says = "priced by the list all the same" if row["cost"] is not None else "unpriced"
        findings.but("no golden price", f"{about} {row['model'] or '(no model)'}: {ours_says}", found.number)
        return
    except ValueError as error:
        findings.but("library cannot price", f"{about} {row['model']}: {str(error)[:80]}", found.number)
        return
    if row["unpriced_reason"] == "no_price_for_model" and price.total_price == 0:
        findings.but("not free", f"{about} {row['model']}", found.number)
        return
    counts[page.WITH_PRICE] += 1
    if row["cost"] is not None and round_nanos(Decimal(row["cost"])) == round_nanos(price.total_price):
        counts[page.COST_ALIKE] += 1
    else:
        reason = row["unpriced_reason"] or f"{row['cost']}, not {price.total_price}"
        unexplained(f"cost {reason} ({row['model']} {model} {usage} {row['service_variant']})")


COUNTING = {"count_tokens", "count-tokens", "countTokens", "input_tokens"}


def shown(path: str) -> str:
    """A path without what differs from call to call."""
    path = re.sub(r"(?<=/)arn%3A[^/]*", "{arn}", path)
    path = re.sub(r"(?<=/)[0-9a-f]{8}-[0-9a-f-]{20,}|(?<=/)[A-Za-z0-9_-]*\d[A-Za-z0-9_-]{23,}", "{id}", path)
    return path.replace("|", "%7C")[:120]


def within_whole(counts: dict[str, int]) -> dict[str, int]:
    """Keep each part of a count within its whole."""
    wholes = {"cached_input": "input", "cache_write": "input", "audio_input": "input"}
    return {
        name: min(count, counts[wholes.get(name, "output")] if name not in {"input", "output"} else count)
        for name, count in counts.items()
    }


IN_NAMES = {
    "prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens", "inputTextTokenCount", "prompt_eval_count",
    "prompt_token_count", "inputTokenCount", "input_token_count",
}  # fmt: skip
OUT_NAMES = {
    "completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens", "eval_count", "generation_token_count",
    "outputTokenCount", "generated_token_count", "output_token_count", "totalOutputTextTokenCount", "tokenCount",
}  # fmt: skip
TOTAL_NAMES = {"total_tokens", "totalTokenCount", "totalTokens"}
MORE_INPUT = {"cache_read_input_tokens", "cache_creation_input_tokens", "cacheReadInputTokens", "cacheWriteInputTokens"}


def plain_usage(parts: list[Any]) -> set[tuple[int, int]]:
    """Read input and output as a person would: the last of each name that is told; what is left of a total is output too.

    Several readings are possible where an answer tells more than these.
    """
    last: dict[str, int] = {}
    # Where a provider tells tokens and those that it bills, the latter.
    billed = [item for part in parts for item in billed_units(part)]
    for part in billed or parts:
        for name, value in named_counts(part):
            kind = next((kind for kind, names in KINDS.items() if name in names), name)
            last[kind] = value if value or kind not in last else last[kind]
    more = sum(last.get(name, 0) for name in MORE_INPUT)
    given, made, total = last.get("input", 0), last.get("output", 0), last.get("total")
    found = {(given, made), (given + more, made)}
    if total is not None:
        found |= {(given, total - given), (total - made, made)}
    return found


KINDS = {"input": IN_NAMES, "output": OUT_NAMES, "total": TOTAL_NAMES}


def billed_units(value: Any) -> Iterator[Any]:
    """Everything that is named so in an answer."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "billed_units":
                yield item
            else:
                yield from billed_units(item)
    elif isinstance(value, list):
        for item in value:
            yield from billed_units(item)


def named_counts(value: Any) -> Iterator[tuple[str, int]]:
    """Every count of model tokens in an answer, with its name."""
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, (int, float)) and (name in NAMES | TOTAL_NAMES | MORE_INPUT or name in OUT_NAMES):
                yield name, int(item)
            elif not name.endswith(("_details", "Details")):
                yield from named_counts(item)
    elif isinstance(value, list):
        for item in value:
            yield from named_counts(item)


def context_of(parts: list[Any]) -> dict[str, str]:
    """Read what beside the model a price depends on."""
    context: dict[str, str] = {}
    for part in parts:
        for place in (part, part.get("response"), part.get("usage")) if isinstance(part, dict) else ():
            if isinstance(place, dict) and isinstance(place.get("service_tier"), str):
                context["service_tier"] = place["service_tier"]
    return context


def without_usage_event(content: bytes) -> bytes:
    """Leave out the events that hold usage and no choices."""
    return b"".join(
        block + b"\n\n"
        for block in content.removesuffix(b"\n\n").split(b"\n\n")
        if not (b'"choices":[],' in block.replace(b" ", b"") and b'"usage":{' in block.replace(b" ", b""))
    )
