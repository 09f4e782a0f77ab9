"""What makes two errors the same: their texts without all that changes from one time to the next.

Out go numbers, ids, UUIDs, addresses, ports, paths, hexadecimal, times, quoted values, lines and columns. What names a
cause stays: words, the class of the error, its code, the status of an answer, the places in the program.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal
from uuid import UUID

from nexus.kit.stack_frames import Frame, read_frames

Rule = Literal["explicit", "stack", "message"]
RULES: tuple[Rule, ...] = ("explicit", "stack", "message")
FRAMES = 5
"""So many of the innermost frames tell causes apart: outer ones differ with who called."""
_MOST_CHARS = 2_000
"""Of a message; what is beyond is content, no cause."""
VERSION = 1
"""Of the rules. Another version makes other fingerprints, and so new issues."""

_WORDS_WITH_DIGITS = re.compile(
    r"(?<![A-Za-z0-9])(?:utf-?(?:8|16|32)|ipv[46]|https?/[123](?:\.[01])?|h[23]c?|sha-?(?:1|224|256|384|512)|md5|base(?:32|58|64)"
    r"|u?int(?:8|16|32|64)|float(?:16|32|64)|x86(?:_64)?|[ax](?:32|64)|arm64|s3|ec2|r53|k8s|oauth2|tls ?1\.[0-3]|ssl[23]|log4j"
    r"|neo4j|db2|win32|web3|2fa|i18n|l10n|mp[34]|latin-?1|iso-8859-\d{1,2}|v[1-9])(?![A-Za-z0-9])",
    re.IGNORECASE,
)
# A status tells the cause, whatever other number does not: 404 and 500 are two.
_STATUS = re.compile(
    r"\b(?:status(?:[ _-]?code)?|https?(?:/[0-9.]{1,4})?(?: error)?|error code|code)[\s:=]{1,3}([1-5][0-9]{2})(?![0-9.])",
    re.IGNORECASE,
)
_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\[(?:secret|field|word|email|card|iban|ip|phone)\](?::\d{1,5})?"), "<value>"),
    # Before what stands in them is taken out.
    (
        re.compile(
            r"(?<![\w<.:/\\])(?:[a-z]:)?(?:[\\/](?:[\w.@%+~$=\-]|[\\ ](?=\w+[\\/.]))+){2,40}[\\/]?(?::\d+){0,2}", re.IGNORECASE
        ),
        "<path>",
    ),
    (re.compile(r"(?<![\w<.])(?:\.{1,2}|~)?[\\/](?:[\w.@%+~$=\-]+[\\/])*[\w@%+~$=\-]+\.\w{1,8}(?::\d+){0,2}"), "<path>"),
    (re.compile(r"\{?\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b\}?", re.IGNORECASE), "<n>"),
    (re.compile(r"[\w.+\-]{1,64}@(?:[\w\-]{1,63}\.){1,8}[a-z]{2,24}\b", re.IGNORECASE), "<value>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,12})?)?(?: ?(?:Z|UTC|[+\-]\d\d:?\d\d))?)?"), "<time>"),
    (re.compile(r"(?<![0-9.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?![0-9.])"), "<value>"),
    (
        re.compile(
            r"\[?(?<![0-9a-z:])(?=[0-9a-f:]*[0-9])(?=[0-9a-f]{0,4}:[0-9a-f:]*:)"
            r"(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![0-9a-z:])\]?(?::\d{1,5})?",
            re.IGNORECASE,
        ),
        "<value>",
    ),
    # Text in quotes is somebody's value. An apostrophe within a word opens none.
    (re.compile(r"(?<![\w'])'(?:[^'\\\n]|\\.){0,500}'(?!\w)"), "<value>"),
    (re.compile(r"(?<![\w\"])b?\"(?:[^\"\\\n]|\\.){0,500}\"(?!\w)"), "<value>"),
    (re.compile(r"`[^`\n]{1,500}`|«[^»\n]{1,500}»|“[^”\n]{1,500}”|‘[^’\n]{1,500}’"), "<value>"),
    (re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<n>"),
    (re.compile(r"(?<![A-Za-z0-9])(?=[0-9a-f]*[0-9][a-f])[0-9a-f]{6,11}(?![A-Za-z0-9])", re.IGNORECASE), "<n>"),
    (re.compile(r"(?<![A-Za-z0-9])(?:(?=[a-f]*[0-9])[0-9a-f]{12,128}|[0-9a-f]{16,128})(?![A-Za-z0-9])", re.IGNORECASE), "<n>"),
    (
        re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d[A-Za-z]*\d)(?=[A-Za-z0-9]*\d[A-Za-z])[A-Za-z0-9]{12,128}(?![A-Za-z0-9])"),
        "<n>",
    ),
    (re.compile(r"(?:(?<![\w>])[+\-])?\d+(?:\.\d+)*(?:e[+\-]?\d+(?![a-z]))?", re.IGNORECASE), "<n>"),
    # Thousands, versions, lists and times: how many parts there are changes too.
    (re.compile(r"<n>(?:[.,:_]<n>)+"), "<n>"),
)  # fmt: skip
# Of an address the host stays: it is whom could not be reached.
_URL = re.compile(
    r"\b(?P<scheme>[a-z][a-z0-9+.\-]{1,20}://)(?:[^\s/@\"'<>]{1,300}@)?"
    r"(?P<host>\[[0-9a-f:.]{2,45}\]|[^\s/:?#\"'<>()\[\]]{0,255})[^\s\"'<>)\]},;]{0,4000}",
    re.IGNORECASE,
)
_BLANK = re.compile(r"\s+")
# Stands for what is kept while numbers are taken out: private-use characters are in no message.
_OPEN, _CLOSE = "\ue000", "\ue001"
_KEPT = re.compile(f"{_OPEN}([a-z]+){_CLOSE}")


@dataclass(frozen=True, slots=True)
class Cause:
    """What an error is grouped by."""

    fingerprint: UUID
    """The same for all errors of the cause: the first 16 bytes of a SHA-256."""
    rule: Rule
    """What made it: the caller's own fingerprint, the innermost frames beside the message, or the message alone."""
    normalised: str
    """The text that was hashed, a line for each part."""
    culprit: str
    """The innermost frame, or the empty text."""


def _host(host: str) -> str:
    return "<value>" if not host or host[0] == "[" or host[0].isdigit() else _digits_out(host)


def _digits_out(text: str) -> str:
    return re.sub(r"\d+", "<n>", text)


def normalise(message: str) -> str:
    """Return a message without what changes from one error of a cause to the next. Done twice it changes nothing more."""
    text = message[:_MOST_CHARS].replace(_OPEN, " ").replace(_CLOSE, " ")
    kept: list[str] = []

    def keep(said: str) -> str:
        kept.append(said)
        # In letters, as digits are about to go.
        return _OPEN + "".join(chr(ord("a") + int(digit)) for digit in str(len(kept) - 1)) + _CLOSE

    text = _URL.sub(lambda found: keep(f"{found['scheme'].lower()}{_host(found['host'])}/"), text)
    text = _STATUS.sub(lambda found: found[0][: -len(found[1])] + keep(found[1]), text)
    text = _WORDS_WITH_DIGITS.sub(lambda found: keep(found[0].lower()), text)
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    text = _KEPT.sub(lambda found: kept[int("".join(str(ord(letter) - ord("a")) for letter in found[1]))], text)
    return _BLANK.sub(" ", text).strip()


def _frame_text(frame: Frame) -> str:
    return _digits_out(str(frame))


def find_cause(
    message: str,
    *,
    error_type: str = "",
    error_code: str = "",
    stack: str = "",
    service: str = "",
    explicit: Sequence[str] = (),
    clean: Callable[[str], str] = str,
) -> Cause:
    """Return what an error is grouped by. Give texts without secrets; `clean` takes what is personal out of what is shown.

    Personal data go last: their masks would cut ids and numbers to pieces, which then differed.
    `explicit` is the caller's own fingerprint and decides alone; `{{ default }}` in it stands for what would decide else.
    """
    frames = read_frames(stack) if stack else []
    culprit = str(frames[0]) if frames else ""
    own: list[str] = []
    if error_type:
        own.append(f"type: {_digits_out(error_type)}")
    if error_code:
        own.append(f"code: {error_code}")
    if service:
        own.append(f"service: {service}")
    if said := normalise(message):
        own.append(f"message: {said}")
    rule: Rule = "message"
    places: list[str] = []
    for frame in frames:
        text = _frame_text(frame)
        # A function that calls itself is one place, however deep.
        if not places or places[-1] != text:
            places.append(text)
    if places:
        rule = "stack"
        own += [f"at: {text}" for text in places[:FRAMES]]
    parts = own
    if explicit:
        rule = "explicit"
        parts = []
        for part in explicit:
            if part.replace(" ", "") == "{{default}}":
                parts += own
            else:
                parts.append(f"fingerprint: {part}")
    normalised = clean("\n".join(parts))
    digest = sha256(f"{VERSION}\n{normalised}".encode("utf-8", "surrogatepass")).digest()
    return Cause(UUID(bytes=digest[:16]), rule, normalised, clean(culprit) if culprit else "")
