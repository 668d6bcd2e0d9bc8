"""Domains of one owner and domains of a registry: what is known without a list of public suffixes.

Browsers have such a list, and it changes every week. Without it, two hosts surely belong to
different sites when they share only a top-level domain, or a domain of the form of co.uk. Whether
other shared domains are public suffixes, as github.io is, stays unknown.

Rules: pure. Hosts are in the normal form of origin.py.
"""

import re
from itertools import takewhile
from typing import Final

# Domains of this form, a category in the domain of a country, belong to registries, as co.uk does.
# The registries of some countries have no categories: ac.ch could be anyone's. Rarer categories
# are left out, since a refusal would be wrong where they are names.
_OF_REGISTRY: Final = re.compile(
    r"(ac|com?|edu|go[bv]|mil|net|org)\.(?!c[achz]|d[ek]|eu|f[im]|l[iu]|md|nl|s[ik]|tv)[a-z]{2}"
    r"|(go|ne|or)\.(jp|kr)|(gv|or)\.at"
)
# Top-level domains for private names (RFC 6761, RFC 6762, ICANN), which no registry divides.
_PRIVATE: Final = ("example", "internal", "invalid", "local", "localhost", "test")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


def is_address(host: str) -> bool:
    """Return whether browsers read a host as an IP address."""
    return host.startswith("[") or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def is_registrys(domain: str) -> bool:
    """Return whether a domain is a top-level domain, or has the form of co.uk."""
    return "." not in domain or _OF_REGISTRY.fullmatch(domain) is not None


def shared(one: str, other: str) -> str:
    """Return the longest domain that two hosts share; "" when they surely are of two sites.

    A host shares its own name with a host below it. An address shares nothing with another host.
    """
    if one == other:
        return one
    if is_address(one) or is_address(other):
        return ""
    pairs = zip(one.split(".")[::-1], other.split(".")[::-1], strict=False)
    domain = ".".join([a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)][::-1])
    is_ones_own = domain in (one, other) and "." in domain
    return domain if is_ones_own or not is_registrys(domain) else ""


def is_surely_one_owners(domain: str, own_host: str) -> bool:
    """Return whether a domain cannot be a public suffix.

    Such a domain is the site's own host or below it, or has a private top-level domain.
    """
    is_own = bool(own_host) and f".{domain}".endswith(f".{own_host}")
    return is_own or domain.rpartition(".")[2] in _PRIVATE
