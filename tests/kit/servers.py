"""Real servers and stores for tests: child processes on reserved ports.

`serving` runs `liveblog serve` and waits until it answers. `StoreProcess` is a store that a test
kills and starts again; the store of `liveblog.store.embedded` would restart by itself.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import httpx2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kit.waiting import SCALE, until_sync
from liveblog.clock import now_ms
from liveblog.settings import variables
from liveblog.store import embedded as store
from liveblog.store.accounts import Accounts
from liveblog.store.connect import connect

COMMAND = (sys.executable, "-c", "from liveblog.commands.main import main; main()", "serve")
# The commands that serve readers: the direct transport on uvloop and on asyncio, and the
# portable transport, which works on any ASGI server, here plain uvicorn.
COMMANDS = {
    "direct": COMMAND,
    "direct on asyncio": (
        sys.executable,
        "-c",
        "import sys; sys.modules['uvloop'] = None; from liveblog.commands.main import main; main()",
        "serve",
    ),
    "portable": (sys.executable, "-m", "uvicorn", "liveblog.app:create", "--factory"),
}
TRUSTING = ssl._create_unverified_context()  # only for our own servers with test certificates
START_S = 20.0
STOP_S = 20.0
ANSWER_S = 10.0
# Ports that stay reserved at a time; a test module uses up to 30. Each takes one of the 1,024 file
# descriptors of this process.
RESERVED_MAX = 200

_reserved: deque[socket.socket] = deque()


def free_port() -> int:
    """Reserve a free port of 127.0.0.1, and return it."""
    return reserve(0)


def reserve(port: int) -> int:
    """Reserve a port of 127.0.0.1, any free port for 0, and return it. Raises OSError when taken.

    A bound socket that does not listen holds the port: the kernel gives the port to no other
    process, neither for `bind` to port 0 nor for an outgoing connection. A server may bind the port
    by its number, because both sockets have SO_REUSEADDR; so may a server that starts again.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind(("127.0.0.1", port))
    except BaseException:
        held.close()
        raise
    _reserved.append(held)
    if len(_reserved) > RESERVED_MAX:
        _reserved.popleft().close()
    return int(held.getsockname()[1])


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment, with `settings` as liveblog's only variables.

    Without LIVEBLOG_DRAIN_S in `settings`, a server stops at once and does not drain its readers.
    """
    others = {n: v for n, v in os.environ.items() if n not in variables()}
    return {**others, "LIVEBLOG_DRAIN_S": "0", **settings}


def ending_with_us() -> Callable[[], None]:
    """Return a function that a child process runs before its program.

    On Linux, the child then ends when this process ends.
    """
    us = os.getpid()
    return lambda: store.die_with(us, signal.SIGTERM)


def http(address: str = "127.0.0.1", **more: Any) -> httpx2.AsyncClient:
    """Return a client that connects from a local address.

    The client does not verify TLS certificates, because loading the system's root
    certificates takes 0.2 s.
    """
    transport = httpx2.AsyncHTTPTransport(verify=False, local_address=address)
    return httpx2.AsyncClient(transport=transport, timeout=2 * ANSWER_S * SCALE, **more)


class Server:
    """Runs a `liveblog serve` process; `settings` are its environment variables."""

    def __init__(
        self, log: Path, *arguments: str, command: Sequence[str] = COMMAND, **settings: str
    ) -> None:
        self.port = free_port()
        scheme = "https" if "LIVEBLOG_TLS_CERT" in settings else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._log, self._settings = log, settings
        self._command = [*command, "--port", str(self.port), *arguments]
        self._tokens: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    @property
    def store_url(self) -> str:
        """The URL of the server's store: REDIS_URL, else that of its embedded store."""
        if url := self._settings.get("REDIS_URL"):
            return url
        with store.use("", Path(self._settings["DATA_DIR"]), must_run=True) as url:
            return url

    def start(self, path: str = "/readyz") -> None:
        """Start the server and wait until `path` answers 200; a restart uses the same port."""
        env = environment(**self._settings)
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=ending_with_us(),  # noqa: PLW1509 - safe: die_with takes no locks
            )
        try:
            until_sync(lambda: self._answers(path), START_S)
        except TimeoutError:
            self.kill()
            raise AssertionError(f"server did not start:\n{self.said()}") from None

    def _answers(self, path: str) -> bool:
        assert self.process
        assert self.process.poll() is None, f"server exited at its start:\n{self.said()}"
        return self.status(path) == 200

    def status(self, path: str) -> int:
        """Request a path, and return the HTTP status; 0 without an answer."""
        try:
            with urllib.request.urlopen(
                self.url + path, timeout=ANSWER_S / 2, context=TRUSTING
            ) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except OSError:
            return 0

    def get(self, path: str) -> Any:
        """Request a path, and return the JSON of the answer, which may be an error."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=ANSWER_S * SCALE) as answer:
                return json.load(answer)
        except HTTPError as error:
            return json.load(error)

    def text(self, path: str) -> str:
        """Request a path, and return the text. Raises HTTPError for a status other than 200."""
        with urllib.request.urlopen(
            self.url + path, timeout=ANSWER_S * SCALE, context=TRUSTING
        ) as answer:
            return str(answer.read().decode())

    def said(self) -> str:
        """Return the server's log."""
        return self._log.read_text(errors="replace")

    def terminate(self) -> None:
        """Send SIGTERM, without waiting until the process has ended."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until the process has ended, and return its exit code."""
        assert self.process
        return self.process.wait(STOP_S * SCALE)

    def stop(self) -> None:
        self.terminate()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"server did not stop:\n{self.said()[-3000:]}") from None

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    async def token(self, role: Any = "admin") -> str:
        """Return a token of a role; the first call creates it in the store."""
        if role not in self._tokens:
            async with connect(self.store_url) as client:
                name = f"{role} of {self.pid}"
                self._tokens[role] = await Accounts(client, now_ms).create_token(name, role)
        return self._tokens[role]

    @contextlib.asynccontextmanager
    async def editor(self, role: Any = "admin") -> AsyncIterator["Editor"]:
        """Yield an `Editor`, which calls the API with a token of this role."""
        headers = {"authorization": f"Bearer {await self.token(role)}"}
        async with http(base_url=self.url, headers=headers) as client:
            yield Editor(client)


def tls_settings(directory: Path) -> dict[str, str]:
    """Return the settings of a server with the certificate in a directory (kit/proxies.py)."""
    return {
        "LIVEBLOG_TLS_CERT": str(directory / "cert"),
        "LIVEBLOG_TLS_KEY": str(directory / "key"),
    }


@contextlib.contextmanager
def serving(
    log: Path,
    *arguments: str,
    path: str = "/readyz",
    command: Sequence[str] = COMMAND,
    **settings: str,
) -> Iterator[Server]:
    """Run a server until the block ends. The test fails when SIGTERM does not stop the server."""
    server = Server(log, *arguments, command=command, **settings)
    server.start(path)
    try:
        yield server
    except BaseException:
        server.kill()
        raise
    else:
        server.stop()


class Editor:
    """Calls the API as an editor's script does. Methods assert success and return the JSON."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self._blogs = 0

    async def __call__(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx2.Response:
        """Call /api/blogs{path} with `headers`, where `if_match` stands for `if-match`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, f"/api/blogs{path}", json=body, headers=named)

    async def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = await self(method, path, body, **headers)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def blog(self, **fields: Any) -> Any:
        """Create a live blog with a slug that no other test has."""
        slug = f"blog-{os.urandom(5).hex()}"
        return await self.ok(
            "POST", "", {"slug": slug, "title": "Council", "status": "live", **fields}
        )

    async def alter(self, slug: str, **fields: Any) -> Any:
        return await self.ok("PATCH", f"/{slug}", fields)

    async def publish(
        self, slug: str, body: str = "The council votes at nine.", **fields: Any
    ) -> Any:
        return await self.ok("POST", f"/{slug}/entries", {"body": body, **fields})

    async def publish_many(self, slug: str, count: int) -> list[Any]:
        """Publish `count` entries, several at a time, and return them oldest first."""
        gate = asyncio.Semaphore(16)

        async def one(number: int) -> Any:
            async with gate:
                return await self.publish(slug, f"Entry number {number}.")

        made = await asyncio.gather(*(one(number) for number in range(count)))
        return sorted(made, key=lambda entry: int(entry["order"]))

    async def entries(self, slug: str) -> list[Any]:
        """Return a blog's published entries, the newest first."""
        return list((await self.ok("GET", f"/{slug}/entries"))["entries"])

    async def edit(self, entry: Any, **fields: Any) -> Any:
        path = f"/{entry['blog']}/entries/{entry['id']}"
        return await self.ok("PATCH", path, fields, if_match=f'"{entry["revision"]}"')

    async def mark(self, entry: Any, **marks: Any) -> Any:
        return await self.ok("PATCH", f"/{entry['blog']}/entries/{entry['id']}", marks)

    async def delete(self, entry: Any, *, takedown: bool = False) -> Any:
        query = "?takedown=1" if takedown else ""
        return await self.ok("DELETE", f"/{entry['blog']}/entries/{entry['id']}{query}")

    async def restore(self, entry: Any) -> Any:
        return await self.ok("POST", f"/{entry['blog']}/entries/{entry['id']}/restore")


class StoreProcess:
    """Runs a durable store on a unix socket in `directory`, until a test kills it.

    `more` are arguments for the store's server, `environ` are environment variables to add.
    """

    def __init__(
        self, directory: Path, binary: Path, *more: str, environ: dict[str, str] | None = None
    ) -> None:
        self._directory, self._binary, self._more = directory, binary, more
        self._environ = {**os.environ, **(environ or {})}
        self.socket = directory / "s"
        self.url = store.url_of(self.socket)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(self._binary), *store.ARGUMENTS, "--dir", str(self._directory)]
        # Nobody cuts an incomplete command before this start, as store/inspection.py would.
        command += ["--unixsocket", str(self.socket), "--aof-load-truncated", "yes", *self._more]
        with self._log().open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=ending_with_us(),  # noqa: PLW1509 - safe: die_with takes no locks
            )
        until_sync(self._answers)

    def _log(self) -> Path:
        return self._directory / "log"

    def _answers(self) -> bool:
        with contextlib.closing(self.client()) as client, contextlib.suppress(redis.RedisError):
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        """Return a client that never retries; its answers are bytes."""
        return redis.Redis.from_url(
            self.url, retry=Retry(NoBackoff(), 0), socket_timeout=ANSWER_S * SCALE
        )

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the process inside the block, with SIGSTOP."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process with SIGKILL; its files keep every byte that it wrote."""
        if self.process:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def store_process(
    directory: Path, binary: Path, *more: str, environ: dict[str, str] | None = None
) -> Iterator[StoreProcess]:
    """Yield a store that does not run yet, and kill it after the block."""
    process = StoreProcess(directory, binary, *more, environ=environ)
    try:
        yield process
    finally:
        process.kill()
