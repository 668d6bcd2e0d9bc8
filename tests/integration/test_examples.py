"""Every example of README and docs runs as written, against a server as `make run` starts it.

Only the address is replaced, since tests use free ports. README's blocks run first and create token
and blog. All `bash` blocks of one document run in one shell, in their order.
"""

import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from kit.servers import Server, serving
from kit.waiting import SCALE, until
from kit.windows import chromium, window

ROOT = Path(__file__).parents[2]
ADDRESS = "127.0.0.1:8000"
# curl exits with 0 after an answer of 400 and above, unless `--fail-with-body` is given.
PRELUDE = 'set -euo pipefail\nset +o pipefail\ncurl() { command curl -sS --fail-with-body "$@"; }\n'
SHELL = ("docs/api.md", "docs/streams.md", "docs/performance.md")
OTHERS = ("docs/deploy.md",)
WAIT_S = 60 * SCALE


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that looks like the checkout after `make run`: with `.venv` and `data`."""
    directory = tmp_path_factory.mktemp("checkout")
    (directory / ".venv").symlink_to(sys.prefix)
    return directory


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    """A server in which the shell examples of README have run."""
    settings = {"DATA_DIR": f"{place}/data", "LIVEBLOG_HEARTBEAT_S": "0.5"}
    with serving(place / "log", **settings) as running:
        run(place, running, *blocks("README.md", "bash"))
        yield running


def here(example: str, server: Server) -> str:
    return example.replace(ADDRESS, f"127.0.0.1:{server.port}")


def run(place: Path, server: Server, *examples: str) -> str:
    """Run shell examples in one shell, and return what they print; fails when a command does."""
    done = subprocess.run(
        ["bash", "-c", PRELUDE + here("\n".join(examples), server)],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_documents_have_the_examples_that_are_run_here() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    runnable = {name for name in found if blocks(name, "(?:bash|js|python|nginx)")}
    assert runnable == {*SHELL, *OTHERS}
    assert len(blocks("README.md", "bash")) == 1
    assert len(blocks("README.md", "js")) == 1


def test_readmes_example_is_short() -> None:
    [shell], [script] = blocks("README.md", "bash"), blocks("README.md", "js")
    assert len(shell.splitlines()) <= 8
    assert len(script.splitlines()) <= 6


def test_readmes_curl_publishes(server: Server) -> None:
    assert "Polls are open" in server.text("/blogs/election")


@pytest.mark.parametrize("name", SHELL)
def test_every_shell_example_runs(place: Path, server: Server, name: str) -> None:
    run(place, server, *blocks(name, "bash"))


async def test_readmes_event_source_prints_an_entry(server: Server) -> None:
    [script] = blocks("README.md", "js")
    printed: list[str] = []
    async with chromium(is_shell=True) as browser, window(browser) as page:
        page.on("console", lambda message: printed.append(message.text))
        await page.goto(f"{server.url}/")
        await page.evaluate(f"{here(script, server)}; window.stream = stream")
        await page.wait_for_function("window.stream.readyState === 1")
        async with server.editor() as editor:
            await editor.publish("election", headline="First count")
        await until(lambda: any("First count" in line for line in printed))


@contextlib.asynccontextmanager
async def running(place: Path, program: str) -> AsyncIterator[list[str]]:
    """Run a Python program while the `async with` block runs; yield the lines printed so far."""
    process = await asyncio.create_subprocess_exec(
        *(place / ".venv" / "bin" / "python", "-u", "-c", program),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    lines: list[str] = []

    async def read() -> None:
        assert process.stdout
        while line := await process.stdout.readline():
            lines.append(line.decode())

    reading = asyncio.create_task(read())
    try:
        yield lines
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading


async def test_the_client_of_the_streams_page_follows_a_blog(place: Path, server: Server) -> None:
    [program] = blocks("docs/streams.md", "python")
    async with running(place, here(program, server)) as lines, server.editor() as editor:
        await until(lambda: any("hello" in line for line in lines))
        entry = await editor.publish("election", headline="First count")
        await until(lambda: any(f"put {entry['id']} First count" in line for line in lines))
        await editor.delete(entry)
        await until(lambda: any(f"del {entry['id']}" in line for line in lines))


def test_nginx_accepts_the_example_of_a_balancer(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    assert nginx, "nginx is missing; `make tools` installs it"
    [example] = blocks("docs/deploy.md", "nginx")
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = tmp_path / "nginx.conf"
    file.write_text(
        f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{folders}{example}}}\n"
    )
    done = subprocess.run(
        [nginx, "-t", "-q", "-p", tmp_path, "-c", file], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
