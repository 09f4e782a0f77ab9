"""Money without floats: integer nano-units while computing, decimal strings at the edges."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from fractions import Fraction

NANOS = 1_000_000_000


def parse_decimal(text: str) -> Decimal:
    """Read a plain decimal number; `ValueError` for anything else, infinities and not-a-number included."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no decimal number") from None
    if not value.is_finite():
        raise ValueError(f"{text!r} is no finite number")
    return value


def round_nanos(amount: Fraction | Decimal) -> int:
    """Round an exact amount once, half to even, to 1e-9 of its currency; the result counts nano-units."""
    exact = amount if isinstance(amount, Fraction) else Fraction(amount)
    # Python's round of a Fraction is exact and half-even.
    return round(exact * NANOS)


def format_nanos(nanos: int) -> str:
    """Write nano-units as a plain decimal string: no exponent, no trailing zeros."""
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    whole, fraction = divmod(nanos, NANOS)
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:09d}".rstrip("0")


def nanos_of(amount: Decimal) -> int:
    """Read an amount at rest (numeric(20,10), rounded to 1e-9 when stored) back as nano-units."""
    return round_nanos(amount)
