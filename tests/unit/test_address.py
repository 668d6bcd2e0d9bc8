"""Addresses by which clients are counted, and headers of proxies that were ignored."""

import pytest

from liveblog.address import counted_address, is_ignored
from liveblog.forwarded import hops_of


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ("", "192.0.2.7"),
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9 ,192.0.2.7", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::9", "2001:db8::9"),
        ("[2001:db8::9]:4711", "2001:db8::9"),
        ("[2001:db8::9]", "2001:DB8:0::9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("unknown", "192.0.2.7"),
        ("[", "192.0.2.7"),
        (":,,", "192.0.2.7"),
    ],
)
def test_header_of_a_proxy_was_applied_when_it_names_the_client(hops: str, client: str) -> None:
    for headers in _headers(hops):
        assert not is_ignored(hops_of(headers), client)
        assert not is_ignored(hops_of(headers), counted_address(client))


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ("203.0.113.9", "192.0.2.7"),
        ("198.51.100.1, 203.0.113.9", "192.0.2.7"),
        ("203.0.113.9", "::1"),
        ("2001:db8::9", "2001:db8:0:1::9"),
        ("192.0.2.70", "192.0.2.7"),
        ("unknown, 203.0.113.9", "192.0.2.7"),
        ("203.0.113.9", ""),
    ],
)
def test_header_of_a_proxy_was_ignored_when_it_does_not_name_the_client(
    hops: str, client: str
) -> None:
    for headers in _headers(hops):
        assert is_ignored(hops_of(headers), client)
        assert is_ignored(hops_of(headers), counted_address(client))


def _headers(hops: str) -> list[dict[bytes, bytes]]:
    """Return the same hops in X-Forwarded-For and in Forwarded."""
    quoted = ", ".join(f'for="{hop.strip()}"' for hop in hops.split(","))
    return [{b"x-forwarded-for": hops.encode()}, {b"forwarded": quoted.encode()}]
