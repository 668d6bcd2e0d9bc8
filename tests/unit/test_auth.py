"""Credentials, origins, cookies and body sizes, as auth checks them without a store."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem, StoreDown
from liveblog.editors import auth
from liveblog.seldom import Seldom
from liveblog.settings import Settings
from liveblog.store.accounts import SESSION_MAX_S, Accounts

DANA = Caller("user:dana", "editor")
WIRE = Caller("token:wire", "contributor", ("council",))
Headers = dict[str, str] | Sequence[tuple[str, str]]


class KnownAccounts(Accounts):
    """Replaces the accounts in the store: knows one token and one session."""

    def __init__(self, *, is_store_up: bool = True) -> None:
        self.is_store_up = is_store_up

    async def check_store(self) -> None:
        if not self.is_store_up:
            raise StoreDown("unreachable")

    async def token_caller(self, secret: str) -> Caller | None:
        await self.check_store()
        return WIRE if secret == "lbt_wire" else None

    async def session_caller(self, secret: str) -> Caller | None:
        await self.check_store()
        return DANA if secret == "dana's" else None


def request(
    method: str = "GET",
    headers: Headers = (),
    *,
    scheme: str = "http",
    client: tuple[str, int] | None = ("192.0.2.7", 50_000),
    chunks: Sequence[bytes] = (),
) -> Request:
    pairs = headers.items() if isinstance(headers, dict) else headers
    named = [("host", "live.example"), *pairs]
    messages = _body(chunks)

    async def receive() -> Message:
        return await anext(messages)

    scope = {
        "type": "http",
        "method": method,
        "scheme": scheme,
        "path": "/api/blogs",
        "query_string": b"",
        "client": client,
        "server": ("127.0.0.1", 8000),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named],
    }
    return Request(scope, receive)


async def _body(chunks: Sequence[bytes]) -> AsyncIterator[Message]:
    for chunk in chunks:
        if chunk == b"(gone)":
            yield {"type": "http.disconnect"}
        if chunk == b"(stuck)":
            await asyncio.Event().wait()
        yield {"type": "http.request", "body": chunk, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


async def caller(asked: Request, settings: Settings | None = None) -> Caller:
    return await auth.caller_of(asked, KnownAccounts(), settings or Settings())


async def problem(asked: Request, settings: Settings | None = None) -> Problem:
    with pytest.raises(Problem) as raised:
        await caller(asked, settings)
    return raised.value


# -- credentials


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_bearer_token_identifies_its_caller(scheme: str) -> None:
    assert await caller(request(headers={"authorization": f"{scheme} lbt_wire"})) == WIRE


async def test_a_session_cookie_identifies_its_user() -> None:
    cookies = {"cookie": "theme=dark; liveblog=dana's; __Host-liveblog=other"}
    assert await caller(request(headers=cookies)) == DANA


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer lbt_unknown"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer"},
        {"authorization": "Basic bGJ0X3dpcmU6"},
        {"authorization": "lbt_wire"},
        {"authorization": "Bearer \xe9"},
        {"cookie": "liveblog=unknown"},
        {"cookie": "liveblog="},
        {"cookie": "Liveblog=dana's"},
    ],
)
async def test_caller_of_raises_401_without_a_valid_credential(headers: Headers) -> None:
    found = await problem(request(headers=headers))
    assert (found.status, found.name) == (401, "unauthorized")


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer lbt_wire"), ("authorization", "Bearer lbt_wire")],
        [("authorization", "Bearer lbt_wire"), ("cookie", "liveblog=dana's")],
        [("authorization", "Bearer "), ("cookie", "liveblog=dana's")],
        [("cookie", "liveblog=dana's; liveblog=dana's")],
        [("cookie", "liveblog=dana's"), ("cookie", "liveblog=other")],
    ],
)
async def test_caller_of_raises_400_for_several_credentials(headers: Headers) -> None:
    found = await problem(request(headers=headers))
    assert (found.status, found.name) == (400, "ambiguous-credentials")


async def test_a_session_is_accepted_beside_a_proxys_basic_password() -> None:
    headers = {"authorization": "Basic c3RhZ2luZzpx", "cookie": "liveblog=dana's"}
    assert await caller(request(headers=headers)) == DANA


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer x"}, {"authorization": "Basic x"}, {"cookie": "liveblog=x"}],
)
async def test_caller_of_raises_store_down_when_the_store_is_unreachable(headers: Headers) -> None:
    with pytest.raises(StoreDown):
        await auth.caller_of(request(headers=headers), KnownAccounts(is_store_up=False), Settings())


# -- origins

SESSION = ("cookie", "liveblog=dana's")


@pytest.mark.parametrize(
    "said",
    [
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://live.example"},
        {"origin": "HTTP://LIVE.example"},
        {"origin": "https://live.example"},
        {"origin": "http://live.example:80"},
        {"origin": "http://live.example."},
        {"origin": "https://public.example"},
        {"sec-fetch-site": "same-site", "origin": "https://public.example"},
        {"origin": "https://cms.public.example"},
        {"sec-fetch-site": "same-site", "origin": "https://cms.public.example"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
async def test_a_session_may_write_from_an_allowed_page(method: str, said: dict[str, str]) -> None:
    settings = Settings(
        public_url="https://public.example", write_origins=("https://*.public.example",)
    )
    cookie = {"cookie": "__Host-liveblog=dana's"}
    assert await caller(request(method, cookie | said), settings) == DANA


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "https://partner.example"},
        {"origin": "http://live.example.evil.example"},
        {"origin": "http://live.example:81"},
        {"origin": "capacitor://live.example"},
        {"origin": "http://live.example, http://live.example"},
        {"referer": "http://live.example/desk"},
        {"origin": "http://live.example", "sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example", "x-forwarded-host": "evil.example"},
        {"origin": "https://evil.example", "forwarded": "host=evil.example;proto=https"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
async def test_a_session_is_rejected_from_a_page_of_another_site(
    method: str, said: dict[str, str]
) -> None:
    """LIVEBLOG_ALLOWED_ORIGINS is for streams only."""
    settings = Settings(allowed_origins=("https://partner.example",))
    found = await problem(request(method, {"cookie": "liveblog=dana's"} | said), settings)
    assert (found.status, found.name) == (403, "forbidden")
    assert said.get("origin", "") == "" or "PUBLIC_URL" in found.detail


@pytest.mark.parametrize(
    ("public_url", "scheme", "said", "is_own"),
    [
        ("", "http", {"origin": "https://live.example"}, True),  # TLS ends at an unknown proxy
        ("", "https", {"origin": "http://live.example"}, False),
        ("https://live.example", "http", {"origin": "http://live.example"}, False),
        ("https://live.example", "http", {"origin": "https://live.example"}, True),
        ("https://live.example", "https", {"origin": "http://live.example"}, False),
        ("https://example", "http", {"origin": "https://live.example"}, True),
    ],
)
async def test_the_scheme_of_a_page_counts_when_something_trusted_names_it(
    public_url: str, scheme: str, said: dict[str, str], *, is_own: bool
) -> None:
    asked = request("POST", said, scheme=scheme)
    assert auth.is_own_page(asked, Settings(public_url=public_url)) == is_own


async def test_a_rejected_page_is_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(auth, "LOGGED", Seldom(lambda: 0.0))
    for origin in ("https://evil.example", "https://other.example"):
        await problem(request("POST", [SESSION, ("origin", origin)]))
    [line] = caplog.messages
    assert line == (
        "write rejected: origin 'https://evil.example' is none of 'live.example'; set PUBLIC_URL if"
        " it is this site's own address, or LIVEBLOG_WRITE_ORIGINS if it is another site's"
    )


async def test_no_origin_is_needed_to_read_or_to_write_with_a_token() -> None:
    assert await caller(request("GET", [SESSION])) == DANA
    assert await caller(request("HEAD", [SESSION])) == DANA
    assert await caller(request("POST", {"authorization": "Bearer lbt_wire"})) == WIRE


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 1), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("testclient", 1), "testclient"),
        (None, "unix"),
        (("", 0), "unix"),
    ],
)
def test_tries_are_counted_by_ipv4_address_or_ipv6_network(
    client: tuple[str, int] | None, address: str
) -> None:
    headers = {"x-forwarded-for": "203.0.113.9", "forwarded": "for=203.0.113.9"}
    assert auth.client_address(request(headers=headers, client=client)) == address


def test_an_ignored_proxy_is_logged_once_in_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(auth, "LOGGED", Seldom(lambda: now[0]))
    auth.warn_of_ignored_proxy(request())
    auth.warn_of_ignored_proxy(request(headers={"x-forwarded-for": "192.0.2.7"}))
    assert caplog.messages == []
    for now[0] in (0.0, 1.0, 59.0, 60.0):
        auth.warn_of_ignored_proxy(
            request(headers=[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "::1")])
        )
    assert len(caplog.messages) == 2
    for line in caplog.messages:
        assert "192.0.2.7" in line
        assert "FORWARDED_ALLOW_IPS" in line


@pytest.mark.parametrize(
    ("public_url", "scheme", "url"),
    [
        ("", "http", "http://live.example"),
        ("", "https", "https://live.example"),
        ("https://public.example", "http", "https://public.example"),
    ],
)
def test_the_site_url_is_public_url_or_the_requests_own(
    public_url: str, scheme: str, url: str
) -> None:
    asked = request(scheme=scheme)
    assert auth.site_url(asked, Settings(public_url=public_url)) == url


# -- the cookie


@pytest.mark.parametrize(
    ("public_url", "scheme", "name", "is_secure"),
    [
        ("", "http", "liveblog", False),
        ("", "https", "__Host-liveblog", True),
        ("https://public.example", "http", "__Host-liveblog", True),
        ("http://public.example", "http", "liveblog", False),
    ],
)
def test_the_cookies_are_http_only_and_same_site(
    public_url: str, scheme: str, name: str, *, is_secure: bool
) -> None:
    response, asked = Response(), request(scheme=scheme)
    signed_in = auth.SignedIn(Caller("user:dana", "editor"), "secret", "mark~mark")
    auth.set_cookies(response, asked, Settings(public_url=public_url), signed_in)
    session, device = response.headers.getlist("set-cookie")
    wanted = {"HttpOnly", "SameSite=lax", "Path=/"} | ({"Secure"} if is_secure else set())
    assert {*session.split("; ")} == wanted | {f"{name}=secret", f"Max-Age={SESSION_MAX_S}"}
    assert {*device.split("; ")} == wanted | {f"{name}-device=mark~mark", "Max-Age=15552000"}


def test_a_cleared_cookie_expires_at_once() -> None:
    response = Response()
    auth.clear_session_cookie(response, request(), Settings())
    assert 'liveblog=""; ' in response.headers["set-cookie"]
    assert "Max-Age=0" in response.headers["set-cookie"]
