"""Authentication of editors: credentials, origins and sign-in limits.

The API and the desk check every request here, so that each of these rules exists once.

Rules: no Redis and no password hashes (accounts has them), no permission to write (publishing
decides that).
"""

import logging
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from liveblog.address import counted_address
from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem, forbidden
from liveblog.forwarded import page_of_scope
from liveblog.origin import SHOWN_MAX, Page, cure, refusal
from liveblog.seldom import Seldom
from liveblog.settings import Settings
from liveblog.store.accounts import SESSION_MAX_S, Accounts

log = logging.getLogger(__name__)

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
REFUSALS: Final = Seldom()  # limits the log lines about origins; one for each worker

# Limits of tries to sign in within SIGN_IN_WINDOW_S. A successful try is not counted.
SIGN_IN_WINDOW_S: Final = 15 * 60
# Tries from one address for all names. The limit is high, because a newsroom shares one address.
ADDRESS_TRIES_MAX: Final = 50
NAME_TRIES_MAX: Final = 10  # tries from one address for one name
# Tries for one name from all addresses together. More tries mean that many addresses guess the
# password of this name, since one address makes at most NAME_TRIES_MAX tries.
NAME_TRIES_EVERYWHERE: Final = 100
# Tries from one address for a name whose password many addresses guess. Two tries are enough for a
# typing error and the right password.
GUESSED_NAME_TRIES_MAX: Final = 2


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
    pairs = (
        pair.strip().partition("=")
        for header in request.headers.getlist("cookie")
        for pair in header.split(";")
    )
    name = cookie_name(request, settings)
    found = [value for key, _, value in pairs if key == name and value]
    if len(found) > 1:
        raise _ambiguous("several session cookies")
    return found[0] if found else None


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
    if REFUSALS.may("write"):
        reason = refusal(page, settings.site, "LIVEBLOG_WRITE_ORIGINS")
        log.warning("write refused: %s", reason)
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
    return counted_address(request.client.host if request.client else "")


# -- signing in and out


async def sign_in(
    request: Request, accounts: Accounts, settings: Settings, name: str, password: str
) -> str:
    """Check a name and password, open a session, and return the secret for its cookie.

    Ends the session that the browser had before. Raises Problem: 401 for a wrong name or password,
    403 for a page of another site, 429 after too many tries, 503 when too many editors sign in at
    once.
    """
    _reject_foreign_page(request, settings)
    old = session_secret(request, settings)
    counted = await _count_try(accounts, client_address(request), name)
    caller = await accounts.check_password(name, password)
    if caller is None:
        raise Problem(401, "sign-in-refused", "The name or the password is wrong.")
    for what in counted:
        await accounts.forget_try(what)
    if old:
        await accounts.close_session(old)
    return await accounts.open_session(caller)


async def sign_out(request: Request, accounts: Accounts, settings: Settings) -> None:
    """End the session of the request's cookie. Raises Problem 403 for a page of another site."""
    secret = session_secret(request, settings)
    if secret:
        _need_own_page(request, settings)
        await accounts.close_session(secret)


async def _count_try(accounts: Accounts, address: str, name: str) -> list[str]:
    """Count a try before the password is checked; return the names of the counters used.

    Raises Problem 429 over a limit. Counting first keeps many simultaneous tries within the limit.

    Tries from other addresses never lock an address out: otherwise anyone with an editor's name
    could lock that editor out. After NAME_TRIES_EVERYWHERE tries for one name, each address gets at
    most GUESSED_NAME_TRIES_MAX more tries in a window of 15 minutes. An editor with the right
    password needs one try. One address alone cannot cause this limit, since an address gets only
    NAME_TRIES_MAX tries. An attacker then has 192 tries a day from each address, too few to guess a
    password of 12 characters.
    """
    here, there = f"address {address}", f"pair {address} {name}"
    await _admit(accounts, here, ADDRESS_TRIES_MAX)
    await _admit(accounts, there, NAME_TRIES_MAX)
    everywhere = f"name {name}"
    if not await accounts.wait_s(everywhere, NAME_TRIES_EVERYWHERE, SIGN_IN_WINDOW_S):
        return [here, there, everywhere]
    guessed = f"guessed {address} {name}"
    await _admit(accounts, guessed, GUESSED_NAME_TRIES_MAX)
    return [here, there, everywhere, guessed]


async def _admit(accounts: Accounts, what: str, limit: int) -> None:
    wait_s = await accounts.wait_s(what, limit, SIGN_IN_WINDOW_S)
    if wait_s:
        detail = f"Too many tries to sign in. Try again in {wait_s} seconds."
        raise Problem(429, "too-many-tries", detail, retry_after_s=wait_s)


def cookie_name(request: Request, settings: Settings) -> str:
    """Return the session cookie's name; `__Host-` binds it to this host and https (RFC 6265bis)."""
    return "__Host-liveblog" if _is_https(request, settings) else "liveblog"


def _is_https(request: Request, settings: Settings) -> bool:
    return "https" in (request.url.scheme, urlsplit(settings.public_url).scheme)


def set_session_cookie(
    response: Response, request: Request, settings: Settings, secret: str
) -> None:
    """Set the session cookie for SESSION_MAX_S; the store may end the session sooner."""
    _set_cookie(response, request, settings, secret, SESSION_MAX_S)


def clear_session_cookie(response: Response, request: Request, settings: Settings) -> None:
    _set_cookie(response, request, settings, "", 0)


def _set_cookie(
    response: Response, request: Request, settings: Settings, value: str, max_age_s: int
) -> None:
    response.set_cookie(
        cookie_name(request, settings),
        value,
        max_age=max_age_s,
        path="/",
        secure=_is_https(request, settings),
        httponly=True,
        samesite="lax",
    )
