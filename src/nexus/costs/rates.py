"""Reads lists of exchange rates, as the European Central Bank publishes them or as lines of one's own. Pure.

The bank's reference rates say how much of each currency one euro is. Its CSV has a column a currency
(`Date, USD, JPY, …`), its XML a `Cube` a day; one's own lines are `date,base,quote,rate` under a heading of these names.
"""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from nexus.costs.errors import UnreadableRates
from nexus.kit.errors import FieldFault
from nexus.kit.money import parse_decimal

EURO = "EUR"
MAX_RATES = 500_000
_NOT_PUBLISHED = {"", "N/A"}
_DECIMALS = Decimal(1).scaleb(-12)
_LARGEST = Decimal(10) ** 11


@dataclass(frozen=True, slots=True)
class Rate:
    """Units of `quote` for one of `base`."""

    base: str
    quote: str
    rated_on: date
    rate: Decimal


def read_rates(content: str) -> list[Rate]:
    """Read a list of any form that is known; `UnreadableRates` tells the line and what is wrong with it."""
    text = content.lstrip("\ufeff \r\n\t")
    found: dict[tuple[str, str, date], Rate] = {}
    for rate in _read_xml(text) if text.startswith("<") else _read_csv(text):
        found[rate.base, rate.quote, rate.rated_on] = rate
        if len(found) > MAX_RATES:
            raise _unreadable(f"more than {MAX_RATES} rates: import them in parts")
    if not found:
        raise _unreadable("there is no rate in it")
    # Sorted by their key, so that two imports at a time wait for each other in one order.
    return [found[key] for key in sorted(found)]


def _unreadable(message: str) -> UnreadableRates:
    return UnreadableRates(f"content: {message}", faults=[FieldFault("content", message)])


def _rate(base: str, quote: str, day: str, amount: str, where: str) -> Rate:
    for code in (base, quote):
        if len(code) != 3 or not (code.isascii() and code.isalpha() and code.isupper()):
            raise _unreadable(f"{where}: {code[:20]!r} is no currency of three capital letters")
    if base == quote:
        raise _unreadable(f"{where}: {base} is always one of itself")
    try:
        value = parse_decimal(amount)
    except ValueError:
        raise _unreadable(f"{where}: {amount[:40]!r} is no decimal number") from None
    if not _DECIMALS <= value < _LARGEST:
        raise _unreadable(f"{where}: a rate is between 0.000000000001 and 100000000000")
    return Rate(base, quote, _day(day, where), value.quantize(_DECIMALS))


def _day(text: str, where: str) -> date:
    # The bank's daily file writes "28 November 2026", its history "2026-11-28".
    for form in ("%Y-%m-%d", "%d %B %Y"):
        try:
            found = datetime.strptime(text, form).date()  # noqa: DTZ007  # a day, not an instant
        except ValueError:
            continue
        if 1970 <= found.year < 2200:
            return found
    raise _unreadable(f"{where}: {text[:40]!r} is no day such as 2026-11-28")


def _read_csv(text: str) -> Iterable[Rate]:
    try:
        lines = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise _unreadable(f"this is no CSV: {error}") from None
    if not lines:
        return
    heading = [name.strip() for name in lines[0]]
    lower = [name.lower() for name in heading]
    if {"date", "base", "quote", "rate"} <= set(lower):
        places = [lower.index(name) for name in ("base", "quote", "date", "rate")]
        for number, line in enumerate(lines[1:], 2):
            if any(cell.strip() for cell in line):
                if len(line) <= max(places):
                    raise _unreadable(f"line {number}: it has fewer columns than the heading")
                base, quote, day, amount = (line[place].strip() for place in places)
                yield _rate(base, quote, day, amount, f"line {number}")
        return
    if lower[0] != "date":
        raise _unreadable("the heading is `date,base,quote,rate`, or the European Central Bank's `Date,USD,…`")
    for number, line in enumerate(lines[1:], 2):
        for name, cell in zip(heading[1:], line[1:], strict=False):
            if name and cell.strip() not in _NOT_PUBLISHED:
                yield _rate(EURO, name, line[0].strip(), cell.strip(), f"line {number}, {name[:20]}")


def _read_xml(text: str) -> Iterable[Rate]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise _unreadable("XML with a document type is not read")
    try:
        root = ET.fromstring(text)  # noqa: S314  # without a document type there are no entities to expand
    except ET.ParseError as error:
        raise _unreadable(f"this is no XML: {error}") from None
    for cube in root.iter():
        day = cube.get("time")
        if day is None or not cube.tag.endswith("Cube"):
            continue
        for item in cube:
            currency, amount = item.get("currency"), item.get("rate")
            if currency is not None and amount is not None:
                yield _rate(EURO, currency, day, amount, f"{day[:20]}, {currency[:20]}")
