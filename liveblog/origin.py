"""Origins of web pages: parsed, normalised and compared; the pages that may use this site.

A browser names the page that sends a request in the header `Origin` (RFC 6454): scheme, host and
port, or `null`. `Site` decides which pages may open streams, and which may write with an editor's
session. docs/streams.md and docs/api.md state the rules.

Rules: pure. Text from requests is never trusted to be well formed.
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from liveblog.domains import is_address, is_registrys, is_surely_one_owners, shared

NULL: Final = "null"  # the origin of sandboxed frames and of files
WEB: Final = {"http": 80, "https": 443}  # the schemes of web pages, with their default ports
# Schemes that are never the scheme of a page's origin: those of sockets, and those whose pages have
# the origin `null` or no scripts.
NO_PAGES: Final = ("ws", "wss", "about", "blob", "data", "ftp", "javascript", "mailto")
HOST_MAX: Final = 253  # characters of a host name (RFC 1035, section 2.3.4)
SHOWN_MAX: Final = 100  # characters of a header's value in a message

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\\\s]*)", re.IGNORECASE)
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/?#@\\\s]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
_WILDCARD: Final = "*."
_ENCODED: Final = "xn--"  # begins a label in punycode


class Origin(NamedTuple):
    """An origin in normal form: lower case, punycode, no trailing dot, no default port.

    `port` None means the scheme's default. All parts are empty for `null`.
    """

    scheme: str
    host: str
    port: int | None = None

    def __str__(self) -> str:
        if not self.scheme:
            return NULL
        return f"{self.scheme}://{self.host}{f':{self.port}' if self.port else ''}"


class Page(NamedTuple):
    """The page that sent a request, and the hosts that the request was sent to.

    `origin` and `site` are the headers Origin and Sec-Fetch-Site, "" without the header. `hosts`:
    the Host header, and the hosts that trusted proxies name. `scheme`: the scheme that the server's
    own TLS or a trusted proxy names, else "". `claims`: the hosts that an untrusted `proxy` names.
    """

    origin: str
    site: str = ""
    hosts: tuple[str, ...] = ()
    scheme: str = ""
    claims: tuple[str, ...] = ()
    proxy: str = ""

    @property
    def is_same_origin(self) -> bool:
        """Whether the browser itself states that page and request have one origin."""
        return self.site == "same-origin"


# -- parsing


def parse(text: str) -> Origin:
    """Return the origin in an Origin header or a setting. Raises ValueError."""
    if text.lower() == NULL:
        return Origin("", "")
    found = _ORIGIN.fullmatch(text)
    if not found:
        raise ValueError("must be like https://news.example, without a path")
    scheme = found[1].lower()
    if scheme in NO_PAGES:
        raise ValueError(f"must have the scheme of a page's origin, which {scheme} never is")
    if scheme == "file" and not found[2]:
        return Origin(scheme, "")
    host, port = parse_host(found[2])
    return Origin(scheme, host, None if port == WEB.get(scheme) else port)


def parse_host(text: str) -> tuple[str, int | None]:
    """Return the normal form of a host's name, and its port or None. Raises ValueError."""
    found = _HOST.fullmatch(text)
    port = int(found[2]) if found and found[2] else None
    if not found or not (port is None or 0 < port < 65_536):
        raise ValueError("must have a host, and a port from 1 to 65535 or none")
    return _name(found[1]), port


def _name(text: str) -> str:
    if text.startswith("["):
        return f"[{_address(text[1:-1], ipaddress.IPv6Address)}]"
    name = (text if text.isascii() else _punycode(text)).lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > HOST_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("must have a host name of letters, digits and hyphens")
    if is_address(name):
        return _address(name, ipaddress.IPv4Address)
    return name


def _address(text: str, kind: Callable[[str], object]) -> str:
    try:
        return str(kind(text))
    except ValueError as error:
        raise ValueError(f"must have a valid IP address ({error})") from None


def _punycode(text: str) -> str:
    """Return an international name as browsers send it (UTS 46). Raises ValueError."""
    import idna  # most sites never need its tables

    try:
        return idna.encode(text, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"must have a valid host name ({error}); try its form xn--…") from None


# -- settings


def site_url(text: str) -> str:
    """Return the normal form of a site's own address. Raises ValueError."""
    return str(_web(text))


def readers(text: str) -> tuple[str, ...]:
    """Return a list of origins that may open streams: of web pages and of apps.

    An origin may have a wildcard for exactly one label. Raises ValueError for an origin that no
    browser sends.
    """
    return tuple(_pattern(part, _app) for part in _parts(text))


def writers(text: str) -> tuple[str, ...]:
    """Return a list of origins that may write: only of web pages.

    Browsers send the session's cookie (SameSite=Lax) only from pages below the site's own domain,
    so never from an app. Raises ValueError.
    """
    return tuple(_pattern(part, _web) for part in _parts(text))


def _parts(text: str) -> Iterable[str]:
    return filter(None, (part.strip() for part in text.split(",")))


def _app(text: str) -> Origin:
    bare = text.removesuffix("/")
    origin = parse(bare if "://" in bare else text)
    for label in origin.host.split("."):
        if label.startswith(_ENCODED) and not _is_encoded(label):
            raise ValueError(f"must have a host without {label}, which stands for no name")
    return origin


def _is_encoded(label: str) -> bool:
    """Return whether a label xn--… stands for an international name (UTS 46, section 4, step 4)."""
    import idna

    code = label.removeprefix(_ENCODED)
    try:
        name = code.encode().decode("punycode")
        idna.check_initial_combiner(name)
        idna.check_bidi(name)
        is_mapped = idna.uts46_remap(name, std3_rules=False) == name
    except (UnicodeError, IndexError):  # the errors of idna are UnicodeErrors
        return False
    return is_mapped and not name.isascii() and name.encode("punycode").decode() == code


def _web(text: str) -> Origin:
    origin = _app(text)
    if origin.scheme not in WEB:
        raise ValueError("must be like https://news.example, with http or https")
    return origin


def _pattern(text: str, parsed: Callable[[str], Origin]) -> str:
    """Return the normal form of an origin, which may have a wildcard. Raises ValueError."""
    scheme, separator, host = text.partition("://")
    if not host.startswith(_WILDCARD):
        return str(parsed(text))
    parent = parsed(f"{scheme}{separator}{host.removeprefix(_WILDCARD)}")
    # A wildcard below a domain of a registry would admit the sites of strangers.
    if parent.host != "localhost" and (is_registrys(parent.host) or is_address(parent.host)):
        raise ValueError(
            "must have a domain of one owner behind its wildcard, as in https://*.news.example"
        )
    return str(parent._replace(host=_WILDCARD + parent.host))


def is_listed(origin: Origin, listed: Collection[str]) -> bool:
    """Return whether a list of a setting has an origin, by its name or by a wildcard."""
    if str(origin) in listed:
        return True
    first, _, rest = origin.host.partition(".")
    return bool(first and rest) and str(origin._replace(host=_WILDCARD + rest)) in listed


# -- the site


@dataclass(frozen=True)
class Site:
    """The site's own address, and the other origins that may use the site.

    `public_url`, `allowed` and `writers` are the settings PUBLIC_URL, LIVEBLOG_ALLOWED_ORIGINS and
    LIVEBLOG_WRITE_ORIGINS in normal form.
    """

    public_url: str = ""
    allowed: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """The origins whose scripts may read answers, without those that a wildcard admits."""
        return (self.public_url, *self.allowed)

    def may_stream(self, page: Page) -> bool:
        """Return whether a page may open a stream.

        Streams are public and read-only, so a page of the site's own host may open them whatever
        its scheme. The port counts where the Host header names one: proxies often drop it.
        """
        if not page.origin or page.is_same_origin or _is_plainly_own(page):
            return True
        origin = _parsed(page.origin)
        return origin is not None and (
            self._is_own_host(origin, page.hosts) or is_listed(origin, self.allowed)
        )

    def reads(self, text: str) -> bool:
        """Return whether scripts of an origin may read the answers to other requests."""
        origin = _parsed(text)
        return origin is not None and (
            str(origin) == self.public_url or is_listed(origin, self.allowed)
        )

    def is_own(self, page: Page) -> bool:
        """Return whether a page surely belongs to this site, so that it may use a session.

        The scheme counts where the server's own TLS, a trusted proxy or PUBLIC_URL names it. The
        server believes a browser that names another site: TLS may end at an unknown proxy.
        """
        origin = _parsed(page.origin)
        if page.is_same_origin or origin is None:
            return page.is_same_origin
        if str(origin) == self.public_url:
            return True
        has_host = any(_is_at(origin, host) for host in page.hosts)
        return has_host and not page.site and self._scheme_at(origin, page) == origin.scheme

    def may_write(self, page: Page) -> bool:
        """Return whether a page may write with an editor's session."""
        return self.is_own(page) or self.is_writer(page.origin)

    def is_writer(self, text: str) -> bool:
        """Return whether LIVEBLOG_WRITE_ORIGINS names an origin."""
        origin = _parsed(text)
        return origin is not None and is_listed(origin, self.writers)

    def faults(self) -> Iterator[str]:
        """Yield why origins of LIVEBLOG_WRITE_ORIGINS can never write.

        The session's cookie is SameSite=Lax. Browsers send it only between pages of one scheme and
        one registrable domain.
        """
        for writer in self.writers if self.public_url else ():
            if not _may_be_same_site(writer, self.public_url):
                yield (
                    "LIVEBLOG_WRITE_ORIGINS must have the scheme and the registrable domain of"
                    f" PUBLIC_URL ({self.public_url}), not {writer!r}: browsers send no session"
                    " from other pages"
                )

    def doubts(self) -> Iterator[str]:
        """Yield what may be wrong with the settings, and only a list of public suffixes shows."""
        if self.writers and not self.public_url:
            yield (
                "LIVEBLOG_WRITE_ORIGINS cannot be checked without PUBLIC_URL: browsers send a"
                " session only from pages of this site's scheme and registrable domain"
            )
        own = _host(self.public_url) if self.public_url else ""
        for pattern in dict.fromkeys((*self.allowed, *self.writers)):
            if doubt := _doubt(pattern, own, writes=pattern in self.writers):
                yield doubt

    def _is_own_host(self, origin: Origin, hosts: Iterable[str]) -> bool:
        if origin.scheme not in WEB:
            return False
        public = _parsed(self.public_url)
        is_public = public is not None and (public.host, public.port) == (origin.host, origin.port)
        return is_public or any(_is_at(origin, host, needs_port=False) for host in hosts)

    def _scheme_at(self, origin: Origin, page: Page) -> str:
        """Return the scheme of the host that a page is on; the page's own when nothing names it."""
        public = _parsed(self.public_url)
        named = public.scheme if public and public.host == origin.host else ""
        return page.scheme or named or origin.scheme


def _host(pattern: str) -> str:
    """Return the host of an origin in a setting, or one of those that its wildcard stands for."""
    return parse(pattern.replace("*", "any", 1)).host


def _may_be_same_site(writer: str, public_url: str) -> bool:
    is_of_scheme = writer.partition("://")[0] == public_url.partition("://")[0]
    return is_of_scheme and bool(shared(_host(writer), _host(public_url)))


def _doubt(pattern: str, own: str, *, writes: bool) -> str:
    """Return what may be wrong with an origin of a setting, "" for nothing; `own`: our host."""
    host = _host(pattern)
    common = shared(host, own) if writes and own else host
    if _WILDCARD in pattern:
        common = host.partition(".")[2]
        wrong = f"{pattern} admits the pages of strangers if {common} is a public suffix"
    else:
        wrong = f"LIVEBLOG_WRITE_ORIGINS: {pattern} cannot write if {common} is a public suffix"
    is_sure = common == host or is_surely_one_owners(common, own)
    return "" if is_sure else f"{wrong}, like github.io"


def _is_plainly_own(page: Page) -> bool:
    """Return whether the origin is the first host as it was sent: the usual case, and fast."""
    return bool(page.hosts) and page.origin in (
        f"https://{page.hosts[0]}",
        f"http://{page.hosts[0]}",
    )


@lru_cache(maxsize=256)
def _parsed(text: str) -> Origin | None:
    try:
        return parse(text)
    except ValueError:
        return None


def _is_at(origin: Origin, host: str, *, needs_port: bool = True) -> bool:
    """Return whether a page is on a host; a host without a port has the scheme's default port."""
    if origin.scheme not in WEB:
        return False
    try:
        name, port = parse_host(host)
    except ValueError:
        return False
    usual = WEB[origin.scheme]
    is_port = (port or usual) == (origin.port or usual)
    return name == origin.host and (is_port or (port is None and not needs_port))


# -- messages


def refusal(page: Page, site: Site, setting: str) -> str:
    """Return why a page was refused: its origin, the known hosts, and the setting to change."""
    known = [*page.hosts, *filter(None, [site.public_url])]
    return f"origin {_shown([page.origin])} is none of {_shown(known)}; {cure(page, setting)}"


def cure(page: Page, setting: str) -> str:
    """Return which setting admits a refused page; `setting` admits other sites."""
    origin = _parsed(page.origin)
    if origin and any(_is_at(origin, host, needs_port=False) for host in page.claims):
        return (
            f"FORWARDED_ALLOW_IPS must name the proxy {page.proxy or 'in front'}, whose headers"
            " name this host"
        )
    return f"set PUBLIC_URL if it is this site's own address, or {setting} if it is another site's"


def _shown(values: Iterable[str]) -> str:
    return ", ".join(repr(value[:SHOWN_MAX]) for value in values)
