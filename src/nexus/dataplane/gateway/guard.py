"""Keeps calls from reaching machines that are nobody's provider: private, loopback and link-local addresses.

The check stands in the resolver, so the address that was checked is the one that is connected to: a name that is bound
anew between check and connection gains nothing. Addresses written into a URL never pass a resolver; they are checked
when the target is made. `NEXUS_GATEWAY_ALLOW` lists hosts (`name`, `name:port`) and networks that may be reached.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAX_JUDGED = 10_000
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class RefusedAddressError(OSError):
    """The host resolves to an address that may not be reached."""


class Guard:
    """What may be reached."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._networks: list[Network] = []
        self._hosts: set[tuple[str, int | None]] = set()
        self._judged: dict[tuple[str, int], bool] = {}
        for text in allowed:
            try:
                self._networks.append(ipaddress.ip_network(text, strict=False))
                continue
            except ValueError:
                pass
            host, separator, port = text.rpartition(":")
            if separator and port.isdigit() and not host.endswith(":"):
                host = host.strip("[]").lower()
                self._hosts.add((host, int(port)))
            else:
                self._hosts.add((text.strip("[]").lower(), None))

    def names(self, host: str, port: int) -> bool:
        """Tell whether the operator allowed this host, whatever it resolves to."""
        lower = host.lower()
        return (lower, port) in self._hosts or (lower, None) in self._hosts

    def allows(self, address: str) -> bool:
        """Tell whether an address may be reached: it is public, or in an allowed network."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if any(parsed.version == network.version and parsed in network for network in self._networks):
            return True
        return all(_is_public(item) for item in _meanings(parsed))

    def allows_literal(self, host: str, port: int) -> bool:
        """Tell whether a URL may name this host: any name (its addresses are checked later), or an allowed address."""
        found = self._judged.get((host, port))
        if found is None:
            if len(self._judged) >= _MAX_JUDGED:
                self._judged.clear()
            found = self._judged[host, port] = self._judge(host, port)
        return found

    def _judge(self, host: str, port: int) -> bool:
        plain = host.strip("[]")
        if self.names(plain, port):
            return True
        try:
            return self.allows(plain)
        except ValueError:
            # Old forms of addresses (2130706433, 127.1) pass the HTTP client as literals, unresolved and so unchecked.
            # Others (0x7f.1) are names to it, which the resolver turns into addresses.
            return not (":" in plain or plain.replace(".", "").isdigit())


def _meanings(address: Address) -> list[Address]:
    """An address and those it carries inside: mapped, 6to4, Teredo, NAT64."""
    found: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return [address.ipv4_mapped]
        if address.sixtofour is not None:
            found.append(address.sixtofour)
        if address.teredo is not None:
            found.append(address.teredo[1])
        if address in _NAT64:
            return [ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)]
    return found


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast


class GuardedResolver(AbstractResolver):
    """Resolves names, and leaves out what may not be reached."""

    def __init__(self, guard: Guard, resolver: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host that may be reached; `RefusedAddressError` when there is none but others."""
        found = await self._resolver.resolve(host, port, family)
        if self._guard.names(host, port):
            return found
        allowed = [item for item in found if self._guard.allows(item["host"])]
        if found and not allowed:
            raise RefusedAddressError(f"{host} has no public address")
        return allowed

    async def close(self) -> None:
        """Let go of the resolver."""
        await self._resolver.close()
