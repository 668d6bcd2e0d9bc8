"""The commands `liveblog store …`: the files of the embedded store.

Rules: this module reads the options and prints the result; store/salvage.py repairs. Slow modules
are imported inside functions only: the docstring of commands/main.py has the reason.
"""

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from liveblog.commands.oneshot import quiet_settings
from liveblog.settings import Settings


@click.group()
def store() -> None:
    """Repair the files of the embedded store."""


@store.command("repair")
@click.option("--skip", is_flag=True, help="Keep whole commands behind damage.")
@click.option("--yes", is_flag=True, help="Repair without asking.")
def store_repair(skip: bool, yes: bool) -> None:
    """Check the files in DATA_DIR, and cut out the parts that a store cannot load.

    Prints each damage and each loss, and asks before it changes anything. Copies of
    all that changes are kept. Exits with 1 when the files cannot be repaired, and when the answer
    is no.

    Changes after damage are lost, so that the blogs have an earlier state without
    holes. With --skip only the damage is left out: deletions, takedowns and other changes in it are
    undone, and later changes stay. Blogs with holes then make their readers load the page again.
    """
    from liveblog.store import access, embedded, salvage
    from liveblog.store import directory as files

    directory, binary = _directory(quiet_settings()), embedded.find_binary()
    with files.locked(directory, files.LOCK_WAIT_S):
        access.tighten(directory)
        with tempfile.TemporaryDirectory() as empty, embedded.own(Path(empty), brief=True) as url:
            arities = salvage.arities(url)
        plan = salvage.examine(directory, binary, arities, skips=skip)
        if plan.found:
            _print_and_ask(plan.found, "Repair this, after a copy of all that changes?", yes)
            _print_copies(plan.carry_out())
    with embedded.own(directory, brief=True, repairs=True) as url:
        is_changed = _leave_out_failures(directory, url, yes) or bool(plan.found)
        is_changed = _renumber(directory, url, yes or is_changed) or is_changed
        click.echo("the store starts" if is_changed else "nothing to repair: the store starts")


def _print_and_ask(damage: Iterable[object], question: str, yes: bool) -> None:
    for sentence in damage:
        click.echo(sentence)
    if not yes:
        click.confirm(question, abort=True)


def _leave_out_failures(directory: Path, url: str, yes: bool) -> bool:
    """Leave out whole commands that the store cannot run; return whether there was one."""
    from liveblog.store import embedded, salvage

    failed = embedded.failed_commands(directory)
    if failed:
        _print_and_ask(salvage.failures(failed), "Write the files again without them?", yes)
        _print_copies(salvage.rewrite(directory, url))
    return bool(failed)


def _renumber(directory: Path, url: str, yes: bool) -> bool:
    """Repair the numbering of blogs with holes, and finish the repair; return whether one had."""
    from liveblog.store import directory as files
    from liveblog.store import numbering, salvage

    holes = numbering.examine(url, files.unfinished_repair(directory) or ())
    if holes:
        is_asking = any(hole.is_repairable for hole in holes)
        _print_and_ask(holes, "Repair these blogs?", yes or not is_asking)
        if any(hole.is_deleting for hole in holes):
            _print_copies(salvage.copies_of(directory))
        numbering.repair(url, holes)
    files.forget_repair(directory)
    return any(hole.is_repairable for hole in holes)


def _directory(chosen: Settings) -> Path:
    from liveblog.store import directory as files

    if chosen.redis_url:
        raise click.ClickException(
            "REDIS_URL is set; this command repairs the embedded store in DATA_DIR only"
        )
    if not os.path.lexists(chosen.data_dir):
        raise click.ClickException(f"DATA_DIR {chosen.data_dir.absolute()} does not exist")
    return files.prepared(chosen.data_dir)


def _print_copies(copies: Sequence[Path]) -> None:
    for copy in copies:
        click.echo(f"a copy is in {copy}")
    if copies:
        click.echo("copies may have text that was taken down: delete them after use", err=True)
