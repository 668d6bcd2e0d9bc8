"""The address that a client is counted by."""

import ipaddress


def counted_address(host: str) -> str:
    """Return what a client is counted by: its IPv4 address, or the /64 that one IPv6 customer has.

    A unix socket has no address and counts as one.
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
