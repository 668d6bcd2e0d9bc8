"""The key by which the limits per address count a client: connections, readers, failed sign-ins."""

import ipaddress


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
