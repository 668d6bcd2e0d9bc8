"""Access of other users to a data directory: closes its files, warns of modes and owners.

Rules: passwords' hashes and drafts are for the user that runs liveblog alone.
"""

import contextlib
import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from liveblog.store import directory as files

_RIGHTS: Final = ((0o044, "read"), (0o022, "write"), (0o011, "enter"))

log = logging.getLogger(__name__)


def tighten(directory: Path) -> None:
    """Close the store's files to other users; warn when others have access to the directory.

    The directory's own mode stays: an operator may share the directory on purpose.
    """
    ours = files.ours(directory)
    for path in ours:
        # An error means another user's file; the store reports it if it matters.
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode & files.OTHERS and not path.is_symlink():
                path.chmod(mode & ~files.OTHERS)
    _warn_of_mode(directory)
    _warn_of_owners([directory, *ours])


def _warn_of_mode(directory: Path) -> None:
    """Warn when other users may use a directory, with what its mode lets them do."""
    mode = stat.S_IMODE(directory.stat().st_mode)
    rights = [word for bits, word in _RIGHTS if mode & bits]
    if rights:
        log.warning(
            "DATA_DIR %s: other users may %s it (mode %o); run `chmod 700` unless that is wanted",
            directory, " and ".join(rights), mode,
        )  # fmt: skip


def _warn_of_owners(paths: Sequence[Path]) -> None:
    """Warn of the first path that belongs to another user: the owner may read and replace it."""
    for path in paths:
        with contextlib.suppress(OSError):  # removed meanwhile
            if (owner := path.stat().st_uid) != os.geteuid():
                log.warning(
                    "DATA_DIR: %s belongs to user %s, but liveblog runs as %s; that user may read "
                    "and replace the store's files; run `chown -R` unless that is wanted",
                    path, _user(owner), _user(os.geteuid()),
                )  # fmt: skip
                return


def _user(number: int) -> str:
    """Return a user's name; the number when the user has no name."""
    import pwd  # imported here: Windows lacks pwd, but must be able to import this module

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
