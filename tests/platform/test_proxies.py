"""Whose word about a client's address is believed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus.platform.settings import InvalidSettings, Settings
from nexus.platform.web.proxies import TrustedProxies, read_networks

FOR, PROTO = "X-Forwarded-For", "X-Forwarded-Proto"
PEER = "10.0.0.1"


def resolved(
    *headers: tuple[str, str],
    trusted: str = "10.0.0.0/8, fd00::/8",
    peer: str | None = PEER,
    header: str = "x-forwarded",
) -> tuple[str | None, str]:
    """Return the client and the scheme that a request is taken to have."""
    scope: dict[str, Any] = {
        "client": None if peer is None else (peer, 4711), "scheme": "http",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }  # fmt: skip
    TrustedProxies(read_networks(trusted), header).resolve(scope)
    return (scope["client"][0] if scope["client"] else None), scope["scheme"]


def test_nobody_is_believed_unless_told_so() -> None:
    said = (FOR, "198.51.100.1"), (PROTO, "https"), ("Forwarded", "for=198.51.100.1;proto=https")

    assert resolved(*said, trusted="") == (PEER, "http")
    assert resolved(*said, peer="192.0.2.9") == ("192.0.2.9", "http")
    assert resolved(*said, peer=None) == (None, "http")


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("198.51.100.1", "198.51.100.1"),
        # What the client wrote itself stands before what the proxy wrote.
        ("203.0.113.7, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1, 10.0.0.99, 198.51.100.1", "198.51.100.1"),
        # Two trusted proxies in a row, and a client within the network of the proxies.
        ("198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.9.9.9, 10.0.0.2", "10.9.9.9"),
        ("198.51.100.1,10.0.0.2,fd00::1", "198.51.100.1"),
        # As proxies write addresses.
        ("198.51.100.1:5000", "198.51.100.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:5000", "2001:db8::1"),
        ("2001:db8::1%eth0", "2001:db8::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("198.51.100.1, ::ffff:10.0.0.2", "198.51.100.1"),
        # Garbage says nothing, and nothing before it is believed.
        ("", PEER),
        ("unknown", PEER),
        ("198.51.100.1, unknown", PEER),
        ("198.51.100.1, nonsense, 10.0.0.2", "10.0.0.2"),
        ("198.51.100.1,", PEER),
        ("999.1.1.1", PEER),
        ("10.0.0.0/8", PEER),
    ],
)
def test_the_chain_is_read_from_its_end_as_far_as_proxies_are_trusted(said: str, client: str) -> None:
    assert resolved((FOR, said))[0] == client


def test_a_header_in_several_lines_is_one_list() -> None:
    assert resolved((FOR, "203.0.113.7"), (FOR, "198.51.100.1, 10.0.0.2"))[0] == "198.51.100.1"


def test_a_peer_of_ipv6_and_one_mapped_into_it_are_trusted_like_any_other() -> None:
    assert resolved((FOR, "198.51.100.1"), peer="fd00::7")[0] == "198.51.100.1"
    assert resolved((FOR, "198.51.100.1"), peer="::ffff:10.0.0.1")[0] == "198.51.100.1"
    assert resolved((FOR, "198.51.100.1"), peer="2001:db8::7")[0] == "2001:db8::7"


@pytest.mark.parametrize(
    ("addresses", "schemes", "scheme"),
    [
        ("198.51.100.1", "https", "https"),
        ("198.51.100.1", "HTTPS", "https"),
        ("198.51.100.1, 10.0.0.2", "https, http", "https"),
        ("198.51.100.1, 10.0.0.2", "https", "https"),
        # The client said https; what the proxy added is that it was not.
        ("203.0.113.7, 198.51.100.1", "https, http", "http"),
        ("198.51.100.1", "javascript", "http"),
        ("", "https", "http"),
    ],
)
def test_the_scheme_is_that_of_the_clients_connection(addresses: str, schemes: str, scheme: str) -> None:
    assert resolved((FOR, addresses), (PROTO, schemes))[1] == scheme


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("for=198.51.100.1;proto=https", ("198.51.100.1", "https")),
        ('For="[2001:db8::1]:4711";Proto="HTTPS";by=10.0.0.1', ("2001:db8::1", "https")),
        (
            "for=203.0.113.7;proto=http, for=198.51.100.1;proto=https, for=10.0.0.2;proto=http",
            ("198.51.100.1", "https"),
        ),
        ("for=_hidden;proto=https", (PEER, "http")),
        ("proto=https", (PEER, "http")),
        (";;,=,", (PEER, "http")),
    ],
)
def test_the_standard_header_is_read_where_proxies_write_it(said: str, expected: tuple[str, str]) -> None:
    assert resolved(("Forwarded", said), header="forwarded") == expected


def test_only_the_header_that_the_proxies_write_is_read() -> None:
    assert resolved(("Forwarded", "for=198.51.100.1"))[0] == PEER
    assert resolved((FOR, "198.51.100.1"), header="forwarded")[0] == PEER


@given(said=st.text(st.characters(max_codepoint=255)), schemes=st.text(st.characters(max_codepoint=255)))
def test_whatever_is_sent_nothing_breaks_and_the_client_is_an_address(said: str, schemes: str) -> None:
    for header in ("x-forwarded", "forwarded"):
        client, scheme = resolved((FOR, said), (PROTO, schemes), ("Forwarded", said), header=header)
        assert client is not None and read_networks(client)
        assert scheme in {"http", "https"}


def test_a_faulty_list_of_proxies_stops_the_start() -> None:
    with pytest.raises(InvalidSettings) as refused:
        Settings.from_environment(
            {"NEXUS_TRUSTED_PROXIES": "10.0.0.0/8, 10.0.0.1/8, proxy.example", "NEXUS_PROXY_HEADER": "via"}
        )

    assert [fault.field for fault in refused.value.faults] == ["NEXUS_TRUSTED_PROXIES"] * 2 + ["NEXUS_PROXY_HEADER"]
    assert Settings.from_environment({}).trusted_proxies is None
