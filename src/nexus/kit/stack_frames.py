"""Reads the frames out of a stack trace: of Python, JavaScript, Java and .NET, Go, Ruby, PHP and Rust.

A frame is where the program was: a function and its file, without line and column, addresses and folders, which change
from release to release and from machine to machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAX_LINES = 2_000
_PYTHON = re.compile(r'\s{0,40}File "([^"]{1,400})", line \d+(?:, in (.{1,200}))?')
_PYTHON_START = "Traceback (most recent call last)"
# `at fn (file:1:2)`, `at file:1:2`, `at pkg.Class.method(File.java:12)`, `at Name.Space.Fn() in /x/File.cs:line 12`.
_AT = re.compile(r"\s{0,40}at\s+(?:async\s+)?(.{1,600})")
_AT_PLACE = re.compile(r"^(?P<function>[^()]{0,300}?)\s{0,3}\((?P<file>[^()]{0,300})\)$")
_DOTNET = re.compile(r"^(?P<function>[^()]{1,300})\(.{0,200}\)(?:\s+in\s+(?P<file>.{1,200}?):line \d+)?$")
_FIREFOX = re.compile(r"^\s{0,40}(?P<function>[^\s@]{0,200})@(?P<file>[^\s]{1,300}?):\d+(?::\d+)?$")
_RUBY = re.compile(r"\s{0,40}(?:from\s+)?(?P<file>[^\s:]{1,300}):\d+:in [`'](?P<function>[^`']{1,200})'")
_GO_FUNCTION = re.compile(r"^(?P<function>[\w./*()\[\]\-]{1,300})\([^()]{0,200}\)$")
_GO_FILE = re.compile(r"^\s+(?P<file>/?[^\s:]{1,300}\.go):\d+")
_PHP = re.compile(r"^#\d+\s+(?P<file>.{1,300}?)\(\d+\):\s+(?P<function>[^\s(]{1,200})\(")
_RUST = re.compile(r"^\s{0,10}\d+:\s+(?:0x[0-9a-f]+\s+-\s+)?(?P<function>[\w:<>{}&$ ,]{1,300})$")
_LINE_AND_COLUMN = re.compile(r"(?::\d+){1,2}$")
_HASH_IN_NAME = re.compile(r"[.\-_](?=[0-9a-f]{6,}\b)(?=[a-f]*[0-9])[0-9a-f]{6,32}(?=\.)")
_FOLDERS = re.compile(r"^.*[/\\]")
_QUERY = re.compile(r"[?#].*$")


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the program was; either part may be empty."""

    function: str
    file: str
    """Its name without folders."""

    def __str__(self) -> str:
        """Write it as people read it."""
        if self.function and self.file:
            return f"{self.function} ({self.file})"
        return self.function or self.file


def read_frames(stack: str) -> list[Frame]:
    """Return the frames of a stack trace, the innermost first; empty where none can be read.

    Of exceptions that caused one another, those of the one that was raised last are read.
    """
    lines = stack.splitlines()[:_MAX_LINES]
    python = _python_frames(lines)
    if python:
        return python
    frames: list[Frame] = []
    function_of_go = ""
    for line in lines:
        if frames and line.lstrip().startswith(("Caused by:", "--- End of", "During handling")):
            break
        if found := _GO_FILE.match(line):
            if function_of_go:
                frames.append(_frame(function_of_go, found["file"]))
            function_of_go = ""
            continue
        if found := _AT.match(line):
            frames.append(_at_frame(found[1].strip()))
        elif found := _FIREFOX.match(line) or _RUBY.match(line) or _PHP.match(line):
            frames.append(_frame(found["function"], found["file"]))
        elif found := _GO_FUNCTION.match(line):
            function_of_go = found["function"]
        elif found := _RUST.match(line):
            frames.append(_frame(found["function"], ""))
    return [frame for frame in frames if frame.function or frame.file]


def _python_frames(lines: list[str]) -> list[Frame]:
    frames: list[Frame] = []
    for line in lines:
        if line.lstrip(" |+").startswith(_PYTHON_START):
            # What was raised last stands last, below what it was raised from.
            frames = []
        elif found := _PYTHON.match(line.lstrip(" |")):
            frames.append(_frame(found[2] or "", found[1]))
    return frames[::-1]


def _at_frame(text: str) -> Frame:
    found = _AT_PLACE.match(text)
    if found and (
        ":" in found["file"] or found["file"] in {"native", "<anonymous>", "Native Method", "Unknown Source"}
    ):
        return _frame(found["function"], found["file"])
    if dotnet := _DOTNET.match(text):
        return _frame(dotnet["function"], dotnet["file"] or "")
    return _frame("", text) if ":" in text or "/" in text else _frame(text, "")


def _frame(function: str, file: str) -> Frame:
    name = _LINE_AND_COLUMN.sub("", _QUERY.sub("", file.strip()) if "://" in file else file.strip())
    name = _HASH_IN_NAME.sub("", _FOLDERS.sub("", name))
    return Frame(function.strip(), name.strip())
