"""The command `liveblog bench`.

Rules: this module reads the options and prints the result; commands/load.py measures. Slow modules
are imported inside functions only: the docstring of commands/main.py has the reason.
"""

import asyncio
import contextlib
import json
import signal
import sys
from typing import IO, TYPE_CHECKING, Final

import click

from liveblog.commands.oneshot import print_rows
from liveblog.process import raise_file_limit

if TYPE_CHECKING:
    from liveblog.commands.load import Result

READERS_MAX: Final = 20_000


@click.command()
@click.argument("url")
@click.option("--readers", default=1_000, show_default=True, type=click.IntRange(1, READERS_MAX))
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
    help="Publish into this blog, or watch it. Default: publish into a new blog, left as a draft.",
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
    """Measure delivery to many readers of the running server at URL.

    Connects the readers, publishes entries or only watches, and prints counts and delays. Exits
    with 1 when a reader missed or repeated an entry, or was not connected at the end.
    """
    from liveblog.commands.load import Bench, BenchError, checked_url

    token = _token_in(token_file) if token_file else ""
    if not token and not blog:
        raise click.UsageError("name the blog to watch with --blog, or give --token-file")
    raise_file_limit()

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
        print_rows(result.rows())
    raise SystemExit(0 if result.is_whole else 1)


def _token_in(file: IO[str]) -> str:
    """Return the token in a file's first line."""
    with contextlib.suppress(UnicodeDecodeError):
        token = file.readline().strip()
        if token.isascii():  # the token goes into an HTTP header, which is ASCII
            return token
    raise click.ClickException(f"{file.name} has no token in its first line")


def _progress(what: str, done: int, total: int) -> None:
    """Draw a progress bar if standard error is a terminal; else print nothing."""
    if sys.stderr.isatty():
        filled = 30 * done // max(1, total)
        bar = "#" * filled + "." * (30 - filled)
        click.echo(f"\r{what:10} [{bar}] {done:,} of {total:,} ", err=True, nl=False)
