"""The editors' door: who is asking, from where, and how much they may send.

The API and the desk let every request in through here, so the rules about credentials, foreign
sites, tries at passwords and sizes stand once, and so does how a problem is answered.

Rules: no Redis and no password hashes (accounts), no permission to do anything (publishing).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from liveblog.address import counted_address
from liveblog.blog.fields import BODY_BYTES_MAX
from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem, StoreDown, forbidden
from liveblog.settings import Settings
from liveblog.store.accounts import SESSION_MAX_S, Accounts

log = logging.getLogger(__name__)

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
BODY_WAIT_S: Final = 30.0  # for a whole request body
STORE_RETRY_AFTER_S: Final = 2
REASON_AGAIN_S: Final = 60.0  # until the log says again why the store is down
REASONS_MAX: Final = 10  # that the log says in this time
UNREAD: Final = (401, 408, 413)  # answers before the body was read: who dribbles one is cut off

# Tries at passwords in SIGN_IN_WINDOW_S; a successful one is taken back and costs nothing.
SIGN_IN_WINDOW_S: Final = 15 * 60
ADDRESS_TRIES_MAX: Final = 50  # of one address, whatever the names: a newsroom shares one
NAME_TRIES_MAX: Final = 10  # of one address at one name
NAME_TRIES_EVERYWHERE: Final = (
    100  # at one name; beyond it, it is being guessed at from many places
)
GUESSED_NAME_TRIES_MAX: Final = 2  # of one address at such a name: its password, and a slip


# -- who is asking


async def caller_of(request: Request, accounts: Accounts, settings: Settings) -> Caller:
    """Return who is asking, by a bearer token or the desk's session cookie.

    Raises Problem: 400 for more than one credential (two programs on the way could each take
    another), 401 for none or one that is not valid, 403 for an unsafe call with a session that does
    not come from our own pages. Raises StoreDown rather than say 401 while the store is away.
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
        raise _unknown_caller(is_nobody=token is None and session is None)
    if session and request.method not in SAFE_METHODS:
        _need_own_page(request, settings)
    return caller


def _bearer(request: Request) -> str | None:
    """Return the bearer token (RFC 6750, section 2.1), "" for an empty one.

    Other schemes are a proxy's (Basic before a test site) and not ours.
    """
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise _ambiguous("several Authorization headers")
    scheme, _, token = "".join(given).partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def session_secret(request: Request, settings: Settings) -> str | None:
    """Return the secret in the session cookie, None without one; 400 for several of them."""
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


def _unknown_caller(*, is_nobody: bool) -> Problem:
    nobody = "Send Authorization: Bearer and a token, or sign in at /desk/sign-in."
    invalid = "The token or session is unknown, revoked or over."
    return Problem(401, "unauthorized", nobody if is_nobody else invalid)


# -- from where


def site_url(request: Request, settings: Settings) -> str:
    """Return this site's address without a slash at the end: the one that is set, or as asked."""
    return settings.public_url or f"{request.url.scheme}://{request.url.netloc}"


def _need_own_page(request: Request, settings: Settings) -> None:
    """Raise 403 unless the browser says that one of our own pages, or of an allowed site, asks.

    `Sec-Fetch-Site` is set by the browser and out of scripts' reach (W3C Fetch Metadata); browsers
    without it send Origin with unsafe methods. A request that says nothing is refused.
    """
    if request.headers.get("sec-fetch-site") != "same-origin" and not _is_allowed_origin(
        request, settings
    ):
        raise forbidden("With a session, this needs Sec-Fetch-Site: same-origin or our own Origin.")


def _refuse_foreign_page(request: Request, settings: Settings) -> None:
    """Raise 403 when a browser says that another site's page asks; scripts say nothing and may."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site in ("same-origin", "none") or (site is None and origin is None):
        return
    if not _is_allowed_origin(request, settings):
        raise forbidden("Another site's page cannot sign you in here.")


def _is_allowed_origin(request: Request, settings: Settings) -> bool:
    origin = request.headers.get("origin", "").lower()
    own = f"{request.url.scheme}://{request.url.netloc}".lower()
    return origin in {own, settings.public_url or own, *settings.allowed_origins}


def client_address(request: Request) -> str:
    """Return what tries are counted by.

    Which proxies' headers are believed was settled before (FORWARDED_ALLOW_IPS); no header is read
    here.
    """
    return counted_address(request.client.host if request.client else "")


# -- signing in and out


async def sign_in(
    request: Request, accounts: Accounts, settings: Settings, name: str, password: str
) -> str:
    """Return the secret of a new session, for `set_session_cookie`; this browser's old one ends.

    Raises Problem: 401 for a wrong name or password, 403 from another site's page, 429 after too
    many tries, 503 when too many are signing in at once.
    """
    _refuse_foreign_page(request, settings)
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
    """End the session whose cookie the request has. Raises 403 as `caller_of` does."""
    secret = session_secret(request, settings)
    if secret:
        _need_own_page(request, settings)
        await accounts.close_session(secret)


async def _count_try(accounts: Accounts, address: str, name: str) -> list[str]:
    """Count a try before the password is looked at, or raise 429; return what was counted.

    Counted before, so that many tries at once are not all let in. What an address may do depends on
    what it did itself: others' tries at a name never use up its own. If they did, anybody who knows
    an editor's name could lock that editor out for as long as they like. Guesses at one name from
    many addresses only make each address' share smaller (2 instead of 10), never none: who knows
    the password needs one try, wherever the others guess from. One address alone cannot even do
    that, since its 10 a window stay below the 100 that it takes. What is left to the guessers, 192
    tries a day and address, is little against 12 characters and argon2id.
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
        detail = f"Too many tries to sign in; the next one is allowed in {wait_s} seconds."
        raise Problem(429, "too-many-tries", detail, retry_after_s=wait_s)


def cookie_name(request: Request, settings: Settings) -> str:
    """Return the session cookie's name; `__Host-` binds it to this host and https (RFC 6265bis)."""
    return "__Host-liveblog" if _is_https(request, settings) else "liveblog"


def _is_https(request: Request, settings: Settings) -> bool:
    return "https" in (request.url.scheme, urlsplit(settings.public_url).scheme)


def set_session_cookie(
    response: Response, request: Request, settings: Settings, secret: str
) -> None:
    """Give the browser its session for SESSION_MAX_S; the store may end it sooner."""
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


# -- how much they may send


async def read_body(request: Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Return the request's body, reading no more than `bytes_max` of it.

    Raises Problem: 413 as soon as it is clear that there is more, 408 after BODY_WAIT_S, 400 when
    the sender goes away.
    """
    said = request.headers.get("content-length", "0")
    if said.isdecimal() and int(said[:16]) > bytes_max:
        raise _too_large(bytes_max)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WAIT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > bytes_max:
                    raise _too_large(bytes_max)
    except TimeoutError:
        raise Problem(408, "too-slow", f"The body took over {BODY_WAIT_S:g} seconds.") from None
    except ClientDisconnect:
        raise Problem(400, "incomplete", "The request ended before its body did.") from None
    return bytes(body)


def _too_large(bytes_max: int) -> Problem:
    return Problem(413, "too-large", f"The body has more than {bytes_max:,} bytes, the limit.")


# -- what went wrong


def problem_response(problem: Problem | StoreDown) -> Response:
    """Return the answer for a problem as RFC 9457 has it, and for a store that is away."""
    if isinstance(problem, StoreDown):
        problem = store_down(problem)
    headers = {"Cache-Control": "no-store"}
    if problem.status in UNREAD:
        headers["Connection"] = "close"
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="liveblog"'
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    body = orjson.dumps(problem.to_json())
    return Response(body, problem.status, headers, "application/problem+json")


class Reasons:
    """Logs why the store is down, which callers are not told: each reason once a minute.

    Many may ask again every few seconds, so the rest is not logged, nor are more than
    REASONS_MAX reasons a minute. `now` is in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._said: dict[str, float] = {}  # and when

    def say(self, error: StoreDown) -> None:
        """Log the reason, unless it was just logged."""
        reason, now = str(error), self._now()
        self._said = {it: at for it, at in self._said.items() if now - at < REASON_AGAIN_S}
        if reason not in self._said and len(self._said) < REASONS_MAX:
            self._said[reason] = now
            log.warning("a request is answered that the store is down: %s", reason)


_reasons = Reasons()


def store_down(error: StoreDown) -> Problem:
    """Return the problem that StoreDown is to a caller; a write may or may not have happened."""
    _reasons.say(error)
    detail = (
        "The store cannot be reached. What was sent may or may not be stored; sending it again "
        "with the same Idempotency-Key makes it certain, and one."
    )
    return Problem(503, "store-down", detail, retry_after_s=STORE_RETRY_AFTER_S)
