"""A data directory of an embedded store: its files, and `liveblog store repair` on it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import redis
from click.testing import CliRunner

from liveblog.commands.main import main
from liveblog.store import embedded


@dataclass
class DataDirectory:
    """A data directory, and what starts on it."""

    directory: Path

    def file(self, name: str) -> Path:
        return self.directory / "appendonlydir" / f"appendonly.aof.{name}"

    def transactions(self) -> int:
        """Start the store, and return how many transactions it has; each is there as a whole."""
        with embedded.own(self.directory) as url, redis.Redis.from_url(url) as client:
            first = {key[1:] for key in client.keys("a*")}
            assert first == {key[1:] for key in client.keys("b*")}
            return len(first)

    def repair(self, *arguments: str, answer: str = "") -> tuple[int, str]:
        """Run `liveblog store repair`, and return its exit code and all that it printed."""
        root = logging.getLogger()
        level, handlers = root.level, [*root.handlers]
        try:
            done = CliRunner().invoke(
                main,
                ["store", "repair", *arguments],
                input=answer,
                env={"DATA_DIR": str(self.directory)},
            )
        finally:  # the command configures the log of this process
            root.setLevel(level)
            root.handlers[:] = handlers
        return done.exit_code, done.output

    def kept(self) -> list[Path]:
        return sorted((self.directory / "damaged").glob("*"))
