"""Finds usage in a provider's answer by rules that are data (`data/wire.json`), and counts text where there is none.

Everything is brought to one form: cached input is contained in input, reasoning in output. A rule looks at its roots in
order; of the names it needs at least one must hold a number. Each count is a sum of paths; where a path is a list, the
first of its alternatives counts.
"""

from __future__ import annotations

import importlib.resources
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from nexus.contracts.calls import MAX_TOKENS, MAX_UNITS, Tokens, Units

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]|\[([a-z_]+)=([^\]]+)\]", re.IGNORECASE)
_CHARACTERS_PER_TOKEN = 4
_PARTS = {
    "cached_input": "input", "cache_write": "input", "audio_input": "input", "image_input": "input",
    "cached_audio_input": "audio_input", "cache_write_5m": "cache_write", "cache_write_1h": "cache_write",
    "reasoning": "output", "audio_output": "output", "image_output": "output",
}  # fmt: skip
_WHOLES = frozenset({"input", "output"})
_TEXT_FIELDS = frozenset(
    {
        "content", "text", "delta", "arguments", "partial_json", "thinking", "reasoning", "reasoning_content", "refusal",
        "generation", "generated_text", "outputText", "inputText", "completion", "prompt", "input", "system", "instructions",
        "description", "transcript", "message", "response", "texts", "query", "documents", "output", "parts", "messages",
        "contents", "choices", "candidates", "systemInstruction", "system_instruction", "preamble", "chat_history",
        "contentBlockDelta", "tools", "function", "tool_calls", "item", "summary",
    }
)  # fmt: skip


class RuleDocument(msgspec.Struct, forbid_unknown_fields=True):
    """One rule as it is written."""

    counts: dict[str, list[str | list[str]]] = {}
    roots: list[str] = []
    needs: list[str] = []
    merge: bool = False
    keep: bool = False
    """Where fields merge: a count that was told is not taken back by a 0 in a later event, which is about another."""
    same_as: str = ""


class PathRules(msgspec.Struct, forbid_unknown_fields=True):
    """Rules that go before a provider's for paths that end so."""

    ends: str
    rules: list[str]


class ProviderFacts(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How one provider is spoken to."""

    auth: str = ""
    error: str = "problem"
    stream_error: str = ""
    """In whose words a stream's end is told that came too early, where not as `error`; `none`: the connection is cut."""
    ask_usage: bool = False
    rules: list[str] | None = None
    openai_path: str = "/v1"
    """Where, below the base URL, it takes requests in OpenAI's format."""
    openai_auth: str = ""
    """How it is authenticated to there, where that differs."""
    connect_seconds: float = 10.0
    first_byte_seconds: float = 600.0
    idle_seconds: float = 300.0
    total_seconds: float = 3600.0
    drain_seconds: float = 60.0
    drain_bytes: int = 16 * 2**20


_UNKNOWN = ProviderFacts()


class WireDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The whole of `wire.json`."""

    providers: dict[str, ProviderFacts]
    default_rules: list[str]
    paths: list[PathRules]
    asks_usage_paths: list[str]
    estimated_paths: list[str]
    rules: dict[str, RuleDocument]
    headers: dict[str, str]
    models: list[str]
    variants: dict[str, list[str]]


@dataclass(slots=True)
class Usage:
    """What a call used: token classes and units by their names in a record."""

    counts: dict[str, int] = field(default_factory=dict)
    is_exact: bool = True

    def tokens(self) -> Tokens | None:
        """The model tokens, as a record holds them."""
        named = {name: count for name, count in self.counts.items() if "." not in name and count}
        return Tokens(**named) if named else None

    def units(self) -> Units | None:
        """What else is charged for."""
        named = {name[6:]: count for name, count in self.counts.items() if name.startswith("units.") and count}
        return Units(**named) if named else None


class Lookup:
    """`a.b[0].c` or `a[kind=X].b`, compiled: called with a value it answers what stands there, or None."""

    __slots__ = ("_steps", "head")

    def __init__(self, path: str) -> None:
        steps: list[tuple[str, Any, Any]] = []
        for found in _STEP.finditer(path):
            name, index, key, value = found.groups()
            if name is not None:
                steps.append(("name", name, None))
            elif index is not None:
                steps.append(("index", int(index), None))
            else:
                steps.append(("match", key, value))
        if not steps or steps[0][0] != "name":
            raise ValueError(f"a path begins with a name: {path!r}")
        self.head: str = steps[0][1]
        """The name it begins with: most answers have nothing of that name, which `within` finds out at once."""
        self._steps = steps[1:]

    def within(self, value: dict[str, Any]) -> Any:
        """Return what stands there in an object."""
        found = value.get(self.head)
        return found if found is None or not self._steps else self._walk(found)

    def __call__(self, value: Any) -> Any:
        """Return what stands there in any value."""
        return self.within(value) if isinstance(value, dict) else None

    def _walk(self, value: Any) -> Any:
        for kind, name, wanted in self._steps:
            if kind == "name":
                if not isinstance(value, dict):
                    return None
                value = value.get(name)
            elif not isinstance(value, list):
                return None
            elif kind == "index":
                value = value[name] if name < len(value) else None
            else:
                value = next((item for item in value if isinstance(item, dict) and item.get(name) == wanted), None)
            if value is None:
                return None
        return value


def _number(value: Any) -> int | None:
    if type(value) is int:
        return value if value >= 0 else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return None
    return math.ceil(value)


class Rule:
    """One rule, compiled."""

    def __init__(self, document: RuleDocument) -> None:
        self._roots = [Lookup(path) if path else None for path in document.roots]
        self.merges = document.merge
        self.keeps = document.keep
        self._needs = document.needs
        self._counts = [
            (
                name,
                [[Lookup(path) for path in (item if isinstance(item, list) else [item])] for item in items],
            )
            for name, items in document.counts.items()
        ]

    def find(self, answer: Any) -> dict[str, Any] | None:
        """Return the usage object this rule is about."""
        if not isinstance(answer, dict):
            return None
        for root in self._roots:
            found = answer if root is None else root.within(answer)
            if isinstance(found, dict):
                for name in self._needs:
                    if _number(found.get(name)) is not None:
                        return found
        return None

    def count(self, usage: dict[str, Any]) -> dict[str, int]:
        """Bring a usage object to our names. A part is never larger than its whole, whatever the provider says."""
        counts: dict[str, int] = {}
        for name, summands in self._counts:
            total = 0
            for alternatives in summands:
                for look_up in alternatives:
                    # Most answers have few of the names a rule knows: those are not worth a call.
                    if look_up.head not in usage:
                        continue
                    found = look_up.within(usage)
                    if found is not None and (value := _number(found)) is not None:
                        total += value
                        break
            if total:
                counts[name] = min(total, MAX_UNITS if name.startswith("units.") else MAX_TOKENS)
        if counts.keys() <= _WHOLES:
            return counts
        for part, whole in _PARTS.items():
            if part in counts and counts[part] > counts.get(whole, 0):
                counts[part] = counts.get(whole, 0)
        return counts


class Wire:
    """The facts of the wire, compiled."""

    def __init__(self, document: WireDocument) -> None:
        self.providers = document.providers
        self._default = document.default_rules
        self._paths = document.paths
        self._asks = tuple(document.asks_usage_paths)
        self._estimated = tuple(document.estimated_paths)
        rules: dict[str, Rule] = {}
        for name, item in document.rules.items():
            if item.same_as:
                base = document.rules[item.same_as]
                item = RuleDocument(
                    base.counts, item.roots or base.roots, item.needs or base.needs, base.merge, base.keep
                )
            rules[name] = Rule(item)
        self._rules = rules
        self.headers = document.headers
        self.models = [Lookup(path) for path in document.models]
        self.variants = {name: [Lookup(path) for path in paths] for name, paths in document.variants.items()}
        self._chosen: dict[tuple[str, tuple[str, ...] | None], tuple[Rule, ...]] = {}

    def shipped(self, slug: str) -> ProviderFacts:
        """Return how a provider is spoken to as far as this release knows."""
        return self.providers.get(slug, _UNKNOWN)

    def facts(self, slug: str, options: Mapping[str, Any]) -> ProviderFacts:
        """Return how a provider is spoken to: the shipped facts, changed by what the catalog says of it."""
        facts = self.shipped(slug)
        if options:
            try:
                known = {name: value for name, value in options.items() if name in facts.__struct_fields__}
                return msgspec.convert(msgspec.structs.asdict(facts) | known, ProviderFacts)
            except msgspec.ValidationError:
                return facts
        return facts

    def rules(self, facts: ProviderFacts, path: str) -> tuple[Rule, ...]:
        """Return the rules for an answer, in the order in which they are tried."""
        first = next((item for item in self._paths if path.endswith(item.ends)), None)
        key = (first.ends if first else "", None if facts.rules is None else tuple(facts.rules))
        found = self._chosen.get(key)
        if found is None:
            names = [*(first.rules if first else ()), *(self._default if facts.rules is None else facts.rules)]
            found = self._chosen[key] = tuple(self._rules[name] for name in dict.fromkeys(names) if name in self._rules)
        return found

    def asks_usage(self, facts: ProviderFacts, path: str) -> bool:
        """Tell whether a streamed answer on this path holds its usage only when asked for."""
        return facts.ask_usage and path.endswith(self._asks)

    def is_estimated(self, path: str) -> bool:
        """Tell whether a call of this path uses model tokens, so that they are estimated when the answer is silent."""
        return path.endswith(self._estimated)


@cache
def load_wire() -> Wire:
    """Read the shipped facts."""
    content = (importlib.resources.files("nexus.dataplane.gateway") / "data" / "wire.json").read_bytes()
    return Wire(msgspec.json.decode(content, type=WireDocument))


class UsageFinder:
    """Collects usage over the parts of one answer: the last usage object counts, fields merge where a rule says so."""

    __slots__ = ("_merged", "_rules", "counts")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._merged: dict[str, Any] = {}
        self.counts: dict[str, int] | None = None

    def look_at(self, part: Any) -> bool:
        """Look at one part (an event, or the whole answer); tells whether it held usage."""
        for rule in self._rules:
            found = rule.find(part)
            if found is not None:
                if rule.merges:
                    self._merged |= {
                        name: value
                        for name, value in found.items()
                        if value is not None and (value or not rule.keeps or not self._merged.get(name))
                    }
                    found = self._merged
                self.counts = rule.count(found)
                return True
        return False


def text_of(value: Any, depth: int = 0) -> int:
    """Return about how many model tokens the text in a decoded request or answer has; what is no text is left out."""
    if isinstance(value, str):
        return count_text(value)
    if depth > 16:
        return 0
    if isinstance(value, list):
        return sum(text_of(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return sum(text_of(item, depth + 1) for name, item in value.items() if name in _TEXT_FIELDS)
    return 0


def count_text(text: str) -> int:
    """Estimate model tokens: four characters of ASCII each, every other character one. Never 0 for any text."""
    if not text:
        return 0
    ascii_count = len(text) if text.isascii() else sum(character < "\x80" for character in text)
    return math.ceil(ascii_count / _CHARACTERS_PER_TOKEN) + len(text) - ascii_count
