"""Checks and parses the URL of a store: one server, the primary that sentinels name, or a cluster.

redis-py ignores the parts of a URL that it cannot read (a path that is no number, an option without
a value). An option that redis-py does not know causes an error only at the first connection. So
this module checks the whole URL when a command starts.

Rules: pure; imports nothing of ours. A URL may contain a password. So no message contains a part of
a URL, except the name of an allowed option.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

_SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",  # redis-py does not know Valkey's schemes; the protocol is the same
    "valkeys": "rediss",
}
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[^][@:,/?#\s]+)(?::\d{1,5})?"
_SEVERAL: Final = re.compile(
    r"(?P<scheme>rediss?|valkeys?)\+(?P<kind>sentinel|cluster)://"
    rf"(?P<login>[^/?#\s]*@)?(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?:/(?P<service>[^/?#\s]*))?(?:\?(?P<options>[^#\s]*))?",
    re.IGNORECASE,
)
_USUAL_PORTS: Final = {"sentinel": 26_379, "cluster": 6_379}


class Several(NamedTuple):
    """The parts of a URL that names several servers: sentinels, or nodes of a cluster.

    `login` is the text up to and with the "@", "" without a login. `service` is the sentinels' name
    for the primary and its replicas. `options` is the query string, as redis-py parses it.
    """

    kind: str  # "sentinel" or "cluster"
    is_secure: bool
    login: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    options: str


def several(url: str) -> Several | None:
    """Return the parts of a URL of several servers; None for a URL of one server.

    Raises ValueError for a malformed URL. The message omits the URL, which may contain a password.
    """
    kind = url.partition("://")[0].rpartition("+")[2].lower()
    if "+" not in url.partition("://")[0] or kind not in _USUAL_PORTS:
        return None
    found = _SEVERAL.fullmatch(url)
    service = unquote(found["service"] or "") if found else ""
    if not found or (kind == "sentinel") != bool(service):
        raise ValueError(
            "must be like redis+sentinel://host:26379,host:26379/service"
            if kind == "sentinel"
            else "must be like redis+cluster://host:6379,host:6379, without a path"
        )
    hosts = tuple(_host(text, _USUAL_PORTS[kind]) for text in found["hosts"].split(","))
    secure = _SCHEMES[found["scheme"].lower()] == "rediss"
    return Several(kind, secure, found["login"] or "", hosts, service, found["options"] or "")


def _host(text: str, usual_port: int) -> tuple[str, int]:
    """Return host and port. Raises ValueError for an invalid port; the message omits the text."""
    parts = urlsplit(f"//{text}")
    port = usual_port if parts.port is None else parts.port
    if not port:
        raise ValueError("must have ports from 1 to 65535")
    return parts.hostname or "", port


def store_url(text: str) -> str:
    """Return a checked URL in redis-py's spelling, such as redis:// for valkey://.

    Raises ValueError for an invalid URL. The message omits the URL, which may contain a password.
    """
    scheme, colon, rest = text.partition("://")
    base, plus, kind = scheme.lower().partition("+")
    if not colon or not rest or base not in _SCHEMES or (plus and not several(text)):
        raise ValueError(
            "must begin with redis://, rediss://, unix:// or valkey://, or with redis+sentinel:// "
            "or redis+cluster:// (rediss+… for TLS)"
        )
    if not plus and base != "unix":
        _check_server(rest)
    _check_options(_allowed(_SCHEMES[base], kind), rest.partition("?")[2])
    return f"{_SCHEMES[base]}{plus}{kind}://{rest}"


def _check_server(rest: str) -> None:
    """Raise ValueError unless `rest`, a URL without scheme, is like `user:password@host:port/…`.

    The message omits the text, which may contain a password.
    """
    try:
        parts = urlsplit(f"redis://{rest}")
        is_server = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_server = False
    if not is_server:
        raise ValueError(
            "must name a host, and a port from 1 to 65535 if any; in a password %, @, /, ?, # and "
            "brackets must be percent-encoded"
        ) from None
    if not re.fullmatch(r"/?|/\d{1,4}", parts.path):
        raise ValueError("must have no path, or the number of a database as its path: host/0")


# -- options of a URL: for each, a function that checks the value, and the end of the error message


def _is_file(text: str) -> bool:
    try:
        with Path(text).open("rb"):
            return True
    except OSError:
        return False


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: bool(re.fullmatch(pattern, text))


_FILE: Final = (_is_file, "must name a file that can be read")
_TEXT: Final = (_matches(r".+"), "must not be empty")
_DATABASE: Final = {"db": (_matches(r"\d{1,4}"), "must be the number of a database")}
_LOGIN: Final = {"username": _TEXT, "password": _TEXT}
_TLS: Final = {
    "ssl_ca_certs": _FILE,
    "ssl_certfile": _FILE,
    "ssl_keyfile": _FILE,
    "ssl_cert_reqs": (_matches(r"none|optional|required"), "must be none, optional or required"),
    "ssl_check_hostname": (_matches(r"(?i:true|false)"), "must be true or false"),
}
_SENTINELS: Final = {"sentinel_username": _TEXT, "sentinel_password": _TEXT}
_Options = dict[str, tuple[Callable[[str], bool], str]]


def _allowed(scheme: str, kind: str) -> _Options:
    """Return the options that a URL may have; `kind` is "" for a URL of one server."""
    return {
        **_LOGIN,
        **({} if kind == "cluster" else _DATABASE),  # a cluster has one database only
        **(_TLS if scheme == "rediss" else {}),
        **(_SENTINELS if kind == "sentinel" else {}),
    }


def _check_options(allowed: _Options, query: str) -> None:
    """Raise ValueError for an option that is not allowed, or whose value is invalid.

    The message omits an unknown name: after an unescaped `?`, the name may be part of a password.
    """
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            raise ValueError(f"has an option that such a URL cannot have; it can {_names(allowed)}")
        is_valid, rule = allowed[name]
        if not is_valid(value):
            raise ValueError(f"has an option {name} that {rule}")


def _names(allowed: Iterable[str]) -> str:
    return f"have {', '.join(sorted(allowed))}"
