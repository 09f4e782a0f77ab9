"""Who a request comes from, behind reverse proxies: whose word about it is believed, and how far.

Each proxy appends the address it was called from. The chain is read from its end: the connection's own peer first, then, as
long as who speaks is a trusted proxy, the address that it names. The first that is no trusted proxy is the client; whatever
stands before it in the header was written by the client, or by somebody it came through, and is not believed.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Hop = tuple[str, str]
"""What a proxy says it was called from, and by which scheme ('' where it does not say)."""

HEADERS = ("x-forwarded", "forwarded")
_FORWARDED, _FOR, _PROTO = b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"
_SCHEMES = frozenset({"http", "https"})
_MOST_HOPS = 32


def read_networks(text: str | None) -> list[Network]:
    """Read addresses and networks, comma separated; `ValueError` names the first that is neither."""
    return [ip_network(part.strip()) for part in (text or "").split(",") if part.strip()]


def read_address(text: str) -> Address | None:
    """Read an address as proxies write them: with or without port, brackets or zone; None for anything else."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # One client has one address, whichever socket it came through.
    return getattr(found, "ipv4_mapped", None) or found


class TrustedProxies:
    """The proxies whose headers are believed, and the header that they write."""

    def __init__(self, networks: Sequence[Network], header: str = HEADERS[0]) -> None:
        self._networks = tuple(networks)
        self._is_standard = header == "forwarded"
        self._trusts = lru_cache(maxsize=4096)(self._is_within)

    def _is_within(self, text: str) -> bool:
        address = read_address(text)
        return address is not None and any(
            address in network for network in self._networks if network.version == address.version
        )

    def resolve(self, scope: MutableMapping[str, Any]) -> None:
        """Put the client's address, and the scheme that it used, in place of the proxy's. Of others nothing is believed."""
        client = scope.get("client")
        if not self._networks or not client or not self._trusts(client[0]):
            return
        address, scheme = str(client[0]), ""
        for said, by in self._hops(scope["headers"]):
            found = read_address(said)
            if found is None:
                # The proxy does not know, or hides it: it is the last of whom anything is known.
                break
            address, scheme = str(found), by
            if not self._trusts(address):
                break
        scope["client"] = (address, 0)
        if scheme in _SCHEMES and scope.get("type") != "websocket":
            scope["scheme"] = scheme

    def _hops(self, headers: Iterable[tuple[bytes, bytes]]) -> list[Hop]:
        """Return what the proxies say, the nearest first."""
        if self._is_standard:
            return [_read_element(element) for element in reversed(_values(headers, _FORWARDED)[-_MOST_HOPS:])]
        addresses = _values(headers, _FOR)
        schemes = [scheme.lower() for scheme in _values(headers, _PROTO)]
        if len(schemes) != len(addresses):
            # Most proxies write one scheme, of the connection they took, instead of adding to a list.
            schemes = schemes[-1:] * len(addresses)
        return list(zip(addresses, schemes or [""] * len(addresses), strict=True))[: -_MOST_HOPS - 1 : -1]


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    text = ",".join(value.decode("latin-1") for name, value in headers if name.lower() == wanted)
    return [part.strip() for part in text.split(",")] if text else []


def _read_element(text: str) -> Hop:
    said = scheme = ""
    for pair in text.split(";"):
        name, _, value = pair.partition("=")
        match name.strip().lower():
            case "for":
                said = value.strip().strip('"')
            case "proto":
                scheme = value.strip().strip('"').lower()
    return said, scheme
