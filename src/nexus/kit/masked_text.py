"""Masks secrets and personal data in a body: JSON, streams of JSON, forms and plain text, whole or cut off.

JSON is searched as it is meant, without its escapes, and fields by their names. In a stream the pieces that belong
together (the words of one answer, cut anywhere) are put together before they are searched, and what is found is taken
out of each piece. Whatever the form, the text that comes out is searched once more as it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote_plus, unquote_plus

import msgspec

from nexus.kit.json_strings import Value, decoded, encoded, values
from nexus.kit.masking import Finder, Span, is_secret_field, joined, mask_of

Form = Literal["json", "events", "lines", "form", "plain"]

_TAGS = frozenset({"index", "output_index", "content_index", "summary_index", "item_id"})
"""Fields that tell apart what a stream says at the same time: choices, parts, calls of tools."""
_REPEATED = frozenset({"logprobs", "top_logprobs", "logprobs_result", "logprobsresult"})
"""Fields that say the text again, token by token, where no mask would find it."""
_BASE64 = re.compile(r"(?:data:[\w/+.;=\-]{1,200};base64,)?[A-Za-z0-9+/_\-\r\n]{500,}={0,2}")
_DATA_LINE = re.compile(r"^data:(.*)$", re.MULTILINE)
_LINE = re.compile(r"^(.+)$", re.MULTILINE)
_REST_AFTER = 100
_DECODER = msgspec.json.Decoder()


@dataclass(slots=True)
class Masked:
    """A text without what was to be masked, and how often something of each kind was found."""

    text: str
    found: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class _Part:
    """A value, what it says, and what of that is masked."""

    value: Value
    said: str
    spans: list[Span]
    whole: str = ""
    """What stands in place of all of it."""


def mask(text: str, form: Form, finder: Finder, *, rest: Callable[[], None] = lambda: None) -> Masked:
    """Mask a text. `rest` is called now and then, for a caller who must not take all of the processor."""
    masked = Masked(text)
    if form == "form":
        masked.text = _mask_form(text, finder, masked.found)
    elif form != "plain":
        document = _Document(text, form, finder, masked.found, rest)
        if document.is_clean():
            return masked
        masked.text = document.masked()
    rest()
    masked.text = replaced(masked.text, finder.find(masked.text), masked.found)
    return masked


def replaced(text: str, spans: list[Span], found: Counter[str]) -> str:
    """Return a text with masks in place of spans; a span without a kind leaves nothing."""
    if not spans:
        return text
    kept: list[str] = []
    position = 0
    for span in spans:
        kept.append(text[position : span.start])
        if span.kind:
            kept.append(mask_of(span.kind))
            found[span.kind] += 1
        position = span.end
    kept.append(text[position:])
    return "".join(kept)


def _mask_form(text: str, finder: Finder, found: Counter[str]) -> str:
    return "&".join(_masked_pair(pair, finder, found) for pair in text.split("&"))


def _masked_pair(pair: str, finder: Finder, found: Counter[str]) -> str:
    name, equals, given = pair.partition("=")
    said_name, said = unquote_plus(name), unquote_plus(given)
    kind = _kind_of_name(said_name, finder)
    if kind and said:
        found[kind] += 1
        given = mask_of(kind)
    elif spans := finder.find(said):
        given = quote_plus(replaced(said, spans, found), safe="[]")
    if spans := finder.find(said_name):
        name = quote_plus(replaced(said_name, spans, found), safe="[]")
    return name + equals + given


def _kind_of_name(name: str, finder: Finder) -> str:
    lower = name.lower()
    if lower in finder.fields:
        return "field"
    if lower in _REPEATED:
        return "logprobs"
    return "secret" if is_secret_field(name) else ""


class _Document:
    """One text of JSON, or of many."""

    def __init__(self, text: str, form: Form, finder: Finder, found: Counter[str], rest: Callable[[], None]) -> None:
        self._text = text
        self._form = form
        self._finder = finder
        self._found = found
        self._rest = rest
        self._known: dict[str, list[Span]] = {}
        self._kinds: dict[tuple[str, ...], str] = {}
        # Some providers stream one long list.
        self._is_stream = form in {"events", "lines"} or text.lstrip()[:1] == "["

    def is_clean(self) -> bool:
        """Tell whether there is surely nothing to mask, many times faster than by going through the text itself.

        False where something is found, or where not all that is written can be seen this way (a name that is given twice).
        """
        together: dict[tuple[object, ...], list[str]] = {}
        for count, (start, end) in enumerate(self._ranges(), 1):
            line = self._text[start:end]
            if count % _REST_AFTER == 0:
                self._rest()
            if '"' not in line:
                continue
            # A quote that ends a string and one that stands in it must be told apart by this alone.
            if '\\\\"' in line or not self._is_clean_part(line, together):
                return False
        if self._is_stream:
            for pieces in together.values():
                if any(piece != pieces[0] for piece in pieces) and self._finder.find("".join(pieces)):
                    return False
        return not self._finder.find(self._text)

    def _is_clean_part(self, line: str, together: dict[tuple[object, ...], list[str]]) -> bool:
        try:
            document = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
            return False
        strings = 0
        waiting: list[tuple[object, tuple[str, ...], tuple[object, ...]]] = [(document, (), ())]
        while waiting:
            value, names, tags = waiting.pop()
            if isinstance(value, dict):
                own = tuple((name, str(value[name])) for name in _TAGS if name in value)
                tags = (*tags, own) if own else tags
                for name, item in reversed(value.items()):
                    strings += 1
                    if self._spans(name):
                        return False
                    waiting.append((item, (*names, name), tags))
            elif isinstance(value, list):
                waiting.extend((item, names, tags) for item in reversed(value))
            elif isinstance(value, str):
                strings += 1
                if self._kind(names) or self._spans(value) or (len(value) > 500 and _BASE64.fullmatch(value)):
                    return False
                together.setdefault((names, tags), []).append(value)
            elif value is None or isinstance(value, bool):
                continue
            elif self._kind(names) or (isinstance(value, int) and self._spans(str(value))):
                return False
        return 2 * strings == line.count('"') - line.count('\\"')

    def masked(self) -> str:
        """Return the text with its masks."""
        parts = [self._part(value) for value in self._values()]
        if self._is_stream:
            self._search_across(parts)
        kept: list[str] = []
        position = 0
        for part in parts:
            if not part.spans and not part.whole:
                continue
            value = part.value
            kept.append(self._text[position : value.start])
            if part.whole:
                kept.append(encoded(part.whole))
            else:
                kept.append(encoded(replaced(part.said, part.spans, self._found)))
            position = value.end
        kept.append(self._text[position:])
        return "".join(kept)

    def _values(self) -> Iterator[Value]:
        count = 0
        for start, end in self._ranges():
            for value in values(self._text, start, end, tags=_TAGS):
                count += 1
                if count % _REST_AFTER == 0:
                    self._rest()
                yield value

    def _ranges(self) -> Iterator[tuple[int, int]]:
        if self._form == "json":
            yield 0, len(self._text)
            return
        for line in (_DATA_LINE if self._form == "events" else _LINE).finditer(self._text):
            yield line.span(1)

    def _part(self, value: Value) -> _Part:
        said = decoded(self._text, value)
        if value.is_key:
            return _Part(value, said, self._spans(said))
        kind = self._kind(value.names)
        if kind and said and said not in {"null", "true", "false"}:
            self._found[kind] += 1
            return _Part(value, said, [], mask_of(kind))
        if len(said) > 500 and _BASE64.fullmatch(said):
            return _Part(value, said, [], f"[binary, {len(said)} characters]")
        return _Part(value, said, self._spans(said))

    def _spans(self, said: str) -> list[Span]:
        spans = self._known.get(said)
        if spans is None:
            spans = self._known[said] = self._finder.find(said)
        return spans

    def _kind(self, names: tuple[str, ...]) -> str:
        kind = self._kinds.get(names)
        if kind is None:
            kind = next((kind for name in names if (kind := _kind_of_name(name, self._finder))), "")
            self._kinds[names] = kind
        return kind

    def _search_across(self, parts: list[_Part]) -> None:
        """Search what the pieces of a stream say together."""
        together: dict[tuple[object, ...], list[_Part]] = {}
        for part in parts:
            if part.value.is_string and not part.value.is_key and not part.whole:
                together.setdefault(part.value.path, []).append(part)
        for pieces in together.values():
            first = pieces[0].said
            # The same again and again is a name or an id, and no text.
            if len(pieces) == 1 or all(piece.said == first for piece in pieces):
                continue
            self._rest()
            spans = self._finder.find("".join(piece.said for piece in pieces))
            begin = 0
            for piece in pieces:
                end = begin + len(piece.said)
                mine: list[Span] = []
                for span in spans:
                    if span.start < end and span.end > begin:
                        kind = span.kind if span.start >= begin else ""
                        mine.append(Span(max(span.start, begin) - begin, min(span.end, end) - begin, kind))
                if mine:
                    piece.spans = joined([*piece.spans, *mine])
                begin = end
