"""Repairs damaged append-only files: finds the damage, and changes files, for `store repair`.

The newest state that can be trusted is an earlier one without holes. So a damaged `*.incr.aof` is
cut at its last whole command before the damage, and newer files are left out: their commands
continue what is missing. With `skips` only the damage is left out (store/parts.py), and
store/numbering.py then begins new epochs. The commands of a base file do not depend on each other,
so all whole ones stay.

Rules: called only by the process with the directory's lock, while no store runs there. Nothing is
changed before a copy of it is on disk.
"""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis

from liveblog.blog.problem import UnusableStore
from liveblog.store import aof, commands, inspection, known, numbering
from liveblog.store import directory as files
from liveblog.store.known import Known
from liveblog.store.parts import Gap, Part, gaps, whole_parts

CHECK_NAME: Final = "valkey-check-rdb,redis-check-rdb"
_RDB_END: Final = re.compile(rb"\[offset (\d+)\][^\n]*RDB looks OK")  # in the output of the check
GAPS_SHOWN: Final = 20  # skipped parts of a file that are listed one by one
UNDONE: Final = "deletions, takedowns and revoked sign-ins among the lost changes are undone"
KEY_BYTES_MAX: Final = 200  # more than the name of a blog's key
CHECK_S: Final = 600.0  # limit for the check of a base file, and for a rewrite of all files


@dataclass
class Plan:
    """Lists the damage, and the files that a repair leaves.

    `found`: a sentence for each damage. `parts`: for each file that is to be shortened, the parts
    that stay. `files`: the files of the new manifest; None when the manifest stays. `slugs`: the
    blogs that the skipped parts name.
    """

    directory: Path
    found: list[str] = field(default_factory=list)
    parts: dict[Path, list[tuple[int, int]]] = field(default_factory=dict)
    files: list[aof.File] | None = None
    slugs: set[str] = field(default_factory=set)

    def carry_out(self) -> list[Path]:
        """Copy what changes, change it, and return the copies' paths. Raises OSError.

        After a failure the files that were not changed yet are as before, and the repair can be
        repeated.
        """
        appended = files.appended(self.directory)
        copies = [files.keep(self.directory, path) for path in self.parts]
        unfinished = self.slugs.union(files.unfinished_repair(self.directory) or ())
        files.note_repair(self.directory, unfinished)
        for path, parts in self.parts.items():
            _shorten(path, parts)
        if self.files is not None:
            manifest = appended / aof.MANIFEST
            if manifest.is_file():
                copies.append(files.keep(self.directory, manifest))
            copies += self._set_aside()
            if self.files:
                files.replace(manifest, aof.manifest(self.files))
            else:
                manifest.unlink(missing_ok=True)
        known.forget(self.directory)
        inspection.note_present(self.directory)
        return copies

    def _set_aside(self) -> Iterator[Path]:
        """Move files that the new manifest does not name into the directory of damaged files."""
        stay = {file.name for file in self.files or []}
        for path in sorted(files.appended(self.directory).iterdir()):
            if aof.named(path.name) and path.name not in stay and path.is_file():
                yield files.keep(self.directory, path)
                path.unlink()


def examine(
    directory: Path, binary: Path, arities: Mapping[bytes, int], *, skips: bool = False
) -> Plan:
    """Read all append-only files, and return what is damaged. Raises UnusableStore.

    `binary` is the store's server, which checks a base file in its own format. `arities`:
    as in `aof.scan`. With `skips`, the commands behind damage stay.
    """
    inspection.refuse_wrong_kinds(directory)
    return _Examination(directory, known.read(directory), binary, arities, skips).run()


def arities(url: str) -> dict[bytes, int]:
    """Return the commands that our append-only files can have, as the store knows them.

    Maps a name in upper case to the arity that the store's COMMAND names. Every other command is
    damage: the store may load it, and do something else than the command that was written.
    """
    names = {name.split()[0] for name in commands.commands()}
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        found = client.execute_command("COMMAND INFO", *names, *commands.APPENDED)
    return {
        name.upper(): arity
        for name, arity, flags, *_ in filter(None, found)
        if b"write" in flags or name.upper().decode() in commands.APPENDED
    }


def failures(failed: Sequence[str]) -> list[str]:
    """Return sentences about the commands of the files that fail, which a rewrite leaves out."""
    if not failed:
        return []
    more = [f"{len(failed) - GAPS_SHOWN} more"] if len(failed) > GAPS_SHOWN else []
    return [
        *(f"a command fails and is left out: {it}" for it in [*failed[:GAPS_SHOWN], *more]),
        UNDONE,
    ]


def copies_of(directory: Path) -> list[Path]:
    """Copy all append-only files, and return the copies' paths. Raises OSError."""
    listed = sorted(files.appended(directory).iterdir())
    return [files.keep(directory, it) for it in listed if aof.named(it.name) and it.is_file()]


def rewrite(directory: Path, url: str) -> list[Path]:
    """Have a running store write its files again, and return the paths of copies of the old ones.

    Raises OSError, and UnusableStore when the store cannot write the files.
    """
    copies = copies_of(directory)
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        client.execute_command("BGREWRITEAOF")
        deadline = time.monotonic() + CHECK_S
        while (state := client.info("persistence"))["aof_rewrite_in_progress"]:
            if time.monotonic() > deadline:
                break
            # Ask repeatedly: the store reports no end. The command runs no event loop.
            time.sleep(files.POLL_S)
    if state["aof_rewrite_in_progress"] or state["aof_last_bgrewrite_status"] != "ok":
        raise UnusableStore(
            f"the store cannot write its files again; see {files.log_path(directory)}"
        )
    return copies


@dataclass
class _Examination:
    """Reads the files of one directory, and collects what is damaged in a plan."""

    directory: Path
    note: Known | None
    binary: Path
    arities: Mapping[bytes, int]
    skips: bool

    def __post_init__(self) -> None:
        self._appended = files.appended(self.directory)
        self._plan = Plan(self.directory)

    def run(self) -> Plan:
        listed = self._listed()
        stay = [file for file in listed if file.kind == "base" and self._base(file)]
        stamp = inspection.stamp_of(self._appended / stay[0].name) if stay else None
        commands = [file for file in listed if file.kind == "incr"]
        is_lossy = False
        for file in commands:
            is_whole = self._commands(file, stamp)
            is_lossy = is_lossy or not is_whole
            stay += [] if is_whole is None else [file]
            if not is_whole and not self.skips:
                self._leave_out([it.name for it in commands if it.number > file.number])
                break
        if is_lossy:
            self._found(UNDONE)
        if stay != listed:
            self._plan.files = stay
        return self._plan

    def _listed(self) -> list[aof.File]:
        """Return the files that the manifest names, or should name."""
        path = self._appended / aof.MANIFEST
        try:
            listed = aof.parse_manifest(path.read_bytes())
            left_out = inspection.unnamed(self._appended, listed)
            if not left_out:
                return listed
            self._found(f"{path} does not name {left_out[0]}, which is newer")
        except FileNotFoundError:
            if not inspection.has_data(self._appended):
                return self._nothing()
            self._found(f"{path} is missing")
        except aof.Broken as error:
            self._found(f"{path} cannot be used: {error}")
        except OSError as error:
            raise inspection.unreadable(path, error) from None
        guessed = _guessed(self._appended, self.note)
        self._plan.files = guessed
        self._found(f"a new manifest names {', '.join(file.name for file in guessed) or 'no file'}")
        return guessed

    def _nothing(self) -> list[aof.File]:
        if self.note and any(self.note.sizes.values()):
            lost = sum(self.note.sizes.values())
            self._found(f"{self._appended} is empty: all {lost} bytes of it are lost")
        return []

    def _base(self, file: aof.File) -> bool:
        """Note what is damaged in a base file; return whether a part of it stays."""
        path = self._appended / file.name
        if not path.exists():
            # A store's first base file is empty.
            lost = (
                "had no data" if file.number == 1 else "had the state of all blogs, which is lost"
            )
            self._found(f"{path} is missing: it {lost}")
            return False
        size, was = path.stat().st_size, self._size_of(file)
        if size < was:
            self._found(f"{path} has {size} of {was} bytes: the rest is lost")
        if path.suffix == ".rdb":
            return self._rdb(path)
        parts = self._parts(path, size, has_transactions=False)
        if damaged := size - sum(part.end - part.start for part in parts):
            self._found(f"{path}: {damaged} of {size} bytes are damaged, and are cut out")
            self._plan.parts[path] = [(part.start, part.end) for part in parts]
        return True

    def _rdb(self, path: Path) -> bool:
        """Return whether a base file in the store's own format is whole, by the store's check."""
        check = subprocess.run(  # noqa: S603 - our binary, our arguments, no shell
            # The server is also the program that checks: its name, argv[0], decides.
            [CHECK_NAME, path],
            executable=self.binary,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_S,
            check=False,
        )
        if check.returncode:
            self._found(f"{path} is damaged: nothing of it can be read")
            return False
        end, size = _RDB_END.search(check.stdout), path.stat().st_size
        if end and int(end[1]) < size:  # the check ignores what follows, the store does not
            self._found(f"{path}: {size - int(end[1])} of {size} bytes behind its end are cut off")
            self._plan.parts[path] = [(0, int(end[1]))]
        return True

    def _parts(self, path: Path, size: int, *, has_transactions: bool) -> list[Part]:
        """Return the parts of a file that have whole commands and transactions only."""
        try:
            with path.open("rb", buffering=0) as file:
                return whole_parts(file, size, self.arities, has_transactions=has_transactions)
        except OSError as error:
            raise inspection.unreadable(path, error) from None

    def _commands(self, file: aof.File, stamp: int | None) -> bool | None:
        """Note what is damaged in a file of commands.

        Return whether the file is whole; None when it is missing.
        """
        path, was = self._appended / file.name, self._size_of(file)
        if not path.exists():
            self._found(f"{path} is missing: {was or 'all'} bytes of changes are lost")
            return None
        found = inspection.examined(path, self.note, stamp=stamp, arities=self.arities)
        if found.cut:
            (self._skip if self.skips else self._cut)(found)
        elif found.lost:
            self._found(
                f"{path}: {found.lost} of {was} bytes are missing; changes {found.since()} are lost"
            )
        return not (found.cut or found.lost)

    def _cut(self, newest: inspection.Newest) -> None:
        """Note that a file is cut at its first damage."""
        path, scan = newest.path, newest.scan
        self._found(
            f"{path}: {scan.tail} at byte {scan.whole}: {newest.cut} of {scan.size} bytes are cut "
            f"off; changes {newest.since()} may be lost"
        )
        if scan.next is not None:
            self._found(
                f"whole commands from byte {scan.next} on are cut off with it; to keep them, run "
                "`liveblog store repair --skip`"
            )
        self._plan.parts[path] = [(0, scan.whole)]

    def _skip(self, newest: inspection.Newest) -> None:
        """Note what is skipped in a file, and what stays behind it."""
        path, size = newest.path, newest.scan.size
        parts = self._parts(path, size, has_transactions=True)
        skipped = gaps(parts, size, newest.scan.stamp)
        for gap in skipped[:GAPS_SHOWN]:
            self._found(
                f"{path}: bytes {gap.start} to {gap.end} of {size} are skipped; changes "
                f"{_when(gap)} may be lost"
            )
        if len(skipped) > GAPS_SHOWN:
            lost = sum(gap.end - gap.start for gap in skipped[GAPS_SHOWN:])
            self._found(
                f"{path}: {len(skipped) - GAPS_SHOWN} more parts, {lost} bytes, are skipped"
            )
        stay = sum(part.commands for part in parts)
        behind = sum(part.commands for part in parts if part.start > newest.scan.whole)
        self._found(f"{path}: {stay} commands stay, {behind} of them behind damage")
        self._plan.parts[path] = [(part.start, part.end) for part in parts]
        self._plan.slugs |= _slugs_in(path, skipped)

    def _leave_out(self, names: Sequence[str]) -> None:
        for name in names:
            self._found(f"{self._appended / name} continues what is lost, and is left out")

    def _size_of(self, file: aof.File) -> int:
        return self.note.sizes.get(file.name, 0) if self.note else 0

    def _found(self, sentence: str) -> None:
        self._plan.found.append(sentence)


def _guessed(appended: Path, note: Known | None) -> list[aof.File]:
    """Return the files of a lost manifest: the noted ones if these are still the newest.

    Otherwise the newest base file and what continues it. While two base files are there, a rewrite
    had just made the newer one, and only the newest other file continues it.
    """
    there = sorted(
        (file for path in appended.iterdir() if (file := aof.named(path.name))),
        key=lambda file: (file.kind, file.number),
    )
    noted = aof.parse_manifest(note.manifest.encode()) if note else []
    if noted and noted[-1:] == there[-1:] and set(noted) <= set(there):
        return noted
    bases = [file for file in there if file.kind == "base"]
    rest = [file for file in there if file.kind == "incr"]
    return bases[-1:] + (rest[-1:] if len(bases) > 1 else rest)


def _when(gap: Gap) -> str:
    """Return the time of what a gap had, by the times around it."""
    after = f"after {inspection.instant(gap.since)}" if gap.since else ""
    before = f"before {inspection.instant(gap.until)}" if gap.until else ""
    return " and ".join(filter(None, (after, before))) or "of an unknown time"


def _slugs_in(path: Path, skipped: Sequence[Gap]) -> set[str]:
    """Return the blogs that the skipped parts of a file name; overlapping blocks cut no name."""
    slugs = set[str]()
    with path.open("rb") as file:
        for gap in skipped:
            for at in range(gap.start, gap.end, aof.BLOCK_BYTES):
                file.seek(at)
                end = min(at + aof.BLOCK_BYTES + KEY_BYTES_MAX, gap.end)
                slugs |= numbering.slugs_in(file.read(end - at))
    return slugs


def _shorten(path: Path, parts: Sequence[tuple[int, int]]) -> None:
    """Replace a file by parts of it, in one step."""
    fresh = path.with_name(f"{aof.TEMPORARY}{path.name}")
    with path.open("rb") as source, files.open_private(fresh, "wb") as target:
        for start, end in parts:
            source.seek(start)
            for at in range(start, end, aof.BLOCK_BYTES):
                target.write(source.read(min(aof.BLOCK_BYTES, end - at)))
        target.flush()
        os.fsync(target.fileno())
    fresh.replace(path)
    files.sync_directory(path.parent)
