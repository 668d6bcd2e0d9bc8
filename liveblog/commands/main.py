"""The command line: the group of all commands, its help and its errors.

A command prints its result on standard output and all other text on standard error. So
`TOKEN=$(liveblog token create wire)` stores only the token. A failure is one clear line and exit
code 1.

Rules: a short command spends most of its time on imports. So a command's module is imported only
when the command is called, and imports slow modules inside its functions.
"""

import liveblog.commands.early  # noqa: F401 - handles signals before the imports below

# isort: split
import errno
from importlib import import_module
from typing import Any, Final

import click

from liveblog import settings
from liveblog.blog.problem import Damaged, Problem, StoreDown, StoreRefuses, UnusableStore
from liveblog.settings import SettingsError
from liveblog.version import __version__

# The module of each command. The help lists the commands in this order.
COMMANDS: Final = {
    "serve": "serve",
    "demo": "demo",
    "user": "people",
    "token": "people",
    "store": "files",
    "bench": "bench",
}
# Errors of a disk that takes no bytes.
FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class _Commands(click.Group):
    """The group of commands. An expected failure is one line on standard error, and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            import_module(f"liveblog.commands.{COMMANDS[cmd_name]}"), cmd_name
        )
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Damaged as error:
            raise click.ClickException(str(error)) from None
        except StoreRefuses as error:
            raise click.ClickException(f"the store refuses writes: {error}") from None
        except StoreDown as error:
            raise click.ClickException(f"the store is unreachable: {error}") from None
        except (Problem, SettingsError, UnusableStore) as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise click.ClickException(f"{error.strerror}: {error.filename}") from None

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the list of the settings, aligned in columns."""
        with formatter.section("Environment"):
            formatter.write_dl(settings.listing())


@click.group(cls=_Commands)
@click.version_option(__version__, message="%(version)s")
def main() -> None:
    """Run a live blog: `liveblog serve`, then open the page whose address it prints."""
