"""Domains: what two hosts share, and which domains belong to registries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveblog.domains import is_registrys, is_surely_one_owners, shared

LABEL = st.sampled_from(["a", "b", "co", "com", "news", "uk", "de", "example"])
HOSTS = st.lists(LABEL, min_size=1, max_size=5).map(".".join)


@given(HOSTS, HOSTS)
def test_shared_domain_is_the_same_both_ways_and_has_both_hosts(one: str, other: str) -> None:
    domain = shared(one, other)
    assert shared(other, one) == domain
    for host in (one, other):
        assert not domain or f".{host}".endswith(f".{domain}")


@given(HOSTS, LABEL)
def test_host_shares_its_name_with_the_hosts_below_it(host: str, label: str) -> None:
    assert shared(host, host) == host
    assert shared(f"{label}.{host}", host) == (host if "." in host else "")


@given(HOSTS, HOSTS, HOSTS)
def test_hosts_below_a_registrys_domain_share_nothing(one: str, other: str, domain: str) -> None:
    both = f"{one}.x.{domain}", f"{other}.y.{domain}"
    assert shared(*both) == ("" if is_registrys(domain) else domain)


@pytest.mark.parametrize(
    "domain", ["com", "uk", "co.uk", "com.au", "ac.jp", "go.jp", "gob.mx", "or.at"]
)
def test_domain_of_a_registry_is_known_by_its_form(domain: str) -> None:
    assert is_registrys(domain)


@pytest.mark.parametrize(
    "domain",
    [
        "co.com",
        "news.uk",
        "x.co.uk",
        "taz.de",
        "ne.ch",
        "go.se",
        "police.fi",
        "com.example",
        "github.io",
    ],
)
def test_other_domains_are_not_known_to_be_registrys(domain: str) -> None:
    assert not is_registrys(domain)


@pytest.mark.parametrize(
    ("domain", "is_sure"),
    [
        ("news.com", True),
        ("live.news.com", True),
        ("anews.com", False),
        ("other.com", False),
        ("news.test", True),
        ("a.localhost", True),
    ],
)
def test_domain_is_one_owners_when_it_is_the_sites_or_private(
    domain: str, *, is_sure: bool
) -> None:
    assert is_surely_one_owners(domain, "news.com") == is_sure
