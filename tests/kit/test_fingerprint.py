"""Errors of one cause have one fingerprint, those of two have two."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nexus.kit.fingerprint import find_cause, normalise
from nexus.kit.stack_frames import read_frames

HEX = st.text("0123456789abcdef", min_size=12, max_size=40).filter(lambda text: not text.isalpha())
TEMPLATES = (
    "connection to db-{n}.internal:{port} refused after {n} ms",
    "no route to 10.0.{byte}.{byte}:{port}",
    "dial tcp [2001:db8::{byte}]:{port}: connect: no route",
    "user {uuid} has no wallet {hex}",
    "GET https://api.example.com:{port}/v1/orders/{n}/{uuid}?page={n} gave up",
    "cannot read '/var/lib/app-{n}/{hex}/data.bin'",
    "cannot read /var/lib/{hex}/data-{n}.bin",
    "unexpected token at line {n}, column {n}",
    "unexpected token ({n}:{n}) in app.js:{n}:{n}",
    'column "{word}" of relation "{word}" does not exist',
    "KeyError: '{word}'",
    "job{n} died at 2026-01-0{digit}T10:00:0{digit}.{n}Z holding 0x{hex}",
    "balance is {float}, need {float} more ({n},{three})",
    "request req_{mixed} timed out",
)


@st.composite
def filled(draw: st.DrawFn, template: str) -> str:
    """A template with something else in each place."""
    number = st.integers(0, 10**9)
    makers = {
        "n": number, "port": st.integers(1, 65535), "byte": st.integers(0, 255), "uuid": st.uuids(), "hex": HEX,
        "word": st.text("abcdefghijklmnopqrstuvwxyz_ ", min_size=1, max_size=20), "digit": st.integers(1, 9),
        "float": st.decimals("0.01", "99999", places=2), "three": st.integers(100, 999),
        "mixed": st.text("aB3dE6gH9", min_size=14, max_size=24).map(lambda text: text + "1x2Y3"),
    }  # fmt: skip
    text = template
    for name, maker in makers.items():
        while "{" + name + "}" in text:
            text = text.replace("{" + name + "}", str(draw(maker)), 1)
    return text


@pytest.mark.parametrize("template", TEMPLATES)
def test_errors_that_differ_in_values_only_are_one_cause(template: str) -> None:
    @given(filled(template), filled(template))
    def check(one: str, other: str) -> None:
        assert find_cause(one) == find_cause(other)

    check()


def test_templates_are_causes_of_their_own() -> None:
    found = {find_cause(template.replace("{", "").replace("}", "")).fingerprint for template in TEMPLATES}

    assert len(found) == len(TEMPLATES)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("connection refused", "connection reset"),
        ("GET https://a.example/x failed", "GET https://b.example/x failed"),
        ("upstream answered with status 404", "upstream answered with status 500"),
        ("HTTP 502 from the gateway", "HTTP 504 from the gateway"),
        ("cannot decode utf8", "cannot decode ascii"),
        ("ipv4 is not supported", "ipv6 is not supported"),
        ("and/or is ambiguous", "either/or is ambiguous"),
    ],
)
def test_two_causes_stay_two(one: str, other: str) -> None:
    assert find_cause(one).fingerprint != find_cause(other).fingerprint


@given(st.text(max_size=300))
@example("[ip]:80 'it's' https://x:1/ ::1 -1e9 a/b/c/d /a/b.c C:\\a\\b \ue000a\ue001")
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalise(text)

    assert normalise(once) == once


def test_type_code_and_service_tell_causes_apart_and_an_own_fingerprint_decides_alone() -> None:
    plain = find_cause("failed")
    variants = [
        plain,
        find_cause("failed", error_type="ValueError"),
        find_cause("failed", error_type="KeyError"),
        find_cause("failed", error_code="ECONNREFUSED"),
        find_cause("failed", service="billing"),
        find_cause("failed", explicit=["checkout"]),
        find_cause("failed", explicit=["checkout", "{{ default }}"]),
    ]
    assert len({cause.fingerprint for cause in variants}) == len(variants)
    assert find_cause("other", error_type="X", explicit=["checkout"]).fingerprint == variants[5].fingerprint
    assert (plain.rule, variants[5].rule) == ("message", "explicit")
    assert variants[5].normalised == "fingerprint: checkout"
    assert variants[6].normalised == "fingerprint: checkout\nmessage: failed"


PYTHON = """Traceback (most recent call last):
  File "/app/{0}/main.py", line {1}, in handle
    run()
  File "/usr/lib/python3.1{1}/site-packages/lib/core.py", line 4{1}, in run
    raise ValueError("no {1}")
ValueError: no {1}"""
JAVASCRIPT = """TypeError: x is undefined
    at render (webpack:///./src/{0}/app.{2}.js?v={1}:10:{1})
    at async Promise.all (index {1})
    at https://cdn.example.com/{0}/main.{2}.js:{1}:5"""
JAVA = """java.lang.IllegalStateException: closed
\tat com.acme.Pool.take(Pool.java:1{1})
\tat com.acme.Web.serve(Web.java:{1})
Caused by: java.io.IOException: broken
\tat sun.nio.Socket.read(Socket.java:{1})"""
GO = """panic: boom

goroutine {1} [running]:
main.work(0xc00{1}, 0x{1})
\t/src/{0}/main.go:{1} +0x1d
main.main()
\t/src/main.go:5"""
RUBY = "/srv/{0}/app.rb:{1}:in `charge': no card (CardError)\n\tfrom /srv/{0}/web.rb:{1}:in `<main>'"
DOTNET = "   at Acme.Cart.Add(Item item) in /src/{0}/Cart.cs:line {1}\n   at Acme.Web.Post()"


@pytest.mark.parametrize(
    ("stack", "innermost", "count"),
    [
        (PYTHON, "run (core.py)", 2),
        (JAVASCRIPT, "render (app.js)", 3),
        (JAVA, "com.acme.Pool.take (Pool.java)", 2),
        (GO, "main.work (main.go)", 2),
        (RUBY, "charge (app.rb)", 2),
        (DOTNET, "Acme.Cart.Add (Cart.cs)", 2),
    ],
    ids=["python", "javascript", "java", "go", "ruby", "dotnet"],
)
def test_stack_is_read_without_lines_folders_and_addresses(stack: str, innermost: str, count: int) -> None:
    one, other = stack.format("releases-1", 12, "abc123def0"), stack.format("build/77", 345, "0fedcba987")
    frames = read_frames(one)

    assert (str(frames[0]), len(frames)) == (innermost, count)
    first, second = find_cause("failed", stack=one), find_cause("failed", stack=other)
    assert first.fingerprint == second.fingerprint
    assert (first.rule, first.culprit) == ("stack", innermost)
    elsewhere = find_cause("failed", stack=one.replace(innermost.partition(" ")[0].rpartition(".")[2], "elsewhere"))
    assert elsewhere.fingerprint != first.fingerprint


def test_depth_of_recursion_and_of_the_outer_frames_does_not_matter() -> None:
    def stack(inner: int, outer: int) -> str:
        frames = ["walk"] * inner + ["a", "b", "c", "d"] + [f"outer{number}" for number in range(outer)]
        return "Error: x\n" + "\n".join(f"    at {name} (/app/x.js:{place}:1)" for place, name in enumerate(frames))

    assert find_cause("x", stack=stack(3, 2)).fingerprint == find_cause("x", stack=stack(70, 9)).fingerprint


@pytest.mark.parametrize("piece", ["a/", "\\ ", "'", '"', "0:", "[", "1,", "/.", "x@", "\\'a", "://", "at a(", "-"])
def test_no_text_makes_it_slow(piece: str) -> None:
    text, began = piece * (32_000 // len(piece)), time.process_time()

    find_cause(text, stack=text)

    # Linear work takes milliseconds; what explodes takes minutes.
    assert time.process_time() - began < 5
