"""Seeded bugs of the desk: each loss that editors met in real use, put back; stories must find it.

    PYTHONPATH=tests python -m kit.mutants_desk [WORDS [SEED]]

plays stories on each bug until one finds it, and prints a table; with WORDS only the bugs whose
names have these words, with SEED from this story on. `make mutants` runs it.

Rules: a bug is a few lines of a copy of the checkout, from which the server runs. Each replaced text
is in its file exactly once; else `seeded` fails, so a change of the code cannot disable a bug.
"""

import asyncio
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing
from itertools import repeat
from pathlib import Path
from typing import Final, NamedTuple

from kit.figure import log
from kit.playing import lines, played
from kit.seats import Told

ROOT: Final = Path(__file__).parents[2]
STORIES_MAX: Final = 60  # for one bug
AT_ONCE: Final = 2
LINE: Final = "{:62}  {:13}  {:>4}  {:>7}"


class Change(NamedTuple):
    """A text of a file, and what replaces it."""

    file: str
    text: str
    instead: str


class Bug(NamedTuple):
    """`rules` are those of kit/ledger.py that may find it; another one found something else."""

    breaks: str
    rules: tuple[str, ...]
    changes: tuple[Change, ...]


DESK: Final = "static/js/desk"
BUGS: Final = (
    Bug(
        "all tabs of a browser keep their texts under one name",
        ("lost",),
        (
            Change(f"{DESK}/tabs.js", "this.id = this.parts.newId();", "this.id = 'a'.repeat(16);"),
            Change(f"{DESK}/tabs.js", "if (id !== this.id) this.parts.set", "this.parts.set"),
        ),
    ),
    Bug(
        "texts of closed and crashed tabs are not offered",
        ("lost",),
        (
            Change(
                f"{DESK}/texts.js",
                ".filter(({ form, tab }) => !isInUse(form, tab))",
                ".filter(() => false)",
            ),
        ),
    ),
    Bug(
        "an input is kept 200 ms later",
        ("lost",),
        (
            Change(
                f"{DESK}/keep.js",
                "this.hooks.store.write([kept]);",
                "setTimeout(() => this.hooks.store.write([kept]), 200);",
            ),
        ),
    ),
    Bug(
        "Escape discards the text of an edit",
        ("lost",),
        (
            Change(
                f"{DESK}/edit.js",
                "    dialog.replaceChildren();",
                "    if (one('#edit')) discardText(one('#edit'));\n    dialog.replaceChildren();",
            ),
        ),
    ),
    Bug(
        "the header's form is not kept",
        ("lost",),
        (
            Change(
                f"{DESK}/watch.js",
                "if (isAltered(form)) state.typed_at",
                "if (isAltered(form) && state.name !== 'header') state.typed_at",
            ),
        ),
    ),
    Bug(
        "a header replaces a colleague's without a word",
        ("overwritten",),
        (
            Change(
                "liveblog/editors/headers.py",
                "not decisions.may_replace(seen, stored.blog.revision)",
                "seen == -1",
            ),
        ),
    ),
    Bug(
        "taking their version destroys mine",
        ("lost",),
        (
            Change(
                f"{DESK}/conflict.js",
                "if (clashes()[0]) await keepApart(form, say('mine'));",
                "",
            ),
        ),
    ),
    Bug(
        "a page publishes under the name of whoever has signed in",
        ("other name",),
        (Change(f"{DESK}/send.js", "const of = editor ?", "const of = editor === null ?"),),
    ),
    Bug(
        "a form without an answer waits for a press",
        ("unsent",),
        (
            Change(
                f"{DESK}/queue.js",
                "const why = content.reason ?? '';",
                "const why = 'It is not known whether it was saved.';\n"
                "    return { puts: [{ ...item, held: why }], deletes: [], wait_ms: null };",
            ),
        ),
    ),
    Bug(
        "a form without an answer is sent again under another key",
        ("twice",),
        (Change(f"{DESK}/kept.js", "idempotency_key: key,", "idempotency_key: newKey(),"),),
    ),
    Bug(
        "the form for new entries keeps its text until the answer",
        ("kept together", "silent"),
        (Change(f"{DESK}/watch.js", "  else clear(form, state);\n", ""),),
    ),
    Bug(
        "a retraction saves the half-typed edit",
        ("unpressed",),
        (
            Change(
                f"{DESK}/page.js",
                "if (watchedOf(form)) {\n    const asked",
                "if (form.id === 'retract') press(one('#edit'), null);\n"
                "  if (watchedOf(form)) {\n    const asked",
            ),
        ),
    ),
    Bug(
        "Publish later fails silently in a zone that the browser lacks",
        ("silent",),
        (
            Change(
                f"{DESK}/watch.js",
                "  const text = textIn(form, values);\n",
                "  const text = textIn(form, values);\n"
                "  if (values.publish_at) zoneOf(form.dataset.zone);\n",
            ),
            Change(
                f"{DESK}/watch.js",
                "// -- sending\n",
                "/** @param {any} zone */\n"
                "const zoneOf = (zone) => new Intl.DateTimeFormat('en', { timeZone: zone });\n",
            ),
            Change(
                f"{DESK}/page.js",
                "({ reason }) => sayFailure(reason)",
                "(event) => event.preventDefault()",
            ),
        ),
    ),
    Bug(
        "two deletions have one Undo",
        ("undo",),
        (
            Change(
                f"{DESK}/boxes.js",
                "if (!one('button', old)) old.remove();",
                "old.remove();",
            ),
        ),
    ),
    Bug(
        "a deleted entry is in no bin",
        ("bin",),
        (
            Change(
                "liveblog/editors/bin.py",
                "if may_restore(caller, it.tombstone, it.text)]",
                "if it.is_damaged]",
            ),
        ),
    ),
)


class Found(NamedTuple):
    """The first story that found a bug, how many were played, and the rule; None for no story."""

    told: Told | None
    stories: int
    rule: str = "- survives"


def seeded(bug: Bug, directory: Path) -> Path:
    """Return a copy of the checkout with a bug. Raises AssertionError when the code has moved."""
    for name in ("liveblog", "static"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, directory / name, ignore=ignored)
    for change in bug.changes:
        path = directory / change.file
        path.write_text(changed(path.read_text(), change))
    return directory


def changed(text: str, change: Change) -> str:
    """Return a file's text with a change. Raises AssertionError unless its text is there once."""
    assert text.count(change.text) == 1, f"not once in {change.file}: {change.text}"
    return text.replace(change.text, change.instead)


def find(bug: Bug, first: int = 0) -> Found:
    """Play stories on a bug until one finds it."""
    with tempfile.TemporaryDirectory(prefix="seeded-") as directory:
        tree, seeds = seeded(bug, Path(directory)), range(first, first + STORIES_MAX)
        found = asyncio.run(_find(bug, tree, seeds))
    log(bug.breaks, *(lines(found.told) if found.told else ["    survives"]))
    return found


async def _find(bug: Bug, tree: Path, seeds: range) -> Found:
    stories = 0
    async with aclosing(played(seeds, tree)) as all_told:
        async for told in all_told:
            stories += 1
            if rule := next((it.rule for it in told.faults if it.rule in bug.rules), ""):
                return Found(told, stories, rule)
    return Found(None, stories)


def main(words: str = "", first: str = "0") -> int:
    chosen = [bug for bug in BUGS if words in bug.breaks]
    print(LINE.format("a desk in which", "is found as", "seed", "stories"))
    survivors = 0
    with ProcessPoolExecutor(AT_ONCE) as pool:
        for bug, found in zip(chosen, pool.map(find, chosen, repeat(int(first))), strict=True):
            survivors += found.told is None
            seed = found.told.seed if found.told else ""
            print(LINE.format(bug.breaks, found.rule, seed, found.stories), flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
