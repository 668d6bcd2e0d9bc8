"""The headers of proxies: the client's scheme and address, and the host that the client asked for.

`Proxies` reads `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` (RFC 7239), for streams and for
all other requests alike. `ForwardedHeaders` applies them to the requests that ASGI serves.

Rules: only proxies in FORWARDED_ALLOW_IPS are believed. A malformed header counts as missing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from liveblog.origin import Page

HOP_MAX: Final = 64  # characters of an address with brackets and port; a longer hop is none
HOPS_MAX: Final = 20  # hops that are looked for the client's address, the nearest ones
_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_HOST: Final = b"x-forwarded-host"
_FORWARDED: Final = b"forwarded"
_NAMES: Final = frozenset((_FOR, _PROTO, _HOST, _FORWARDED))
_SCHEMES: Final = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
_KEY: Final = "liveblog.forwarded"  # where a request's ASGI scope has its `Forwarded`

# A pair of RFC 7239, section 4. Proxies often leave out the quotes that `:`, `[` and `]` need.
_PAIR: Final = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*))\s*')
# A client's address with or without a port; an IPv6 address may have brackets.
_NODE_V4: Final = re.compile(r"([0-9.]+)(?::\w+)?")
_NODE_V6: Final = re.compile(r"\[([0-9a-f:.]+)\](?::\w+)?|([0-9a-f]*:[0-9a-f:.]*)", re.IGNORECASE)

Headers = Mapping[bytes, bytes]  # names in lower case; a repeated header's values are joined


class Forwarded(NamedTuple):
    """The facts about a request in a proxy's headers; an empty value is unknown.

    From a proxy that is not trusted there are only `hosts`, for the log.
    """

    proxy: str = ""
    is_trusted: bool = False
    scheme: str = ""
    address: str = ""
    hosts: tuple[str, ...] = ()


NOTHING: Final = Forwarded()


class Proxies:
    """The proxies whose headers the server believes.

    `trusted` is a list of addresses and networks, as uvicorn's `forwarded_allow_ips`.
    """

    def __init__(self, trusted: str) -> None:
        self._trusted = ProxyHeadersMiddleware(_none, trusted).trusted_hosts

    def trusts(self, peer: str) -> bool:
        """Return whether `peer`, the other end of a connection, is one of the proxies.

        On a socket for IPv4 and IPv6, the kernel writes an IPv4 address as `::ffff:192.0.2.1`.
        """
        return peer in self._trusted or _address(peer) in self._trusted

    def read(self, peer: str, headers: Headers) -> Forwarded:
        """Return the facts about a request that the proxy at address `peer` states."""
        elements = _elements(headers)
        hosts = (*_listed(headers, _HOST), *_values(elements, "host"))
        if not self.trusts(peer):
            return Forwarded(peer, hosts=hosts)
        schemes = _listed(headers, _PROTO) or _values(elements, "proto")
        hops = _hops(headers, elements)
        scheme = _SCHEMES.get(schemes[0].lower(), "") if schemes else ""
        return Forwarded(peer, True, scheme, self._client(hops), hosts)

    def _client(self, hops: Sequence[str]) -> str:
        """Return the address of the last hop that is no trusted proxy.

        A hop without an address (`unknown`, or a secret identifier) hides the hops before it, so
        the proxy that reported the hop counts as the client.
        """
        client = ""
        for hop in reversed(hops):
            address = _address(hop)
            client = address or client
            if not address or address not in self._trusted:
                break
        return client


def forwarded_headers(lines: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers of proxies among a request's headers."""
    found: dict[bytes, bytes] = {}
    for name, value in lines:
        if name in _NAMES:
            found[name] = b"%b, %b" % (found[name], value) if name in found else value
    return found


def hops_of(headers: Headers) -> list[str]:
    """Return the nearest addresses in the headers of proxies, the farthest first, trusted or not.

    At most HOPS_MAX: a refused client may send hundreds, and must not cost more than others.
    """
    hops = _hops(headers, _elements(headers))[-HOPS_MAX:]
    return [it for it in map(_address, hops) if it]


def is_forwarded(headers: Headers) -> bool:
    """Return whether a request has a header of a proxy."""
    return not _NAMES.isdisjoint(headers)


def page_of(headers: Headers, forwarded: Forwarded, scheme: str = "") -> Page:
    """Return the page that sent a request; `scheme` is that of the server's own TLS."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    if not origin:
        return Page("", headers.get(b"sec-fetch-site", b"").decode("latin-1"))
    host = headers.get(b"host", b"").decode("utf-8", "replace")
    trusted, claims = (forwarded.hosts, ()) if forwarded.is_trusted else ((), forwarded.hosts)
    return Page(
        origin,
        headers.get(b"sec-fetch-site", b"").decode("latin-1"),
        (host, *trusted),
        forwarded.scheme or scheme,
        claims,
        forwarded.proxy,
    )


# -- values


def _listed(headers: Headers, name: bytes) -> list[str]:
    text = headers.get(name, b"").decode("utf-8", "replace")
    return [part for part in map(str.strip, text.split(",")) if part] if text else []


def _elements(headers: Headers) -> list[dict[str, str]]:
    """Return the elements of a Forwarded header, the first proxy's first; none when malformed."""
    text = headers.get(_FORWARDED, b"").decode("utf-8", "replace")
    if not text:
        return []
    elements: list[dict[str, str]] = [{}]
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair:
            quoted = pair[2] is not None
            value = re.sub(r"\\(.)", r"\1", pair[2]) if quoted else pair[3]
            elements[-1].setdefault(pair[1].lower(), value)
            at = pair.end()
        if text[at : at + 1] not in ("", ";", ","):
            return []
        if text[at : at + 1] == ",":
            elements.append({})
        at += 1
    return elements


def _hops(headers: Headers, elements: list[dict[str, str]]) -> list[str]:
    return _listed(headers, _FOR) or _values(elements, "for")


def _values(elements: list[dict[str, str]], name: str) -> list[str]:
    return [element[name] for element in elements if element.get(name)]


def _address(hop: str) -> str:
    """Return the IP address of a hop, "" for none, without port and brackets.

    An IPv4 address that is written as an IPv6 address becomes an IPv4 address.
    """
    return _parsed(hop) if len(hop) <= HOP_MAX else ""


@lru_cache(maxsize=4096)  # most requests come from readers seen before
def _parsed(hop: str) -> str:
    found = _NODE_V4.fullmatch(hop) or _NODE_V6.fullmatch(hop)
    text = next(filter(None, found.groups()), "") if found else ""
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)


# -- ASGI


class ForwardedHeaders:
    """Gives requests the scheme and the client's address that trusted proxies name.

    A server that has applied the headers itself leaves the client's address in the place of the
    proxy's, which is not trusted.
    """

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app, self._proxies = app, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = forwarded_headers(scope.get("headers", ()))
        if headers:
            self._apply(scope, headers)
        await self._app(scope, receive, send)

    def _apply(self, scope: Scope, headers: Headers) -> None:
        peer = scope.get("client")
        told = scope[_KEY] = self._proxies.read(peer[0] if peer else "", headers)
        if told.scheme:
            is_socket = scope["type"] == "websocket"
            scope["scheme"] = told.scheme.replace("http", "ws") if is_socket else told.scheme
        if told.address:
            scope["client"] = (told.address, 0)


def page_of_scope(scope: Scope) -> Page:
    """Return the page that sent an ASGI request."""
    scheme = "https" if scope.get("scheme") in ("https", "wss") else ""
    return page_of(dict(scope["headers"]), scope.get(_KEY, NOTHING), scheme)


async def _none(*_: object) -> None:
    """Do nothing: `Proxies` never runs uvicorn's middleware, and uses only its list of proxies."""
