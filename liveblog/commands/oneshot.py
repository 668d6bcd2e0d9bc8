"""The shared parts of short commands: settings, the store, rows of output.

Rules: this module imports slow modules inside functions only: the docstring of commands/main.py has
the reason.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from liveblog import settings
from liveblog.log import configure_logging
from liveblog.settings import Settings

if TYPE_CHECKING:
    from liveblog.store.nodes import Nodes

T = TypeVar("T")


def quiet_settings() -> Settings:
    """Load the settings, and configure the log to show errors only. Raises SettingsError."""
    chosen = settings.load(os.environ)
    configure_logging(chosen)
    logging.getLogger().setLevel(logging.ERROR)
    return chosen


def with_store(
    chosen: Settings, call: "Callable[[Nodes], Awaitable[T]]", *, must_run: bool = False
) -> T:
    """Connect to the configured store, call a function with `Nodes`, and return its result.

    An embedded store that is not running is started for the call. With `must_run`, raise
    UnusableStore instead.
    """
    from liveblog.store import embedded
    from liveblog.store.connect import connect

    async def connected(url: str) -> T:
        async with connect(url) as nodes:
            return await call(nodes)

    with embedded.use(chosen.redis_url, chosen.data_dir, must_run=must_run) as url:
        return asyncio.run(connected(url))


def print_rows(rows: Iterable[Sequence[str]]) -> None:
    """Print columns, each as wide as its widest cell."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip())
