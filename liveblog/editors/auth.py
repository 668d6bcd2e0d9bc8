"""Authentication of editors: credentials, origins and signing in.

The API and the desk check every request here, so that each of these rules exists once.

Rules: no Redis and no password hashes (accounts has them), no permission to write (publishing
decides that).
"""

import logging
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from liveblog.address import IGNORED, counted_address, is_ignored
from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem, StoreDown, StoreRefuses, forbidden, invalid
from liveblog.editors import tries
from liveblog.editors.tries import Trying
from liveblog.forwarded import forwarded_headers, hops_of, page_of_scope
from liveblog.origin import SHOWN_MAX, Page, cure, refusal
from liveblog.seldom import Seldom
from liveblog.settings import Settings
from liveblog.store.accounts import SESSION_MAX_S, Accounts
from liveblog.store.devices import DEVICE_S, is_mark
from liveblog.store.users import check_new_password

log = logging.getLogger(__name__)

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
LOGGED: Final = Seldom()  # limits the log lines about origins and proxies; one for each worker

# The most marks in a browser's device cookie: editors who share the browser. A further editor takes
# the place of the one whose sign-in was the longest ago.
DEVICES_MAX: Final = 8
DEVICE: Final = "-device"  # ends the name of the device cookie
_BETWEEN_MARKS: Final = "~"  # a character that cookies may contain and marks do not


# -- credentials


async def caller_of(request: Request, accounts: Accounts, settings: Settings) -> Caller:
    """Return the caller that a bearer token or the desk's session cookie identifies.

    Raises Problem: 401 for a missing or invalid credential, 400 for several, 403 when a page of
    another site sends an unsafe method with a session cookie. Several credentials are rejected,
    since a proxy and this server could trust different ones. Raises StoreDown, not 401, while the
    store is unreachable.
    """
    token, session = _bearer(request), session_secret(request, settings)
    if token is not None and session:
        raise _ambiguous("a bearer token and a session cookie")
    if token is not None:
        caller = await accounts.token_caller(token)
    elif session:
        caller = await accounts.session_caller(session)
    else:
        await accounts.check_store()
        caller = None
    if caller is None:
        raise _unauthorized(has_credential=token is not None or session is not None)
    if session and request.method not in SAFE_METHODS:
        _need_own_page(request, settings)
    return caller


def _bearer(request: Request) -> str | None:
    """Return the bearer token (RFC 6750, section 2.1), "" for an empty token.

    Other schemes are ignored: a proxy may use them, such as Basic in front of a test site.
    """
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise _ambiguous("several Authorization headers")
    scheme, _, token = "".join(given).partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def session_secret(request: Request, settings: Settings) -> str | None:
    """Return the secret in the session cookie, None without a cookie.

    Raises Problem 400 for several session cookies.
    """
    found = _cookies(request, cookie_name(request, settings))
    if len(found) > 1:
        raise _ambiguous("several session cookies")
    return found[0] if found else None


def _cookies(request: Request, name: str) -> list[str]:
    """Return the values of a request's cookies of this name, without empty ones."""
    pairs = (
        pair.strip().partition("=")
        for header in request.headers.getlist("cookie")
        for pair in header.split(";")
    )
    return [value for key, _, value in pairs if key == name and value]


def _ambiguous(what: str) -> Problem:
    return Problem(400, "ambiguous-credentials", f"The request has {what}; send one credential.")


def _unauthorized(*, has_credential: bool) -> Problem:
    missing = "Send Authorization: Bearer and a token, or sign in at /desk/sign-in."
    invalid = "The token or session is unknown, revoked or expired."
    return Problem(401, "unauthorized", invalid if has_credential else missing)


# -- origins


def site_url(request: Request, settings: Settings) -> str:
    """Return this site's address without a trailing slash: PUBLIC_URL, else the request's own."""
    return settings.public_url or f"{request.url.scheme}://{request.url.netloc}"


def is_own_page(request: Request, settings: Settings) -> bool:
    """Return whether a page of this site surely sent a request."""
    return settings.site.is_own(page_of_scope(request.scope))


def _need_own_page(request: Request, settings: Settings) -> None:
    """Raise Problem 403 unless a page of this site or of `write_origins` sent the request.

    The browser sets `Sec-Fetch-Site`, and scripts cannot change it (W3C Fetch Metadata). Browsers
    send it only over https and to localhost, and Origin with every unsafe method. A request with
    neither header is rejected.
    """
    page = page_of_scope(request.scope)
    if not settings.site.may_write(page):
        raise foreign_page(page, settings)


def _reject_foreign_page(request: Request, settings: Settings) -> None:
    """Raise Problem 403 for a request from another site, unless in `write_origins`.

    A request with neither Sec-Fetch-Site nor Origin passes: it comes from a script, not from a
    browser.
    """
    page = page_of_scope(request.scope)
    is_script = not page.site and "origin" not in request.headers
    if not (is_script or page.site == "none" or settings.site.may_write(page)):
        raise foreign_page(page, settings)


def foreign_page(page: Page, settings: Settings) -> Problem:
    """Return the problem of a request that no page of this site sent, and log both sides."""
    if not page.origin:
        return forbidden(
            "A session cookie needs Sec-Fetch-Site: same-origin, or an Origin that PUBLIC_URL or"
            " the Host header names."
        )
    if LOGGED.may("write"):
        reason = refusal(page, settings.site, "LIVEBLOG_WRITE_ORIGINS")
        log.warning("write rejected: %s", reason)
    advice = cure(page, "LIVEBLOG_WRITE_ORIGINS")
    return forbidden(
        f"This server does not know your page's address {page.origin[:SHOWN_MAX]!r} as its own. The"
        f" server's operator can change that: {advice}."
    )


def client_address(request: Request) -> str:
    """Return the address by which sign-in tries are counted.

    No header is read here: the server has already applied the headers of trusted proxies
    (FORWARDED_ALLOW_IPS).
    """
    return counted_address(_client(request))


def _client(request: Request) -> str:
    return request.client.host if request.client else ""


def warn_of_ignored_proxy(request: Request) -> None:
    """Log once a minute that a proxy's headers are ignored, and name the setting."""
    hops = hops_of(forwarded_headers(request.headers.raw))
    if is_ignored(hops, _client(request)) and LOGGED.may("proxy"):
        log.warning(IGNORED, "sign-in", _client(request))


# -- signing in and out


class SignedIn(NamedTuple):
    """The values of two cookies: the session's secret, and the browser's marks of its users."""

    caller: Caller
    session: str
    devices: str


async def sign_in(
    request: Request, accounts: Accounts, settings: Settings, name: str, password: str
) -> SignedIn:
    """Check a name and password, open a session, and mark the browser as known to the user.

    Ends the session that the browser had before. Raises Problem: 401 for a wrong name or password,
    403 for a page of another site, 429 after too many tries, 503 when too many editors sign in at
    once.
    """
    _reject_foreign_page(request, settings)
    trying = await _trying(request, accounts, settings, name)
    caller = await tries.checked(accounts, trying, password)
    if caller is None:
        raise Problem(401, "sign-in-refused", "The name or the password is wrong.")
    return await _signed_in(request, accounts, settings, caller, trying.device)


async def change_password(
    request: Request, accounts: Accounts, settings: Settings, caller: Caller, current: str, new: str
) -> SignedIn:
    """Give a user who states the current password a new one; open a new session for the browser.

    All other sessions of the user end. Raises Problem: 422 for a wrong current password or a new
    one of a wrong length, 403 for a token, 409 when another new password came first, and 429 and
    503 as `sign_in` does: each try counts as a try to sign in.
    """
    if not caller.ident.startswith("user:"):
        raise forbidden("A token has no password.")
    check_new_password(new)
    trying = await _trying(request, accounts, settings, caller.name)
    checked = await tries.checked(accounts, trying, current)
    if checked is None:
        raise invalid(("/current", "is wrong"))
    user = await accounts.people.set_password(caller.name, new, checked.series)
    try:
        return await _signed_in(request, accounts, settings, user.caller, trying.device)
    except StoreRefuses as refused:  # "not stored" would be wrong
        raise StoreDown(f"the password is stored, no session is: {refused}") from refused


async def _trying(request: Request, accounts: Accounts, settings: Settings, name: str) -> Trying:
    device = await accounts.known_device(name, _marks(request, settings))
    return Trying(name, client_address(request), device)


async def _signed_in(
    request: Request, accounts: Accounts, settings: Settings, caller: Caller, device: str | None
) -> SignedIn:
    """Open a session for `caller`, replace the browser's mark, and end its old session.

    The old session ends last: the store may have no memory for a new one.
    """
    session = await accounts.open_session(caller)
    others = (mark for mark in _marks(request, settings) if mark != device)
    newest = [await accounts.device_mark(caller.name), *others]
    if old := session_secret(request, settings):
        await accounts.close_session(old)
    return SignedIn(caller, session, _BETWEEN_MARKS.join(newest[:DEVICES_MAX]))


def _marks(request: Request, settings: Settings) -> list[str]:
    """Return the marks in a browser's device cookie, at most DEVICES_MAX (store/devices.py)."""
    cookies = _cookies(request, cookie_name(request, settings, DEVICE))
    marks = _BETWEEN_MARKS.join(cookies).split(_BETWEEN_MARKS)
    return [mark for mark in marks if is_mark(mark)][:DEVICES_MAX]


async def sign_out(request: Request, accounts: Accounts, settings: Settings) -> None:
    """End the session of the request's cookie. Raises Problem 403 for a page of another site."""
    secret = session_secret(request, settings)
    if secret:
        _need_own_page(request, settings)
        await accounts.close_session(secret)


def cookie_name(request: Request, settings: Settings, kind: str = "") -> str:
    """Return a cookie's name; `__Host-` binds the cookie to this host and https (RFC 6265bis)."""
    return f"__Host-liveblog{kind}" if _is_https(request, settings) else f"liveblog{kind}"


def _is_https(request: Request, settings: Settings) -> bool:
    return "https" in (request.url.scheme, urlsplit(settings.public_url).scheme)


def set_cookies(
    response: Response, request: Request, settings: Settings, signed_in: SignedIn
) -> None:
    """Set the cookies of a browser that has signed in.

    The session cookie lasts for SESSION_MAX_S; the store may end the session sooner. The device
    cookie lasts for DEVICE_S, also after a sign-out.
    """
    session, marks = cookie_name(request, settings), cookie_name(request, settings, DEVICE)
    _set_cookie(response, request, settings, session, signed_in.session, SESSION_MAX_S)
    _set_cookie(response, request, settings, marks, signed_in.devices, DEVICE_S)


def clear_session_cookie(response: Response, request: Request, settings: Settings) -> None:
    _set_cookie(response, request, settings, cookie_name(request, settings), "", 0)


def _set_cookie(
    response: Response, request: Request, settings: Settings, name: str, value: str, max_age_s: int
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=max_age_s,
        path="/",
        secure=_is_https(request, settings),
        httponly=True,
        samesite="lax",
    )
