"""Finds secrets and personal data in a text, in time that grows with the text's length only.

Every pattern is anchored by something rare (a prefix, an `@`, a digit after none) and looks a bounded way from there, so
that no text makes it slow. What is found is told as spans; who asks decides what to put there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from nexus.kit.redaction import is_secret_name

KINDS = ("secret", "field", "word", "email", "card", "iban", "ip", "phone")
"""What may be found. Where finds overlap, the one that stands first here gives the name."""
_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text, half-open, and what it is."""

    start: int
    end: int
    kind: str


def mask_of(kind: str) -> str:
    """Return what stands in place of something that was found."""
    return f"[{kind}]"


# Tokens that are known by how they begin. What follows is bounded by the characters it may have.
_TOKENS = re.compile(
    r"(?:nx_|sk-|sk_(?:live|test)_|rk_(?:live|test)_|pk_live_|whsec_|gsk_|xai-|pplx-|hf_|r8_|nvapi-|tvly-|fw_|vck_"
    r"|gh[opsur]_|github_pat_|glpat-|npm_|pypi-|dop_v1_|shpat_|xox[abeoprs]-|xapp-|lin_api_|ATATT|GOCSPX-)"
    r"[A-Za-z0-9_\-]{14,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|AIza[0-9A-Za-z_\-]{30,}"
    r"|ya29\.[0-9A-Za-z_\-]{20,}"
    r"|SG\.[0-9A-Za-z_\-]{16,}\.[0-9A-Za-z_\-]{16,}"
    r"|hv[sbr]\.[0-9A-Za-z_\-]{20,}"
    r"|(?:dapi|key-)[0-9a-f]{32}(?:-[0-9])?(?![0-9a-f])"
    r"|AGE-SECRET-KEY-1[0-9A-Z]{50,}"
)
_TOKEN_HINTS = (
    "nx_", "sk-", "sk_", "rk_", "pk_", "whsec_", "gsk_", "xai-", "pplx-", "hf_", "r8_", "nvapi-", "tvly-", "fw_", "vck_", "gh",
    "glpat-", "npm_", "pypi-", "github_pat_", "dop_v1_", "shpat_", "xox", "xapp-", "lin_api_", "ATATT", "AKIA", "ASIA",
    "AIza", "ya29.", "SG.", "GOCSPX-", "hvs.", "hvb.", "hvr.", "dapi", "key-", "AGE-SECRET-KEY-1",
)  # fmt: skip
"""One of these is in every text that holds such a token."""
_JWT = re.compile(r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){0,3}")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_PRIVATE_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----")
_URL_PASSWORD = re.compile(r"(?<=://)[^/\s:@\"']{0,200}:[^/\s@\"']{1,500}(?=@)")
# Addresses that are secrets as a whole, or hold one in their path or query.
_SECRET_PATH = re.compile(r"(?<=hooks\.slack\.com/)[\w/\-]{10,200}|(?<=/api/webhooks/)[0-9]{5,25}/[\w\-]{20,200}")
_SECRET_PARAMETER = re.compile(
    r"(?<=[?&])(?:sig|signature|x-(?:amz|goog)-(?:signature|security-token|credential)|code|token|key|auth|jwt|otp"
    r"|sid|session(?:id)?)="
    r"(?P<value>[^&\s\"'#<>\\]{8,4096})",
    re.IGNORECASE,
)
_BOT_TOKEN = re.compile(r"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_\-]{30,40}")
_COOKIES = re.compile(
    r"cookie[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?P<value>[\w.\-]{1,100}=[^\r\n\"'\\]{1,4096})", re.IGNORECASE
)
_AUTHORIZATION = re.compile(
    r"(?:\bbearer|\btoken)\s{1,3}(?P<bearer>[A-Za-z0-9._~+/=\-]{8,})|\bbasic\s{1,3}(?P<basic>[A-Za-z0-9+/=]{8,})",
    re.IGNORECASE,
)
_AUTHORIZATION_HINTS = ("bearer", "token", "basic")
_PROSE = re.compile(r"[a-z]+[.,]?")
_NAMES = (
    r"(?:passw(?:or)?d|passwort|passphrase|pwd|secret|api[_-]?key|(?:access|private|account|signing|encryption)[_-]?key|(?:auth|access|refresh|id)[_-]?token"
    r"|authorization|credentials?|cvv|cvc)[A-Za-z0-9_\-]{0,20}"
)
_NAME_HINTS = ("passw", "passphrase", "pwd", "secret", "key", "token", "authorization", "credential", "cvv", "cvc")
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
_NAMED = re.compile(
    _NAMES
    + r"\\{0,15}[\"']?\s{0,3}(?:[:=]|=>)\s{0,3}(?:(?P<open>\\{0,15}[\"'])|(?:(?:bearer|basic|token|digest)\s{1,3})?)",
    re.IGNORECASE,
)
_BARE_VALUE = re.compile(r"(?!(?:null|true|false)\b)[^\s\"'\\,;&\[\]{}()<>]+")
_SECRET_FIELDS = frozenset({"token", "jwt", "otp", "bearer"})

_AT = re.compile(r"@|%40|\\u0040", re.IGNORECASE)
_LOCAL = re.compile(r"[\w.!#$%'*+^`{|}~\-]")
_DOMAIN = re.compile(r"(?:[\w\-]{1,63}\.){1,8}[\w\-]{2,63}")
_MOST_LOCAL = 64

_DIGIT = re.compile(r"[0-9]")
_DIGIT_RUN = re.compile(r"(?<![0-9])[0-9](?:[ \u00a0.\-]?[0-9]){11,}")
_GROUP = re.compile(r"[0-9]+")
_MANY_GROUPS = 40
"""In longer rows of numbers only groups of three digits and more may be parts of a card's number: it is a table."""
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?=[ \u00a0\-]?[A-Za-z0-9])")
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18,
    "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31,
    "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29,
    "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
_IPV4 = re.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\.?[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:])[0-9A-Fa-f:]{6,39}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?![0-9A-Za-z:])")
_PHONE = re.compile(r"(?<![0-9A-Za-z])(?:\+ ?)?\(?[0-9][0-9 \u00a0()./\-]{5,22}[0-9](?![0-9A-Za-z])")
_NATIONAL = re.compile(r"\(?0[0-9]{1,4}\)?[ \u00a0./\-]|\(?[0-9]{3}\)?[ \u00a0.\-][0-9]{3}[ \u00a0.\-][0-9]{4}$")
_PART_BEFORE, _PART_AFTER = re.compile(r"[0-9A-Za-z]-$"), re.compile(r"-[0-9A-Za-z]")
_DATE = re.compile(r"[0-9]{1,4}[./\-][0-9]{1,2}[./\-][0-9]{1,4}")


def is_card(digits: str) -> bool:
    """Tell whether digits are a payment card's number: the length and beginning of one, and the check digit (Luhn)."""
    if (
        not 13 <= len(digits) <= 19
        or digits[0] not in "23456"
        or (digits[0] == "2" and not "2221" <= digits[:4] <= "2720")
    ):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = ord(digit) - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_iban(text: str) -> bool:
    """Tell whether capital letters and digits are an IBAN: its country's length, and the check digits (mod 97)."""
    if _IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def is_secret_field(name: str) -> bool:
    """Tell whether a field of this name usually holds a secret."""
    return name.lower() in _SECRET_FIELDS or is_secret_name(name) or _SECRET_NAME.search(name) is not None


class Finder:
    """Finds what one organization wants masked. Secrets are always looked for."""

    def __init__(self, kinds: Iterable[str] = (), *, fields: Iterable[str] = (), words: Sequence[str] = ()) -> None:
        wanted = set(kinds)
        self.fields = frozenset(name.lower() for name in fields)
        self._searches: list[Callable[[str], Iterator[Span]]] = [_secrets]
        self._number_searches: list[Callable[[str], Iterator[Span]]] = []
        if self.fields:
            names = "|".join(re.escape(name) for name in sorted(self.fields, key=len, reverse=True))
            quoted = rf"[\"'](?:{names})\\{{0,15}}[\"']\s{{0,3}}(?::|=>)\s{{0,3}}(?P<open>\\{{0,15}}[\"'])?"
            self._named = re.compile(quoted, re.IGNORECASE)
            self._searches.append(self._field_values)
        if words:
            listed = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
            self._words = re.compile(listed, re.IGNORECASE)
            self._searches.append(self._listed_words)
        if "email" in wanted:
            self._searches.append(_emails)
        by_kind = {"card": _cards, "iban": _ibans, "ip": _addresses, "phone": _phones}
        self._number_searches = [search for kind, search in by_kind.items() if kind in wanted]

    def find(self, text: str) -> list[Span]:
        """Return what was found, in order and apart from each other."""
        if len(text) < 3:
            return []
        spans = [span for search in self._searches for span in search(text)]
        if self._number_searches and _DIGIT.search(text):
            spans += [span for search in self._number_searches for span in search(text)]
        return joined(spans) if spans else spans

    def _field_values(self, text: str) -> Iterator[Span]:
        return _values(self._named, text, "field")

    def _listed_words(self, text: str) -> Iterator[Span]:
        return (Span(*found.span(), "word") for found in self._words.finditer(text))


def joined(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, those that overlap as one."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda item: (item.start, -item.end)):
        if kept and span.start < kept[-1].end:
            last = kept[-1]
            kind = last.kind if _RANK.get(last.kind, 99) <= _RANK.get(span.kind, 99) else span.kind
            kept[-1] = Span(last.start, max(last.end, span.end), kind)
        elif span.start < span.end:
            kept.append(span)
    return kept


def _secrets(text: str) -> Iterator[Span]:
    # Most texts hold no secret: looking for letters is many times faster than for patterns.
    if any(hint in text for hint in _TOKEN_HINTS):
        for found in _TOKENS.finditer(text):
            # In the middle of a word it is a secret only if it looks like no word: "task-management-software".
            is_apart = found.start() == 0 or not text[found.start() - 1].isalnum()
            if is_apart or any(char.isdigit() for char in found[0]):
                yield Span(*found.span(), "secret")
    for hint, pattern in (
        ("eyJ", _JWT), ("://", _URL_PASSWORD), ("hooks", _SECRET_PATH), (":AA", _BOT_TOKEN), ("=", _SECRET_PARAMETER)
    ):  # fmt: skip
        if hint in text:
            for found in pattern.finditer(text):
                yield Span(*found.span("value" if "value" in pattern.groupindex else 0), "secret")
    start = 0
    while (begun := text.find("-----BEGIN", start)) >= 0:
        start = begun + 1
        if _PRIVATE_KEY.match(text, begun):
            ended = _PRIVATE_KEY_END.search(text, begun)
            start = ended.end() if ended else len(text)
            yield Span(begun, start, "secret")
    lower = text.lower()
    if any(hint in lower for hint in _AUTHORIZATION_HINTS):
        for found in _AUTHORIZATION.finditer(text):
            name = "bearer" if found["bearer"] else "basic"
            # "basic understanding", "token economics".
            if not _PROSE.fullmatch(found[name]):
                yield Span(*found.span(name), "secret")
    if "cookie" in lower:
        for found in _COOKIES.finditer(text):
            yield Span(*found.span("value"), "secret")
    if any(hint in lower for hint in _NAME_HINTS):
        yield from _values(_NAMED, text, "secret")


def _values(named: re.Pattern[str], text: str, kind: str) -> Iterator[Span]:
    """Find the values of names, as `name: value`, `name=value`, `"name": "value"`, or that inside a string of JSON."""
    position = 0
    while (found := named.search(text, position)) is not None:
        position = found.end()
        if found["open"]:
            end = _end_of_string(text, position, found["open"])
        else:
            bare = _BARE_VALUE.match(text, position)
            end = bare.end() if bare else position
        if end > position and text[position:end] not in _MASKS:
            yield Span(position, end, kind)
            position = end


_MASKS = frozenset(mask_of(kind) for kind in KINDS)


def _end_of_string(text: str, start: int, opening: str) -> int:
    """Return where a string ends: at a quote before which stand as many backslashes as its depth of nesting asks for."""
    quote, depth = opening[-1], len(opening) - 1
    position = start
    while (at := text.find(quote, position)) >= 0:
        slashes = 0
        while at - slashes - 1 >= start and text[at - slashes - 1] == "\\":
            slashes += 1
        if slashes % (2 * (depth + 1)) == depth:
            return at - depth
        position = at + 1
    return len(text)


def _emails(text: str) -> Iterator[Span]:
    if not any(sign in text for sign in ("@", "%40", "0040")):
        return
    for found in _AT.finditer(text):
        domain = _DOMAIN.match(text, found.end())
        if domain is None:
            continue
        start = found.start()
        lowest = max(0, start - _MOST_LOCAL)
        while start > lowest and _LOCAL.match(text, start - 1):
            start -= 1
        if start < found.start():
            yield Span(start, domain.end(), "email")


def _cards(text: str) -> Iterator[Span]:
    for run in _DIGIT_RUN.finditer(text):
        # A number may stand beside others: any whole groups that follow each other may be it.
        groups = [found.span() for found in _GROUP.finditer(text, *run.span())]
        is_long = len(groups) > _MANY_GROUPS
        for first, (start, _) in enumerate(groups):
            digits = ""
            for low, high in groups[first : first + 19]:
                digits += text[low:high]
                if len(digits) > 19 or (is_long and high - low < 3):
                    break
                if is_card(digits):
                    yield Span(start, high, "card")


def _ibans(text: str) -> Iterator[Span]:
    for found in _IBAN_START.finditer(text):
        length = _IBAN_LENGTHS.get(found[0][:2].upper())
        if length is None:
            continue
        kept, position = [found[0]], found.end()
        missing = length - 4
        while missing and position < len(text):
            char = text[position]
            if char.isascii() and char.isalnum():
                kept.append(char)
                missing -= 1
            elif char not in " \u00a0-" or text[position - 1] in " \u00a0-":
                break
            position += 1
        is_apart = position >= len(text) or not (text[position].isascii() and text[position].isalnum())
        if not missing and is_apart and is_iban("".join(kept).upper()):
            yield Span(found.start(), position, "iban")


def _addresses(text: str) -> Iterator[Span]:
    for found in _IPV4.finditer(text):
        if all(int(part) < 256 for part in found[0].split(".")):
            yield Span(*found.span(), "ip")
    if ":" not in text:
        return
    for found in _IPV6.finditer(text):
        if found[0].count(":") >= 2 and any(char.isdigit() for char in found[0]):
            try:
                ip_address(found[0])
            except ValueError:
                continue
            yield Span(*found.span(), "ip")


def _phones(text: str) -> Iterator[Span]:
    for found in _PHONE.finditer(text):
        number = found[0]
        digits = sum(char.isdigit() for char in number)
        if number.startswith(("+", "00")):
            is_phone = 8 <= digits <= 15
        else:
            # Groups of digits in a UUID, or in another name with hyphens, are no number.
            before = text[max(0, found.start() - 2) : found.start()]
            is_part = _PART_BEFORE.match(before) or _PART_AFTER.match(text, found.end())
            is_phone = (
                not is_part and 7 <= digits <= 12 and _NATIONAL.match(number) is not None and not _DATE.match(number)
            )
        if is_phone:
            yield Span(*found.span(), "phone")
