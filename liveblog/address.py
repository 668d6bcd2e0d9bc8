"""The key by which the limits per address count a client: connections, readers, failed sign-ins."""

import ipaddress
from collections.abc import Sequence
from typing import Final

# A log line. Its arguments: what the limit is about, and the address of the likely proxy.
IGNORED: Final = (
    "%s: X-Forwarded-For or Forwarded from %s was ignored, since FORWARDED_ALLOW_IPS does not list"
    " this address. All clients behind it count as one address for limits. If it is your proxy, add"
    " it to FORWARDED_ALLOW_IPS."
)


def counted_address(host: str) -> str:
    """Return the key that counts a client: its IPv4 address, or its IPv6 /64 network.

    A provider gives one IPv6 customer a whole /64, so a limit for each IPv6 address would not limit
    a customer. Clients of unix sockets have no address: all count as "unix".
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host or "unix"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def is_local(host: str) -> bool:
    """Return whether a client is on this machine: a loopback address, or a unix socket ("")."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_ignored(hops: Sequence[str], client: str) -> bool:
    """Return whether a proxy's header was ignored.

    `hops` are the addresses that the header names, and `client` is the client's address or its
    `counted_address`. A header that was applied names the client.
    """
    counted = counted_address(client)
    return bool(hops) and all(counted_address(hop) != counted for hop in hops)
