"""Origins: parsed, normalised, compared; the pages that may stream and write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveblog.origin import (
    Origin,
    Page,
    Site,
    is_listed,
    parse,
    readers,
    refusal,
    site_url,
    writers,
)

NAME = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
HOSTS = st.lists(NAME, min_size=1, max_size=4).map(".".join)
ORIGINS = st.builds(
    Origin,
    st.sampled_from(["http", "https", "capacitor", "ionic"]),
    HOSTS,
    st.none() | st.integers(1, 65_535).filter(lambda port: port not in (80, 443)),
)


@given(ORIGINS)
def test_origin_in_normal_form_is_parsed_as_it_is(origin: Origin) -> None:
    assert parse(str(origin)) == origin
    assert parse(str(origin).upper()) == origin
    assert parse(str(origin._replace(host=origin.host + "."))) == origin


@given(ORIGINS)
def test_default_port_is_dropped_only_for_its_own_scheme(origin: Origin) -> None:
    usual, other = origin._replace(scheme="https", port=443), origin._replace(scheme="http")
    assert parse(str(usual)) == usual._replace(port=None)
    assert parse(str(other._replace(port=443))).port == 443


@given(st.text(max_size=40) | st.text("htps:/*.@[]x1?#,\\ ", max_size=20))
def test_parse_raises_value_error_or_returns_a_stable_form(text: str) -> None:
    try:
        origin = parse(text)
    except ValueError:
        return
    assert parse(str(origin)) == origin
    assert str(origin).isascii()


@given(ORIGINS, NAME, NAME)
def test_wildcard_matches_exactly_one_label(origin: Origin, label: str, other: str) -> None:
    origin = origin._replace(host=f"{origin.host}.example")
    listed = readers(str(origin._replace(host=f"*.{origin.host}")))
    one = origin._replace(host=f"{label}.{origin.host}")
    assert is_listed(one, listed)
    assert not is_listed(origin, listed)
    assert not is_listed(one._replace(host=f"{other}.{one.host}"), listed)
    assert not is_listed(one._replace(port=(one.port or 1) + 1), listed)
    assert not is_listed(one._replace(scheme="x"), listed)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("null", "null"),
        ("NULL", "null"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("ionic://localhost", "ionic://localhost"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ("capacitor://localhost/", "capacitor://localhost"),
        ("file://", "file://"),
        ("file:///", "file://"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("http://[0:0::1]", "http://[::1]"),
        ("http://127.0.0.1:080", "http://127.0.0.1"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("https://MÜNCHEN.example:443", "https://xn--mnchen-3ya.example"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("https://例え。テスト", "https://xn--r8jz45g.xn--zckzah"),
        ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
        ("https://*.münchen.example.", "https://*.xn--mnchen-3ya.example"),
        ("https://*.news.example:8443", "https://*.news.example:8443"),
        ("http://*.localhost:8000", "http://*.localhost:8000"),
        ("https://*.news.co.uk", "https://*.news.co.uk"),
        ("https://*.com.example", "https://*.com.example"),
        ("https://XN--I-7IQ.ws", "https://xn--i-7iq.ws"),
        ("https://xn--fa-hia.example", "https://xn--fa-hia.example"),
        ("https://*.xn--mgbh0fb.xn--kgbechtv", "https://*.xn--mgbh0fb.xn--kgbechtv"),
    ],
)
def test_setting_takes_an_origin_in_the_form_that_browsers_send(text: str, normal: str) -> None:
    assert readers(text) == (normal,)


NEVER = [
    *("*", "https://*", "https://*.", "https://*.com", "http://*.0.0.1", "https://*.[::1]"),
    *("https://a.*.example", "https://*a.example", "https://*.*.example", "*.example.com"),
    *("null/", "https:///", "https://a.example//", "https:/", "://a.example"),
    *("news.example", "//news.example", "news.example:443", "https:news.example", "https://"),
    *("https://a.example/x", "https://a.example?", "https://a.example#", "https://u@a.example"),
    *(
        "https://a.example:0",
        "https://a.example:65536",
        "https://a.example:x",
        "https://a.example:",
    ),
    *("https://a..example", "https://.example", "https://a b.example", "https://a.example;x"),
    *(
        "http://127.1",
        "http://1.2.3.4.5",
        "http://256.0.0.1",
        "http://0x7f000001",
        "http://::1",
        "http://[::1",
    ),
    *("http://[fe80::1%25eth0]", "ws://a.example", "wss://a.example", "data:text/html,x"),
    *("https://a.example https://b.example", f"https://{'a' * 64}.example", "https://☃\u200b.x"),
    "https://" + ".".join(["a" * 60] * 5),
    *("https://*.co.uk", "https://*.com.au", "https://*.GOV.br.", "https://*.ac.jp:8443"),
    *("https://xn--zzzzzzzzzz-", "https://xn--abc-.example", "https://xn--.example"),
    *("https://a.xn--a.example", "https://*.xn--99999999.example", "https://xn--a-ecp.example"),
    *("https://XN--U-CCB.example", "https://xn--a-0hc.example", "https://xn--b-rkb.example"),
    *("data://a.example", "blob://a.example", "about://blank", "ftp://a.example"),
]


@pytest.mark.parametrize("text", NEVER)
def test_setting_refuses_what_no_browser_sends(text: str) -> None:
    for parsed in (readers, writers):
        with pytest.raises(ValueError, match="must"):
            parsed(text)


@pytest.mark.parametrize("text", ["null", "file://", "capacitor://localhost", "app://x.example"])
def test_app_may_not_write_with_a_session(text: str) -> None:
    with pytest.raises(ValueError, match="with http or https"):
        writers(text)


# -- streams

SITE = Site(
    "https://public.example",
    readers("https://partner.example,https://*.news.example,capacitor://localhost,null"),
    writers("https://cms.public.example"),
)


@pytest.mark.parametrize(
    ("origin", "hosts"),
    [
        ("", ["127.0.0.1:8000"]),
        ("http://live.example", ["live.example"]),
        ("https://live.example", ["live.example"]),
        ("https://live.example", ["LIVE.Example."]),
        ("https://live.example", ["live.example:443"]),
        ("http://live.example", ["live.example:80"]),
        ("https://live.example:8443", ["live.example"]),
        ("https://live.example:8443", ["live.example:8443"]),
        ("https://www.public.example", ["www.public.example"]),
        ("https://xn--mnchen-3ya.example", ["münchen.example"]),
        ("http://[::1]:8000", ["[0::1]:8000"]),
        ("https://live.example", ["127.0.0.1:8000", "live.example"]),
        ("https://public.example", ["127.0.0.1:8000"]),
        ("http://public.example", ["127.0.0.1:8000"]),
        ("https://partner.example", []),
        ("https://sport.news.example", []),
        ("capacitor://localhost", []),
        ("null", []),
    ],
)
def test_page_may_stream_when_its_host_is_ours_or_its_origin_is_listed(
    origin: str, hosts: list[str]
) -> None:
    assert SITE.may_stream(Page(origin, hosts=tuple(hosts)))


@pytest.mark.parametrize(
    ("origin", "hosts"),
    [
        ("https://evil.example", ["live.example"]),
        ("https://live.example.evil.example", ["live.example"]),
        ("https://evillive.example", ["live.example"]),
        ("https://live.example", []),
        ("https://live.example", ["", "no host", "[::1"]),
        ("https://live.example:9000", ["live.example:8000"]),
        ("http://live.example:443", ["live.example:80"]),
        ("capacitor://live.example", ["live.example"]),
        ("ionic://localhost", ["localhost"]),
        ("https://www.public.example", ["127.0.0.1:8000"]),
        ("https://public.example:8443", ["127.0.0.1:8000"]),
        ("https://news.example", []),
        ("https://a.sport.news.example", []),
        ("http://sport.news.example", []),
        ("not an origin", ["not an origin"]),
        ("https://a.example, https://partner.example", []),
    ],
)
def test_page_may_not_stream_when_its_origin_is_foreign(origin: str, hosts: list[str]) -> None:
    assert not SITE.may_stream(Page(origin, hosts=tuple(hosts)))


def test_browser_that_states_the_same_origin_is_believed() -> None:
    page = Page("https://live.example", "same-origin", ("127.0.0.1:8000",))
    assert SITE.may_stream(page)
    assert SITE.is_own(page)
    assert not SITE.may_stream(page._replace(site="same-site"))
    assert not SITE.may_write(page._replace(site="same-site"))


# -- writes


def test_only_the_list_of_writers_lets_another_origin_write() -> None:
    assert SITE.may_write(Page("https://cms.public.example", "same-site"))
    assert not SITE.is_own(Page("https://cms.public.example", "same-site"))
    for origin in ("https://partner.example", "null", "capacitor://localhost"):
        assert not SITE.may_write(Page(origin, "cross-site"))
    assert not SITE.may_stream(Page("https://cms.public.example"))


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "is_own"),
    [
        ("https://live.example", "live.example", "", True),
        ("http://live.example", "live.example", "", True),
        ("https://live.example", "live.example", "https", True),
        ("http://live.example", "live.example", "https", False),
        ("https://live.example", "live.example", "http", False),
        ("https://live.example:8443", "live.example:8443", "", True),
        ("https://live.example:8443", "live.example", "", False),
        ("https://live.example", "live.example:443", "", True),
        ("https://public.example", "public.example", "http", True),
        ("http://public.example", "public.example", "", False),
        ("https://www.public.example", "www.public.example", "", True),
        ("https://live.example", "127.0.0.1:8000", "https", False),
    ],
)
def test_page_is_ours_when_host_port_and_known_scheme_agree(
    origin: str, host: str, scheme: str, *, is_own: bool
) -> None:
    assert SITE.is_own(Page(origin, "", (host,), scheme)) == is_own


# -- settings that can never work, and those that may

NEVER_WRITE = [
    ("https://live.news.example", "https://cms.other.example"),
    ("https://live.news.example", "https://cms.news.test"),
    ("https://live.news.example", "https://*.other.example"),
    ("https://live.news.example", "https://livenews.example"),
    ("https://live.news.example", "http://cms.news.example"),
    ("http://live.news.example", "https://cms.news.example"),
    ("https://live.news.example", "http://live.news.example"),
    ("https://live.co.uk", "https://cms.co.uk"),
    ("https://a.live.com.au", "https://b.cms.com.au"),
    ("http://192.0.2.1", "http://198.51.2.1"),
    ("http://[2001:db8::1]", "http://[2001:db8::2]"),
    ("http://localhost:8000", "http://127.0.0.1:8000"),
    ("http://localhost:8000", "http://*.localhost:8000"),
    ("http://a.localhost", "http://b.localhost"),
]
MAY_WRITE = [
    ("https://live.news.example", "https://cms.news.example:8443"),
    ("https://live.news.example", "https://*.news.example"),
    ("https://live.news.example", "https://news.example"),
    ("https://news.com", "https://cms.news.com"),
    ("https://news.com", "https://*.desk.news.com"),
    ("https://live.news.com", "https://news.com"),
    ("https://news.co.uk", "https://cms.news.co.uk"),
    ("https://live.news.test", "https://*.desk.news.test"),
    ("https://münchen.example", "https://cms.xn--mnchen-3ya.example"),
    ("http://localhost:8000", "http://localhost:3000"),
    ("http://127.0.0.1:8000", "http://127.0.0.1:3000"),
    ("http://intranet", "http://intranet:3000"),
    ("http://x.a.localhost", "http://a.localhost"),
]


def site_of(public: str, *, write: str = "", allowed: str = "") -> Site:
    return Site(site_url(public) if public else "", readers(allowed), writers(write))


@pytest.mark.parametrize(("public", "writer"), NEVER_WRITE)
def test_site_names_a_writer_when_browsers_send_it_no_session(public: str, writer: str) -> None:
    (fault,) = site_of(public, write=writer).faults()
    assert repr(writer) in fault
    assert f"PUBLIC_URL ({public})" in fault


@pytest.mark.parametrize(("public", "writer"), MAY_WRITE)
def test_site_has_no_fault_and_no_doubt_when_a_writer_is_of_its_domain(
    public: str, writer: str
) -> None:
    site = site_of(public, write=writer)
    assert [*site.faults(), *site.doubts()] == []


@pytest.mark.parametrize(
    ("public", "writer", "domain"),
    [
        ("https://live.github.io", "https://cms.github.io", "github.io"),
        ("https://live.news.co.uk", "https://cms.news.co.uk", "news.co.uk"),
        ("https://live.news.com", "https://cms.news.com", "news.com"),
        ("https://a.live.news.com", "https://b.live.news.com", "live.news.com"),
        ("https://live.news.com", "https://*.news.com", "news.com"),
        ("https://live.pages.dev", "https://*.pages.dev", "pages.dev"),
    ],
)
def test_site_doubts_a_writer_when_only_a_list_of_suffixes_decides(
    public: str, writer: str, domain: str
) -> None:
    site = site_of(public, write=writer)
    (doubt,) = site.doubts()
    assert writer in doubt
    assert f"if {domain} is a public suffix" in doubt
    assert not [*site.faults()]


def test_site_doubts_writers_without_its_own_address() -> None:
    site = site_of("", write="https://cms.news.com,https://cms.other.com")
    (doubt,) = site.doubts()
    assert "LIVEBLOG_WRITE_ORIGINS" in doubt
    assert "PUBLIC_URL" in doubt
    assert not [*site.faults()]


def test_site_doubts_a_wildcard_of_readers_below_a_foreign_domain() -> None:
    listed = "https://*.github.io,https://*.live.news.com,https://a.pages.dev,null,app://localhost"
    (doubt,) = site_of("https://live.news.com", allowed=listed).doubts()
    assert doubt.startswith("https://*.github.io admits the pages of strangers")


# -- messages


def test_refusal_names_both_sides_and_the_setting() -> None:
    page = Page("https://live.example", hosts=("127.0.0.1:8000",))
    assert refusal(page, Site("https://public.example"), "LIVEBLOG_ALLOWED_ORIGINS") == (
        "origin 'https://live.example' is none of '127.0.0.1:8000', 'https://public.example';"
        " set PUBLIC_URL if it is this site's own address,"
        " or LIVEBLOG_ALLOWED_ORIGINS if it is another site's"
    )


def test_refusal_names_the_proxy_when_it_is_not_trusted() -> None:
    page = Page("https://live.example", claims=("live.example",), proxy="10.0.0.9")
    assert "FORWARDED_ALLOW_IPS must name the proxy 10.0.0.9" in refusal(page, Site(), "X")
    assert "FORWARDED" not in refusal(page._replace(claims=("evil.example",)), Site(), "X")


def test_refusal_is_short_when_headers_are_long() -> None:
    page = Page("x" * 8_000, hosts=("y" * 8_000,))
    assert len(refusal(page, Site(), "LIVEBLOG_ALLOWED_ORIGINS")) < 500
