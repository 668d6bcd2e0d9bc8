"""The settings: one list of environment variables, read once, checked, never changed.

The fields of `Settings` are that list. The attributes, `--help`, the documented table and the
rejection of misspelt names are all made from the list, so they cannot disagree.

Rules: of this project, imports only store/url.py and origin.py, to check URLs; store/ imports no
settings. No other module reads a setting from the environment. No message contains a secret's
value.
"""

import errno
import logging
import math
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from liveblog import origin
from liveblog.origin import Site
from liveblog.store.url import store_url

PREFIX: Final = "LIVEBLOG_"
FILE_SUFFIX: Final = "_FILE"

DURABILITIES: Final = ("disk", "replica", "store")
LOG_FORMATS: Final = ("text", "json")
LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")

_DATA_DIR: Final = Path("data")


log = logging.getLogger(__name__)


class SettingsError(Exception):
    """A setting is invalid, or static files are missing; the text names every fault."""


@dataclass(frozen=True, slots=True)
class Row:
    """One environment variable.

    `env`: its full name. `text`: the description in Markdown, without a full stop. `low` and
    `high`: the range in `unit`, both included; None: no limit. `choices`: the allowed words; empty:
    any text. `shown`: the default in words, where the value itself would not explain it. `secret`:
    no message contains the value; the variable `{env}_FILE` may name a file with the value instead.
    `parse`: returns the value of a text, or raises ValueError.
    """

    env: str
    text: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    shown: str = ""
    secret: bool = False
    parse: Callable[[str], Any] | None = None


def _row(env: str, default: Any, text: str, **more: Any) -> Any:
    row = Row(env, text, **more)
    return field(default=default, repr=not row.secret, metadata={"row": row})


def _file(text: str) -> str:
    """Return the path of a file that can be read. Raises ValueError."""
    try:
        _check_regular(Path(text))
        with Path(text).open("rb"):
            return text
    except OSError as error:
        raise ValueError(f"must name a file that can be read ({error.strerror})") from None


def _check_regular(path: Path) -> None:
    """Raise OSError for a path that is no regular file: to open a FIFO would block the start."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no regular file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings. `load` reads them from the environment; a test calls the constructor."""

    redis_url: str = _row(
        "REDIS_URL", "", "the store: Redis 7.0 or newer, or Valkey "
        "(`redis://`, `rediss://`, `unix://`, `valkey://`); a primary watched by sentinels "
        "(`redis+sentinel://host:26379,host:26379/service`); or a cluster "
        "(`redis+cluster://host:6379,host:6379`); `rediss+` for TLS",
        shown="an embedded store in `DATA_DIR`", secret=True, parse=store_url,
    )  # fmt: skip
    host: str = _row("HOST", "127.0.0.1", "address to listen on")
    port: int = _row("PORT", 8000, "port to listen on; 0: a free port", low=0, high=65_535)
    web_concurrency: int = _row("WEB_CONCURRENCY", 1, "worker processes", low=1, high=1_024)
    forwarded_allow_ips: str = _row(
        "FORWARDED_ALLOW_IPS", "127.0.0.1",
        "addresses of proxies whose headers `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` "
        "are trusted, comma-separated; `*`: any address",
    )  # fmt: skip
    log_level: str = _row("LOG_LEVEL", "info", "lowest level that is logged", choices=LOG_LEVELS)
    log_format: str = _row("LOG_FORMAT", "text", "format of a log line", choices=LOG_FORMATS)
    data_dir: Path = _row("DATA_DIR", _DATA_DIR, "directory of the embedded store")
    public_url: str = _row(
        "PUBLIC_URL", "",
        "the site's address for readers, like `https://live.example`; `as=data` needs it",
        shown="the address of each request", parse=origin.site_url,
    )  # fmt: skip
    durability: str = _row(
        "LIVEBLOG_DURABILITY", "", "where a change must be stored before it is confirmed: "
        "`disk` (the store must have `appendfsync always`), `replica` (on a replica), `store` (as "
        "the store is configured, logged at start)",
        choices=DURABILITIES, shown="`disk` embedded, `store` with `REDIS_URL`",
    )  # fmt: skip
    allowed_origins: tuple[str, ...] = _row(
        "LIVEBLOG_ALLOWED_ORIGINS", (),
        "other sites and apps whose pages may open streams, comma-separated, like "
        "`https://*.news.example` (exactly one label), `capacitor://localhost` or `null`",
        parse=origin.readers,
    )  # fmt: skip
    write_origins: tuple[str, ...] = _row(
        "LIVEBLOG_WRITE_ORIGINS", (),
        "other origins of the site's own domain whose pages may write with a signed-in editor's "
        "session, comma-separated, like `https://cms.news.example`", parse=origin.writers,
    )  # fmt: skip
    heartbeat_s: float = _row(
        "LIVEBLOG_HEARTBEAT_S", 20.0, "longest silence on a stream",
        unit="s", low=0.05, high=300,
    )  # fmt: skip
    drain_s: float = _row(
        "LIVEBLOG_DRAIN_S", 10.0, "time over which a stopping server disconnects its readers",
        unit="s", low=0, high=600,
    )  # fmt: skip
    drain_lead_s: float = _row(
        "LIVEBLOG_DRAIN_LEAD_S", 0.0,
        "time for which a stopping server still listens before the drain, so that balancers notice",
        unit="s", low=0, high=600,
    )  # fmt: skip
    readers_max: int = _row(
        "LIVEBLOG_READERS_MAX", 0, "most readers of one worker; 0: the file limit less 500",
        unit="readers", low=0,
    )  # fmt: skip
    readers_per_address_max: int = _row(
        "LIVEBLOG_READERS_PER_ADDRESS_MAX", 0,
        "most readers from one address in a worker; 0: no limit",
        unit="readers", low=0,
    )  # fmt: skip
    connections_max: int = _row(
        "LIVEBLOG_CONNECTIONS_MAX", 0,
        "most connections of one worker that are not streams; 0: 10,000; never more than the file "
        "limit allows beside the readers",
        unit="connections", low=0,
    )  # fmt: skip
    connections_per_address_max: int = _row(
        "LIVEBLOG_CONNECTIONS_PER_ADDRESS_MAX", 0,
        "most connections from one address in a worker that are not streams; 0: no limit; proxies "
        "in `FORWARDED_ALLOW_IPS` and this machine have none",
        unit="connections", low=0,
    )  # fmt: skip
    send_buffer_bytes: int = _row(
        "LIVEBLOG_SEND_BUFFER_BYTES", 65_536, "kernel buffer of one reader's socket",
        unit="bytes", low=4_096, high=16_777_216,
    )  # fmt: skip
    held_bytes_max: int = _row(
        "LIVEBLOG_HELD_BYTES_MAX", 268_435_456,
        "memory that one worker uses for frames that slow readers have not received; above it, "
        "the readers that are behind the longest are disconnected",
        unit="bytes", low=1_048_576, high=1_099_511_627_776,
    )  # fmt: skip
    tls_cert: str = _row(
        "LIVEBLOG_TLS_CERT", "", "file with the certificate and its chain (PEM), to serve HTTPS "
        "without a proxy; needs `LIVEBLOG_TLS_KEY`", shown="none", parse=_file,
    )  # fmt: skip
    tls_key: str = _row(
        "LIVEBLOG_TLS_KEY", "", "file with the certificate's private key (PEM)",
        shown="none", parse=_file,
    )  # fmt: skip
    blogs_bytes_max: int = _row(
        "LIVEBLOG_BLOGS_BYTES_MAX", 268_435_456,
        "memory that one worker uses for blogs, with their cached frames and pages; above it, "
        "blogs without readers are dropped from memory, and then readers of further blogs refused",
        unit="bytes", low=1_048_576, high=1_099_511_627_776,
    )  # fmt: skip
    blogs_max: int = _row(
        "LIVEBLOG_BLOGS_MAX", 0,
        "most blogs that one worker keeps in memory; 0: `LIVEBLOG_BLOGS_BYTES_MAX` alone decides",
        unit="blogs", low=0, high=100_000,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if not self.durability:
            object.__setattr__(self, "durability", "store" if self.redis_url else "disk")

    @property
    def site(self) -> Site:
        """The origins that may use this site."""
        return Site(self.public_url, self.allowed_origins, self.write_origins)

    @property
    def site_url(self) -> str:
        """The site's address when there is no request: PUBLIC_URL, else an address on this machine.

        When the server listens on every address, the address on this machine is the loopback
        address.
        """
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - the address is only compared
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if self.tls_cert else "http"
        return self.public_url or f"{scheme}://{host}:{self.port}"


def load(environ: Mapping[str, str]) -> Settings:
    """Return the settings of an environment; an empty value counts as not set.

    Raises SettingsError, which names every fault: a `LIVEBLOG_` name that is not in the list, a
    value outside its limits, a secret that is set twice, an unreadable or empty `_FILE`, or
    settings that contradict each other.
    """
    faults = [*_unknown(environ)]
    values: dict[str, Any] = {}
    for item in fields(Settings):
        try:
            given = _given(item.metadata["row"], environ)
            if given:
                values[item.name] = _parsed(item, given)
        except ValueError as fault:
            faults.append(str(fault))
    if values.get("durability", "disk") != "disk" and not values.get("redis_url"):
        faults.append("LIVEBLOG_DURABILITY must be disk, unless REDIS_URL names a store")
    if not faults and bool(values.get("tls_cert")) != bool(values.get("tls_key")):
        faults.append("LIVEBLOG_TLS_CERT and LIVEBLOG_TLS_KEY must be set together")
    writers = values.get("write_origins", ())
    faults.extend(Site(values.get("public_url", ""), writers=writers).faults())
    if faults:
        raise SettingsError("; ".join(faults))
    return Settings(**values)


def table() -> str:
    """Return the settings as a Markdown table, for the documents."""
    lines = ["| variable | default | description |", "| --- | --- | --- |"]
    lines += [f"| `{row.env}` | {default} | {text} |" for row, default, text in _described()]
    return "\n".join(lines)


def listing() -> list[tuple[str, str]]:
    """Return the settings for a terminal, in plain text: each name with its description."""
    return [
        (row.env, f"{text}; default: {default}".replace("`", ""))
        for row, default, text in _described()
    ]


def variables() -> list[str]:
    """Return the names of all environment variables, also of those that name a secret's file."""
    return [n for r in _rows() for n in (r.env, *([r.env + FILE_SUFFIX] if r.secret else []))]


def static_dir() -> Path:
    """Return the directory of scripts and styles: in the package, or beside it in a checkout.

    Raises SettingsError when the installation is broken and neither exists.
    """
    package = Path(__file__).resolve().parent
    for directory in (package / "static", package.parent / "static"):
        if directory.is_dir():
            return directory
    raise SettingsError(f"the static files are missing beside {package}; install liveblog again")


def _rows() -> Iterator[Row]:
    for item in fields(Settings):
        yield item.metadata["row"]


def ignored(environ: Mapping[str, str]) -> list[str]:
    """Return the `LIVEBLOG_` names that a platform sets for a service or container of our name."""
    known = variables()
    return sorted(n for n, v in environ.items() if n not in known and _is_of_platform(n, v))


def log_ignored(environ: Mapping[str, str]) -> None:
    """Log the names that are not settings and are not refused either.

    A name in another case or with hyphens, such as `public_url`, may be one of another program.
    """
    if names := ignored(environ):
        log.info("ignored, set by the platform for a service: %s", ", ".join(names))
    if names := _misspelt(environ):
        detail = "ignored, names of settings are upper case, with underscores: %s"
        log.warning(detail, ", ".join(names))


def _misspelt(environ: Mapping[str, str]) -> list[str]:
    known = variables()
    return sorted(n for n in environ if n not in known and _spelt(n) in known)


def _spelt(name: str) -> str:
    """Return a name as the names of settings are spelt."""
    return name.upper().replace("-", "_")


def log_doubts(settings: Settings) -> None:
    """Warn of settings that may be wrong, and cannot be checked."""
    for doubt in settings.site.doubts():
        log.warning("settings: %s", doubt)


# Kubernetes sets these in each container for a service `liveblog` or `liveblog-…`; `docker --link`
# sets all but the first two for a container of such a name. A typing error of a setting has no such
# value.
_OF_PLATFORM: Final = tuple(
    (re.compile(rf"LIVEBLOG(_[A-Z0-9_]+)?_{name}"), re.compile(value))
    for name, value in (
        (r"SERVICE_HOST", r"[\da-fA-F.:]+"),
        (r"SERVICE_PORT(_[A-Z0-9_]+)?", r"\d+"),
        (r"PORT", r"(tcp|udp|sctp)://\S+:\d+"),
        (r"PORT_\d+_(TCP|UDP|SCTP)(_START|_END)?", r"(tcp|udp|sctp)://\S+:\d+"),
        (r"PORT_\d+_(TCP|UDP|SCTP)_PROTO", r"tcp|udp|sctp"),
        (r"PORT_\d+_(TCP|UDP|SCTP)_PORT(_START|_END)?", r"\d+"),
        (r"PORT_\d+_(TCP|UDP|SCTP)_ADDR", r"[\da-fA-F.:]+"),
        (r"NAME", r"/[\w./-]+"),
        (r"ENV_\w+", r"(?s).*"),
    )
)


def _is_of_platform(name: str, value: str) -> bool:
    return any(n.fullmatch(name) and v.fullmatch(value) for n, v in _OF_PLATFORM)


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    known = variables()
    for name in sorted(environ):
        if _spelt(name).startswith(PREFIX) and name not in known:
            if _is_of_platform(name, environ[name]):
                continue
            yield f"{name} is not a setting; the nearest is {_nearest(name, known)}"


def _nearest(name: str, known: list[str]) -> str:
    """Return the setting that was most likely meant: LIVEBLOG_PORT and liveblog_port mean PORT."""
    upper = _spelt(name)
    if (bare := upper.removeprefix(PREFIX)) in known:
        return bare
    return get_close_matches(upper, known, n=1, cutoff=0.0)[0]


def _given(row: Row, environ: Mapping[str, str]) -> str:
    """Return the text of a setting, given directly or in a file; empty when it is not set."""
    given = environ.get(row.env, "").strip()
    file = environ.get(row.env + FILE_SUFFIX, "") if row.secret else ""
    if not file:
        return given
    if given:
        raise ValueError(f"{row.env} and {row.env}{FILE_SUFFIX} are both set; set one")
    try:
        _check_regular(Path(file))
        secret = Path(file).read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise ValueError(f"{row.env}{FILE_SUFFIX}: {file} cannot be read: {why}") from None
    # An empty file is an error: the file may not be written yet. To have no secret, an operator
    # leaves the `_FILE` variable unset.
    if not secret:
        raise ValueError(f"{row.env}{FILE_SUFFIX}: {file} is empty")
    return secret


def _parsed(item: "Field[Any]", given: str) -> Any:
    """Return a setting's value from its text.

    Raises ValueError, which names the variable and its limit, and the value unless it is secret.
    """
    row: Row = item.metadata["row"]
    shown = "" if row.secret else f", not {given!r}"
    try:
        if row.parse:
            return row.parse(given)
        if row.choices:
            return _choice(row, given)
        return _number(row, item.type, given) if item.type in (int, float) else _kind(item)(given)
    except ValueError as fault:
        raise ValueError(f"{row.env} {fault}{shown}") from None


def _kind(item: "Field[Any]") -> Callable[[str], Any]:
    return Path if item.type is Path else str


def _choice(row: Row, given: str) -> str:
    if given.lower() not in row.choices:
        raise ValueError(f"must be one of {', '.join(row.choices)}")
    return given.lower()


def _number(row: Row, kind: Any, given: str) -> float:
    """Return the number in a text. Raises ValueError.

    Rejects `1_0`, `1e3` and `nan`, which Python accepts: in a setting they are typing errors.
    """
    form = r"-?\d+" if kind is int else r"-?\d+(\.\d+)?"
    number = kind(given) if re.fullmatch(form, given, re.ASCII) else math.nan
    if not (row.low is None or number >= row.low) or not (row.high is None or number <= row.high):
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"must be {what} {_range(row)}{_unit(row)}")
    return float(number) if kind is float else int(number)


def _range(row: Row) -> str:
    if row.low is None:
        return ""
    high = f" to {row.high:,}" if row.high is not None else " or more"
    return f"{'from ' if row.high is not None else ''}{row.low:,}{high}"


def _unit(row: Row) -> str:
    return f" {row.unit}" if row.unit else ""


def _described() -> Iterator[tuple[Row, str, str]]:
    """Yield each row with its default and its description in Markdown."""
    for item in fields(Settings):
        row: Row = item.metadata["row"]
        default = "none" if item.default == () else f"`{_plain(item.default)}`{_unit(row)}"
        yield row, row.shown or default, "; ".join(_notes(row))


def _notes(row: Row) -> Iterator[str]:
    yield row.text
    if row.choices and f"`{row.choices[0]}`" not in row.text:
        yield f"one of {', '.join(f'`{word}`' for word in row.choices)}"
    if row.low is not None:
        yield _range(row)
    if row.secret:
        yield f"secret, also as `{row.env}{FILE_SUFFIX}`"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
