"""Real reverse proxies in front of a server: nginx, HAProxy, Varnish and Caddy, one or a chain.

A `Setup` has the lines that an operator would write, in the program's own language. The rest of
each configuration keeps the program in the foreground, without caches on disk, and on 127.0.0.1.
"""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kit.servers import ending_with_us, free_port
from kit.waiting import SCALE, until_sync

FOUND_IN = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


@dataclass(frozen=True)
class Setup:
    """A proxy: the program, the lines of its configuration, and whether readers use https.

    `behind` is another proxy, which stands between this one and the server. `settings` are the
    server's environment variables. In both, `{site}` stands for the address that readers use.
    """

    program: str
    lines: str = ""
    tls: bool = False
    behind: "Setup | None" = None
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """Where a proxy runs: its port, the port behind it, its directory and its certificate."""

    port: int
    upstream: int
    directory: Path
    certificate: Path | None


Program = Callable[[_Place, str], list[str]]


def certificate(directory: Path, name: str = "live.test") -> Path:
    """Make a certificate for a name and 127.0.0.1 in `cert`, its key in `key`, both in `pem`."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    files = ["-keyout", str(directory / "key"), "-out", str(directory / "cert")]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    both = (directory / "cert").read_text() + (directory / "key").read_text()
    (directory / "pem").write_text(both)
    return directory


@contextlib.contextmanager
def proxied(
    setup: Setup, port: int, upstream: int, directory: Path, tls: Path | None = None
) -> Iterator[None]:
    """Run a set-up's proxies on a port, in front of a server; `tls` has the certificate."""
    with contextlib.ExitStack() as stack:
        if setup.behind:
            inner = free_port()
            stack.enter_context(proxied(setup.behind, inner, upstream, directory / "inner", tls))
            upstream = inner
        place = _Place(port, upstream, directory, tls if setup.tls else None)
        stack.enter_context(_running(setup, place))
        yield


@contextlib.contextmanager
def _running(setup: Setup, place: _Place) -> Iterator[None]:
    place.directory.mkdir(parents=True, exist_ok=True)
    command = PROGRAMS[setup.program](place, setup.lines)
    home = str(place.directory)
    environ = {**os.environ, "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
    with (place.directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=ending_with_us(),  # noqa: PLW1509 - safe: die_with takes no locks
        )
    try:
        until_sync(lambda: _listens(process, place), 20)
        yield
    finally:
        process.terminate()
        process.wait(20 * SCALE)


def _listens(process: "subprocess.Popen[bytes]", place: _Place) -> bool:
    assert process.poll() is None, (place.directory / "log").read_text()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", place.port), 1):
        return True
    return False


def _found(program: str) -> str:
    found = shutil.which(program, path=FOUND_IN)
    assert found, f"{program} is missing; `make tools` installs it"
    return found


def _file(place: _Place, name: str, text: str) -> str:
    file = place.directory / name
    file.write_text(text)
    return str(file)


# -- the programs


def _nginx(place: _Place, lines: str) -> list[str]:
    at = place.directory
    folders = "\n".join(
        f"{kind}_temp_path {at}/{kind};" for kind in ("client_body", "proxy", "fastcgi")
    )
    tls = place.certificate
    keys = f"ssl_certificate {tls}/cert; ssl_certificate_key {tls}/key;" if tls else ""
    text = f"""
daemon off; master_process off; pid {at}/pid; error_log stderr warn;
events {{ }}
http {{
    access_log off;
    {folders}
    uwsgi_temp_path {at}/uwsgi;
    scgi_temp_path {at}/scgi;
    map $http_upgrade $upgraded {{ default upgrade; "" ""; }}
    server {{
        listen 127.0.0.1:{place.port}{" ssl" if tls else ""};
        {keys}
        location / {{
            proxy_pass http://127.0.0.1:{place.upstream};
            {lines}
        }}
    }}
}}
"""
    return [_found("nginx"), "-e", "stderr", "-p", str(at), "-c", _file(place, "nginx.conf", text)]


def _haproxy(place: _Place, lines: str) -> list[str]:
    tls = f" ssl crt {place.certificate}/pem" if place.certificate else ""
    text = f"""
global
    maxconn 200
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend site
    bind 127.0.0.1:{place.port}{tls}
    {lines}
    default_backend liveblog
backend liveblog
    server one 127.0.0.1:{place.upstream}
"""
    return [_found("haproxy"), "-db", "-f", _file(place, "haproxy.cfg", text)]


def _varnish(place: _Place, lines: str) -> list[str]:
    text = f"""
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{place.upstream}"; }}
{lines}
"""
    vcl = _file(place, "default.vcl", text)
    address, admin = f"127.0.0.1:{place.port}", f"127.0.0.1:{free_port()}"
    limits = ["-s", "malloc,16m", "-p", "thread_pools=1", "-p", "thread_pool_min=10"]
    where = ["-n", str(place.directory / "state"), "-a", address, "-T", admin, "-j", "none"]
    return [_found("varnishd"), "-F", "-f", vcl, *where, *limits]


def _caddy(place: _Place, lines: str) -> list[str]:
    tls = place.certificate
    keys = f"tls {tls}/cert {tls}/key" if tls else ""
    text = f"""
{{
    admin off
    auto_https off
}}
{"https" if tls else "http"}://:{place.port} {{
    bind 127.0.0.1
    {keys}
    reverse_proxy 127.0.0.1:{place.upstream} {{
        {lines}
    }}
}}
"""
    file = _file(place, "Caddyfile", text)
    return [_found("caddy"), "run", "--adapter", "caddyfile", "--config", file]


PROGRAMS: dict[str, Program] = {
    "nginx": _nginx,
    "HAProxy": _haproxy,
    "Varnish": _varnish,
    "Caddy": _caddy,
}

# -- lines that several set-ups share

NGINX_UPGRADE = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
    " proxy_set_header Connection $upgraded;"
)
NGINX = f"{NGINX_UPGRADE} proxy_set_header Host $http_host;"
VARNISH_PIPE = """
sub vcl_recv { if (req.http.Upgrade ~ "(?i)websocket") { return (pipe); } }
sub vcl_pipe {
    set bereq.http.Upgrade = req.http.Upgrade;
    set bereq.http.Connection = req.http.Connection;
}
"""
