"""The command line: the server, its users and tokens, the sample blog.

What a command is asked for goes to standard output, everything said about it to standard error, so
that `TOKEN=$(liveblog token create wire)` holds a token and nothing else. A failure is one clear
line and exit code 1.

Rules: no work of its own; every command calls what the server calls. Modules that only some
commands need are imported in them, since most of the time of a short command goes to imports.
"""

import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

import click

from liveblog import settings
from liveblog.blog.model import ROLES, Role
from liveblog.blog.problem import Damaged, Problem, StoreDown
from liveblog.log import configuration, configure_logging
from liveblog.settings import Settings, SettingsError
from liveblog.store import embedded as store
from liveblog.version import __version__

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from liveblog.commands.bench import Result
    from liveblog.store.accounts import Accounts, Token, User
    from liveblog.store.nodes import Nodes

GRACE_S: Final = 10  # for requests that run when the readers are gone
LAST_S: Final = 5  # for the last farewells and the end of all parts of a worker
STORE_TRIES: Final = 30  # to reach a store that must be seen to be durable, a second apart
KEEP_ALIVE_S: Final = 95  # above balancers' idle time (60 to 90 s): below it they see stray 502s
BACKLOG: Final = 4_096
# libuv accepts one connection of a listening socket in each turn of its loop, so a turn for each
# reader who comes back after a cut; with so many descriptors of one socket, it is as many.
ACCEPTS: Final = 16
UVICORN_STARTUP_FAILURE: Final = 3

T = TypeVar("T")

log = logging.getLogger(__name__)


class _Commands(click.Group):
    """Commands whose expected failures are one line on standard error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StoreDown as error:
            raise click.ClickException(_said(error)) from None
        except (Problem, SettingsError, store.StoreError) as error:
            raise click.ClickException(str(error)) from None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the settings as they are: a table must not be wrapped."""
        formatter.write(f"\nEnvironment:\n\n{settings.table()}\n")


def _said(error: StoreDown) -> str:
    return str(error) if isinstance(error, Damaged) else f"the store cannot be reached: {error}"


@click.group(cls=_Commands)
@click.version_option(__version__, message="%(version)s")
def main() -> None:
    """Run a live blog: `liveblog serve`, then open the page it names."""


@main.command()
@click.option("--host", help="Address to listen on; overrides HOST.")
@click.option("--port", help="Port to listen on; overrides PORT.")
@click.option("--workers", help="Worker processes; overrides WEB_CONCURRENCY.")
def serve(host: str | None, port: str | None, workers: str | None) -> None:
    """Serve readers and editors until SIGTERM or Ctrl-C.

    Without REDIS_URL an embedded store runs in DATA_DIR for as long as the server does.
    """
    given = {"HOST": host, "PORT": port, "WEB_CONCURRENCY": workers}
    # Into the environment and not only into our settings: workers read them from there.
    os.environ.update({name: text for name, text in given.items() if text is not None})
    chosen = settings.load(os.environ)
    configure_logging(chosen)
    _check_certificate(chosen)
    _raise_file_limit()
    # Before uvicorn takes the signals over, and after it: unwind, so that the store is stopped.
    signal.signal(signal.SIGTERM, _exit)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as `nohup` has it
        signal.signal(signal.SIGHUP, _hang_up)
    with contextlib.ExitStack() as stack:
        url = chosen.redis_url or stack.enter_context(store.own(chosen.data_dir))
        if not chosen.redis_url:
            os.environ.update({"REDIS_URL": url, "LIVEBLOG_DURABILITY": chosen.durability})
        asyncio.run(_state_promise(url, chosen.durability))
        _run_uvicorn(chosen)


def _check_certificate(chosen: Settings) -> None:
    """Raise SettingsError for a certificate that no worker could serve with.

    Here, since a supervisor starts a worker that fails at it again, for ever.
    """
    if not chosen.tls_cert:
        return
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chosen.tls_cert, chosen.tls_key)
    except OSError as error:  # ssl.SSLError is one, too
        raise SettingsError(
            "LIVEBLOG_TLS_CERT and LIVEBLOG_TLS_KEY hold no certificate with its key (PEM): "
            f"{error.strerror}"
        ) from None


def _exit(number: int, frame: object) -> None:  # noqa: ARG001 - as signal.signal calls it
    raise SystemExit(0)


def _hang_up(number: int, frame: object) -> None:  # noqa: ARG001 - as signal.signal calls it
    """End as on SIGTERM: by itself a closed terminal would cut all readers off."""
    signal.raise_signal(signal.SIGTERM)


async def _state_promise(url: str, durability: str) -> None:
    """Log what the store promises. Raises StoreError for one that must not be used.

    A promise about the disk is never made unseen: with `disk` a store that is away is waited for,
    STORE_TRIES seconds at most. Otherwise serving begins without it.
    """
    from liveblog.store.nodes import connect
    from liveblog.store.queries import store_errors

    async with connect(url) as nodes:
        for tries_left in reversed(range(STORE_TRIES if durability == "disk" else 1)):
            try:
                async with store_errors():
                    _log_promises(await nodes.ask(lambda: _promises(nodes, durability)))
                    return
            except StoreDown as error:
                log.warning("the store cannot be reached yet: %s", error)
            if tries_left:
                await asyncio.sleep(1)
    if durability == "disk":
        raise store.StoreError(
            "LIVEBLOG_DURABILITY is disk, and the store cannot be reached to see that it has "
            "appendfsync always"
        )


async def _promises(nodes: "Nodes", durability: str) -> list[store.Promise]:
    """Return what all servers that take writes promise."""
    promises = [await store.inspect(node.redis, durability) for node in nodes.everyone()]
    if any(promise.in_cluster for promise in promises) and not nodes.is_cluster:
        raise store.StoreError(
            "the store is a node of a cluster; REDIS_URL must begin with redis+cluster://"
        )
    return promises


def _log_promises(promises: Sequence[store.Promise]) -> None:
    """Log each sentence once, and what keeps a server from its promise."""
    for sentence in dict.fromkeys(promise.sentence for promise in promises):
        log.info("%s", sentence)
    for warning in dict.fromkeys(promise.warning for promise in promises if promise.warning):
        log.warning("%s", warning)


def _run_uvicorn(chosen: Settings) -> None:
    """Serve with uvicorn, and raise SystemExit.

    1 when it could not start or a part of it failed.
    """
    import uvicorn

    from liveblog.app import failed
    from liveblog.commands.supervisor import Supervisor

    config = uvicorn.Config("liveblog.commands.main:application", **_uvicorn_options(chosen))
    server, code = uvicorn.Server(config), 0
    try:
        listeners = _listeners(config, chosen.send_buffer_bytes)
        if config.workers > 1:
            with _shared_metrics():
                Supervisor(config, listeners, _end_within_s(chosen)).run()
        else:
            server.run(sockets=listeners)
            code = 0 if server.started else 1
    except SystemExit as stop:
        code = 1 if stop.code else 0
    except KeyboardInterrupt:  # uvicorn raises the signal again when it has shut down
        pass
    raise SystemExit(1 if failed.is_set() else code)


@contextlib.contextmanager
def _shared_metrics() -> Iterator[None]:
    """Give the workers a directory for their metrics, so that any of them can answer for all."""
    with tempfile.TemporaryDirectory(prefix="liveblog-metrics-") as directory:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        yield


def _listeners(config: "uvicorn.Config", send_buffer_bytes: int) -> list[socket.socket]:
    """Return the bound socket, ACCEPTS times, set as the connections that it accepts shall be.

    They inherit the send buffer: without a limit of ours the kernel takes 2 to 4 MB for a reader
    that does not read (loopback, Linux 6.1), outside of all that the process counts.
    """
    listener = config.bind_socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    return [listener, *(listener.dup() for _ in range(ACCEPTS - 1))]


def _end_within_s(chosen: Settings) -> float:
    """Return how long a worker that is told to end may take, until it counts as hanging."""
    return chosen.drain_lead_s + chosen.drain_s + GRACE_S + LAST_S


def _uvicorn_options(chosen: Settings) -> dict[str, Any]:
    return {
        "factory": True,
        "host": chosen.host,
        "port": chosen.port,
        "workers": chosen.web_concurrency,
        "loop": "auto",
        "http": "liveblog.live.connections:Front",
        "ws": "liveblog.live.connections:SocketReader",
        "ssl_certfile": chosen.tls_cert or None,
        "ssl_keyfile": chosen.tls_key or None,
        "lifespan": "on",
        "log_config": configuration(chosen),
        "access_log": False,
        "proxy_headers": True,
        "forwarded_allow_ips": chosen.forwarded_allow_ips,
        "server_header": False,
        "backlog": BACKLOG,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": GRACE_S,
    }


def application() -> "ASGIApp":
    """Make the application in the process that serves it; uvicorn's factory.

    Raises SystemExit(3) when it cannot be made: a supervisor starts a worker that ends in any other
    way again, for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        # Ctrl-C reaches us, too, but a second signal would end the drain: the supervisor's counts.
        # A terminal that is closed tells all of us, too.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _end_with(parent.pid, parent.join)
    from liveblog.app import create

    try:
        return create()
    except Exception:
        log.exception("the application cannot be made")
        raise SystemExit(UVICORN_STARTUP_FAILURE) from None


def _end_with(parent_pid: int, wait: Callable[[], object]) -> None:
    """End this worker at once when its supervisor is killed; it would keep the port for ever."""
    if sys.platform == "linux":
        store.die_with(parent_pid, signal.SIGKILL)
        return

    def follow() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=follow, name="supervisor", daemon=True).start()


def _address(chosen: Settings) -> str:
    """Return the address to show to whoever started the server."""
    host = "127.0.0.1" if chosen.host in ("0.0.0.0", "::", "") else chosen.host  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if chosen.tls_cert else "http"
    return chosen.public_url or f"{scheme}://{host}:{chosen.port}"


@main.command()
@click.option("--replay", is_flag=True, help="Publish it live into a new blog, entry by entry.")
@click.option("--gap", default=3.0, show_default=True, help="Seconds between replayed changes.")
def demo(replay: bool, gap: float) -> None:
    """Fill the sample blog; a second time changes nothing.

    Creates the user `editor`, an admin, when there is no user yet, and prints the password.
    """
    from liveblog.commands.demo import MAIN

    chosen = _quiet_settings()
    with store.use(chosen, must_run=replay) as url:
        if replay:
            asyncio.run(_with_store(url, lambda nodes: _replay(nodes, chosen, gap)))
            return
        made = asyncio.run(_with_store(url, lambda nodes: _fill(nodes, chosen)))
    click.echo(f"page: {_address(chosen)}/blogs/{MAIN}")
    click.echo(f"desk: {_address(chosen)}/desk")
    if made:
        click.echo(f"sign in as {made[0]} with the password {made[1]}")


async def _fill(nodes: "Nodes", chosen: Settings) -> tuple[str, str] | None:
    from liveblog.commands.demo import fill
    from liveblog.store.accounts import Accounts

    return await fill(_publishing(nodes, chosen), Accounts(nodes))


async def _replay(nodes: "Nodes", chosen: Settings, gap_s: float) -> None:
    from liveblog.commands.demo import replay

    await replay(_publishing(nodes, chosen), gap_s, say=click.echo)


def _publishing(nodes: "Nodes", chosen: Settings) -> Any:
    from liveblog.editors.publishing import Publishing
    from liveblog.store.broker import Broker

    broker = Broker(nodes, wait_for_replica=chosen.durability == "replica")
    return Publishing(broker, lambda: time.time_ns() // 1_000_000)


@main.command()
@click.argument("url")
@click.option("--readers", default=1_000, show_default=True, type=click.IntRange(1, 20_000))
@click.option("--entries", default=20, show_default=True, type=click.IntRange(1, 100_000))
@click.option(
    "--rate",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.01, 100),
    help="Entries a second.",
)
@click.option(
    "--blog",
    default="",
    metavar="SLUG",
    help="Publish into this blog, or watch it; else into a new one, left as a draft.",
)
@click.option(
    "--token-file",
    type=click.File(),
    metavar="FILE",
    help="File with a token that may publish; - for standard input. Without it: watch.",
)
@click.option(
    "--seconds",
    default=30.0,
    show_default=True,
    type=click.FloatRange(1, 86_400),
    help="How long to watch.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def bench(
    url: str,
    readers: int,
    entries: int,
    rate: float,
    blog: str,
    token_file: IO[str] | None,
    seconds: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Open readers against the running server at URL, publish or watch, and say what arrived.

    Exits with 1 when a reader lost, repeated or skipped anything.
    """
    from liveblog.commands.bench import Bench, BenchError, checked_url

    token = _token_in(token_file) if token_file else ""
    if not token and not blog:
        raise click.UsageError("name the blog to watch with --blog, or give --token-file")
    _raise_file_limit()

    async def measure() -> "Result":
        made = Bench(checked_url(url), readers, token, _progress)
        work = made.publish(blog, entries, rate) if token else made.watch(blog, seconds)
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
        return await task

    try:
        result = asyncio.run(measure())
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(dict(result.rows())))
    else:
        _print_rows(result.rows())
    raise SystemExit(0 if result.is_whole else 1)


def _token_in(file: IO[str]) -> str:
    """Return the token in a file's first line."""
    with contextlib.suppress(UnicodeDecodeError):
        token = file.readline().strip()
        if token.isascii():  # no header could carry it otherwise
            return token
    raise click.ClickException(f"{file.name} holds no token")


def _progress(what: str, done: int, total: int) -> None:
    """Draw a bar on a terminal; say nothing elsewhere."""
    if sys.stderr.isatty():
        filled = 30 * done // max(1, total)
        bar = "#" * filled + "." * (30 - filled)
        click.echo(f"\r{what:10} [{bar}] {done:,} of {total:,} ", err=True, nl=False)


def _raise_file_limit() -> None:
    """Allow as many connections as the system lets us have."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_role = click.option("--role", type=click.Choice(ROLES), default="editor", show_default=True)
_blogs = click.option(
    "--blog", "blogs", metavar="SLUG", multiple=True, help="Only this blog; may be repeated."
)


@main.group(cls=click.Group)
def user() -> None:
    """People who sign in at the desk."""


@user.command("add")
@click.argument("name")
@_role
@_blogs
def user_add(name: str, role: Role, blogs: tuple[str, ...]) -> None:
    """Add a user; the password is asked for, or one line of standard input."""
    chosen = _quiet_settings()
    password = _password()  # before the store is there: nobody types while holding it
    _with_accounts(chosen, lambda accounts: accounts.add_user(name, password, role, blogs))
    click.echo(f"{name} can sign in: {role}, {_bound(blogs)}", err=True)


@user.command("list")
def user_list() -> None:
    """List the users."""
    _print_accounts(lambda accounts: accounts.users())


@user.command("disable")
@click.argument("name")
def user_disable(name: str) -> None:
    """Refuse a user from now on and end their sessions."""
    _with_accounts(_quiet_settings(), lambda accounts: accounts.disable_user(name))
    click.echo(f"{name} can no longer sign in", err=True)


@main.group(cls=click.Group)
def token() -> None:
    """Scripts' rights to call the API."""


@token.command("create")
@click.argument("name")
@_role
@_blogs
def token_create(name: str, role: Role, blogs: tuple[str, ...]) -> None:
    """Create a token and print it, this once only."""
    chosen = _quiet_settings()
    secret = _with_accounts(chosen, lambda accounts: accounts.create_token(name, role, blogs))
    click.echo(secret)
    click.echo(f"{name} can call the API: {role}, {_bound(blogs)}", err=True)


@token.command("list")
def token_list() -> None:
    """List the tokens, without their secrets."""
    _print_accounts(lambda accounts: accounts.tokens())


@token.command("revoke")
@click.argument("name")
def token_revoke(name: str) -> None:
    """Refuse a token from now on; its name is free again."""
    _with_accounts(_quiet_settings(), lambda accounts: accounts.revoke_token(name))
    click.echo(f"{name} can no longer call the API", err=True)


def _quiet_settings() -> Settings:
    """Load the settings for a one-shot command, which logs only what goes wrong."""
    chosen = settings.load(os.environ)
    configure_logging(chosen)
    logging.getLogger().setLevel(logging.ERROR)
    return chosen


def _password() -> str:
    """Return a new password: asked for twice on a terminal, else one line of standard input."""
    if sys.stdin.isatty():
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    try:
        line = sys.stdin.buffer.readline().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise click.ClickException("the password on standard input is not UTF-8") from None
    if not line:
        raise click.ClickException("standard input has no line with a password")
    return line


def _print_accounts(ask: "Callable[[Accounts], Awaitable[Sequence[User | Token]]]") -> None:
    """Print a row for each; those that make no sense are the error that comes after."""
    from liveblog.store.accounts import DamagedAccounts

    try:
        _print_rows(map(_account_row, _with_accounts(_quiet_settings(), ask)))
    except DamagedAccounts as damaged:
        _print_rows(map(_account_row, damaged.others))
        raise


def _with_accounts(chosen: Settings, ask: "Callable[[Accounts], Awaitable[T]]") -> T:
    """Return what the accounts in the configured store answer."""
    from liveblog.store.accounts import Accounts

    with store.use(chosen) as url:
        return asyncio.run(_with_store(url, lambda nodes: ask(Accounts(nodes))))


async def _with_store(url: str, ask: "Callable[[Nodes], Awaitable[T]]") -> T:
    from liveblog.store.nodes import connect

    async with connect(url) as nodes:
        return await ask(nodes)


def _account_row(listed: "User | Token") -> tuple[str, str, str]:
    is_disabled = getattr(listed, "disabled", False)
    standing = f"{listed.role} (disabled)" if is_disabled else listed.role
    return listed.name, standing, _bound(listed.blogs)


def _bound(blogs: Iterable[str]) -> str:
    return ", ".join(blogs) or "all blogs"


def _print_rows(rows: Iterable[Sequence[str]]) -> None:
    """Print columns, each as wide as its widest cell."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip())
