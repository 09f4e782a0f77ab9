"""What came of recorded exchanges: counts, and every exception with its reason; printed, and written as a page of the docs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SAME = "answers the same, byte for byte"
SAME_BUT_USAGE = "answers the same but for the usage event nobody asked for"
ERRORS = "answers that are errors"
WITHOUT_USAGE = "answers without usage"
WITH_USAGE = "answers that carry usage"
READ_ALIKE = "of these, usage as the library reads it"
TOLD_ALIKE = "of these, usage as the answer itself says it: the library has no rule"
WITH_PRICE = "with a golden price"
COST_ALIKE = "of these, the cost the same to the nano"
LINES = (SAME, SAME_BUT_USAGE, ERRORS, WITHOUT_USAGE, WITH_USAGE, READ_ALIKE, TOLD_ALIKE, WITH_PRICE, COST_ALIKE)

REASONS = {
    "counts beforehand": "The call counts tokens beforehand and uses none: nothing is recorded as used.",
    "no rule": "The library reads no usage of this form. Ours is compared with what a plain reading of the answer finds.",
    "no golden price": "The library does not know the model, so there is no price to compare with.",
    "library cannot price": "The library refuses to price the usage it reads itself.",
    "not free": "The price list has no price for the model, which the library takes for free; here it is unpriced.",
    "part above whole": "The provider reports a part of its tokens (cached, reasoning) above the whole; ours is kept within it.",
}


@dataclass
class Findings:
    """What came of one file."""

    name: str
    exchanges: int
    hosts: int
    counts: Counter[str] = field(default_factory=Counter)
    exceptions: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    """Numbers of exchanges in the file, by the name of the reason and what it is about."""
    unexplained: list[str] = field(default_factory=list)

    def but(self, reason: str, about: str, number: int) -> None:
        """List an exception; its reason must be one of `REASONS`."""
        assert reason in REASONS
        self.exceptions[reason, about].append(number)

    def text(self) -> str:
        """For the terminal."""
        lines = [f"\n{self.name}: {self.exchanges} exchanges, {self.hosts} hosts"]
        lines += [f"  {self.counts[name]:>5}  {name}" for name in LINES]
        lines += [
            f"  {len(numbers):>5}  exception, {reason}: {about}"
            for (reason, about), numbers in sorted(self.exceptions.items())
        ]
        return "\n".join(lines)


def write_page(path: Path, found: Iterable[Findings]) -> None:
    """Write the findings as a page."""
    files = sorted(found, key=lambda item: item.name)
    total: Counter[str] = sum((item.counts for item in files), Counter())
    names = [item.name.partition(".")[0] for item in files]
    lines = [
        "# Recorded exchanges through the gateway",
        "",
        "Written by `make exchanges DATA=folder`; `make accept DATA=folder` fails where an exchange is neither the same nor",
        "listed here with a reason. Recorded exchanges with providers are served by a replaying upstream through the gateway,",
        "with the price list of `genai-prices`. What the client receives is compared with what was replayed; the recorded usage",
        "with what that library's own extractors read from the answer, or, where it has none, with a plain reading of it; the",
        "recorded cost with that library's price.",
        "",
        "| | " + " | ".join(f"`{name}`" for name in names) + " | all |",
        "|---|" + "---:|" * (len(files) + 1),
        "| exchanges | " + " | ".join(f"{item.exchanges:,}" for item in files) + f" | {sum(f.exchanges for f in files):,} |",
        *(
            f"| {name} | " + " | ".join(f"{item.counts[name]:,}" for item in files) + f" | {total[name]:,} |"
            for name in LINES
        ),
        "",
        "## Exceptions",
        "",
        "The numbers are those of the lines in the file, from 0.",
        "",
    ]  # fmt: skip
    for reason, text in REASONS.items():
        mine = [
            (about, item.name.partition(".")[0], numbers)
            for item in files
            for (name, about), numbers in sorted(item.exceptions.items())
            if name == reason
        ]
        if mine:
            count = sum(len(numbers) for _, _, numbers in mine)
            lines += [f"### {text} ({count})", "", "| what | exchanges | file | which |", "|---|---:|---|---|"]
            lines += [f"| {about} | {len(numbers)} | `{name}` | {_ranges(numbers)} |" for about, name, numbers in mine]
            lines.append("")
    path.write_text("\n".join(lines).rstrip() + "\n")


def _ranges(numbers: list[int]) -> str:
    """Write numbers shortly: 3-5, 9."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
