"""The headers of proxies: whom the server believes, and what the headers tell."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveblog import forwarded
from liveblog.forwarded import (
    NOTHING,
    Forwarded,
    ForwardedHeaders,
    Proxies,
    forwarded_headers,
    hops_of,
    is_forwarded,
    page_of,
    page_of_scope,
)
from liveblog.origin import Page

PEER = "127.0.0.1"
TRUSTED = Proxies("127.0.0.1,10.0.0.0/8,fd00::1")


def headers(text: str) -> dict[bytes, bytes]:
    lines = [line.split(": ", 1) for line in text.split("\n")]
    return dict(forwarded_headers([(name.lower().encode(), it.encode()) for name, it in lines]))


def read(text: str, proxies: Proxies = TRUSTED) -> tuple[str, str, tuple[str, ...]]:
    found = proxies.read(PEER, headers(text))
    return found.scheme, found.address, found.hosts


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("X-Forwarded-Proto: https", ("https", "", ())),
        ("X-Forwarded-Proto: HTTPS", ("https", "", ())),
        ("X-Forwarded-Proto: wss", ("https", "", ())),
        ("X-Forwarded-Proto: https,http", ("https", "", ())),
        ("X-Forwarded-Proto: http , https", ("http", "", ())),
        ("X-Forwarded-Proto: https\nX-Forwarded-Proto: http", ("https", "", ())),
        ("X-Forwarded-Proto: gopher", ("", "", ())),
        ("X-Forwarded-Proto: ,", ("", "", ())),
        ("X-Forwarded-For: 192.0.2.7", ("", "192.0.2.7", ())),
        ("X-Forwarded-For: 192.0.2.1, 192.0.2.7, 10.0.0.3", ("", "192.0.2.7", ())),
        ("X-Forwarded-For: 192.0.2.7:50000", ("", "192.0.2.7", ())),
        ("X-Forwarded-For: 2001:DB8::7", ("", "2001:db8::7", ())),
        ("X-Forwarded-For: [2001:db8::7]:50000", ("", "2001:db8::7", ())),
        ("X-Forwarded-For: 10.0.0.2, 10.0.0.3", ("", "10.0.0.2", ())),
        ("X-Forwarded-For: ::ffff:192.0.2.7, ::FFFF:10.0.0.3", ("", "192.0.2.7", ())),
        ("X-Forwarded-For: unknown, 10.0.0.3", ("", "10.0.0.3", ())),
        ("X-Forwarded-For: unknown", ("", "", ())),
        ("X-Forwarded-Host: live.example", ("", "", ("live.example",))),
        ("X-Forwarded-Host: a.example, b.example:81", ("", "", ("a.example", "b.example:81"))),
        ("Forwarded: for=192.0.2.7", ("", "192.0.2.7", ())),
        (
            "Forwarded: for=192.0.2.7;proto=https;host=live.example",
            ("https", "192.0.2.7", ("live.example",)),
        ),
        (
            'forwarded: For="[2001:db8::7]:4711" ; PROTO=HTTPS ; Host="live.example:8443"',
            ("https", "2001:db8::7", ("live.example:8443",)),
        ),
        ("Forwarded: for=192.0.2.7;host=live.example:81", ("", "192.0.2.7", ("live.example:81",))),
        (
            "Forwarded: for=192.0.2.1, for=192.0.2.7;proto=http, for=10.1.1.1",
            ("http", "192.0.2.7", ()),
        ),
        ("Forwarded: for=192.0.2.7,\tfor=10.1.1.1,", ("", "192.0.2.7", ())),
        ('Forwarded: for="_hidden", for=10.1.1.1;by=_me', ("", "10.1.1.1", ())),
        ("Forwarded: for=unknown;proto=https", ("https", "", ())),
        ('Forwarded: host="a\\"b.example";proto=https', ("https", "", ('a"b.example',))),
        ('Forwarded: for="192.0.2.7;proto=https', ("", "", ())),
        ("Forwarded: for 192.0.2.7", ("", "", ())),
        ("Forwarded: ", ("", "", ())),
        (
            "X-Forwarded-For: 192.0.2.7\nForwarded: for=192.0.2.9\nX-Forwarded-Proto: http",
            ("http", "192.0.2.7", ()),
        ),
        (
            "Forwarded: proto=https;host=b.example\nX-Forwarded-Host: a.example",
            ("https", "", ("a.example", "b.example")),
        ),
        (
            "Forwarded: proto=https\nX-Forwarded-Proto: http",
            ("http", "", ()),
        ),
    ],
)
def test_headers_of_a_trusted_proxy_tell_scheme_address_and_hosts(
    text: str, told: tuple[str, str, tuple[str, ...]]
) -> None:
    assert read(text) == told


@pytest.mark.parametrize(
    ("peer", "is_trusted"),
    [
        ("127.0.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.9.9.9", True),
        ("fd00::1", True),
        ("::ffff:192.0.2.1", False),
        ("fd00::2", False),
        ("", False),
        ("unix", False),
    ],
)
def test_proxy_is_trusted_by_its_address_however_the_kernel_writes_it(
    peer: str, is_trusted: bool
) -> None:
    assert TRUSTED.trusts(peer) == is_trusted
    told = TRUSTED.read(peer, headers("X-Forwarded-Proto: https"))
    assert (told.is_trusted, told.scheme) == (is_trusted, "https" if is_trusted else "")


def test_first_address_is_the_client_when_every_proxy_is_trusted() -> None:
    assert read("X-Forwarded-For: 192.0.2.1, 192.0.2.7", Proxies("*"))[1] == "192.0.2.1"


def test_only_hosts_are_kept_for_the_log_when_the_proxy_is_not_trusted() -> None:
    told = headers("X-Forwarded-For: 192.0.2.7\nForwarded: proto=https;host=live.example")
    found = TRUSTED.read("192.0.2.1", told)
    assert found == Forwarded("192.0.2.1", hosts=("live.example",))
    page = page_of({b"origin": b"https://live.example", b"host": b"inner"}, found)
    assert (page.hosts, page.scheme, page.claims) == (("inner",), "", ("live.example",))


@pytest.mark.parametrize("hop", ["x" * 8_000, f"[::1]:{'1' * 8_000}", "1" * 8_000])
def test_long_hop_tells_nothing_and_is_not_cached(hop: str) -> None:
    told = headers(f"X-Forwarded-For: {hop}")
    before = forwarded._parsed.cache_info()
    assert (hops_of(told), TRUSTED.read(PEER, told).address) == ([], "")
    assert forwarded._parsed.cache_info() == before


def test_nearest_hops_are_read_when_a_header_has_hundreds() -> None:
    hops = [f"198.51.100.{number}" for number in range(200)]
    told = headers(f"X-Forwarded-For: {', '.join(hops)}")
    assert hops_of(told) == hops[-forwarded.HOPS_MAX :]


@given(st.text('for=;,"\\ []:.19_ahost', max_size=60) | st.text(max_size=60))
def test_malformed_headers_raise_nothing(value: str) -> None:
    for name in (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"):
        Proxies("*").read(PEER, {name: value.encode("utf-8", "replace")})


def test_facts_are_unknown_when_a_request_has_no_headers_of_proxies() -> None:
    asked = {b"host": b"live.example", b"origin": b"http://live.example"}
    assert not is_forwarded(asked)
    assert page_of(asked, NOTHING) == Page("http://live.example", "", ("live.example",))


@pytest.mark.parametrize(("kind", "scheme"), [("http", "https"), ("websocket", "wss")])
async def test_asgi_request_gets_scheme_and_client_of_a_trusted_proxy(
    kind: str, scheme: str
) -> None:
    served: list[Any] = []

    async def app(scope: object, *_: object) -> None:
        served.append(scope)

    lines = [
        (b"host", b"127.0.0.1:8000"),
        (b"origin", b"https://live.example"),
        (b"forwarded", b"for=192.0.2.7;proto=https;host=live.example"),
    ]
    scope = {"type": kind, "scheme": kind, "client": (PEER, 1), "headers": lines}
    await ForwardedHeaders(app, TRUSTED)(scope, None, None)  # type: ignore[arg-type]
    [found] = served
    assert (found["scheme"], found["client"]) == (scheme, ("192.0.2.7", 0))
    page = page_of_scope(found)
    assert (page.hosts, page.scheme) == (("127.0.0.1:8000", "live.example"), "https")


async def test_asgi_request_stays_as_it_is_when_the_proxy_is_not_trusted() -> None:
    async def app(scope: object, *_: object) -> None:
        pass

    for client in (("192.0.2.1", 1), None):
        scope: Any = {"type": "http", "scheme": "http", "client": client}
        scope["headers"] = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"192.0.2.7")]
        await ForwardedHeaders(app, TRUSTED)(scope, None, None)  # type: ignore[arg-type]
        assert (scope["scheme"], scope["client"]) == ("http", client)
