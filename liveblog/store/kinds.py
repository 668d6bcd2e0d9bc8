"""The kinds of files: refuses a path where something else is than the program needs.

A FIFO in the place of a file blocks the process that opens it, and a device loses what is written.

Rules: opens no file. Follows symbolic links, since an operator may keep a file elsewhere.
"""

import errno
import stat
from pathlib import Path
from typing import Final

from liveblog.blog.problem import UnusableStore

DIRECTORY: Final = "a directory"
FILE: Final = "a regular file"

_NAMES: Final = {
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFREG: FILE,
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def kind_of(path: Path) -> str:
    """Return the kind of what is at a path, in words; "" when nothing is there.

    Raises UnusableStore when the system does not say.
    """
    try:
        return _NAMES.get(stat.S_IFMT(path.stat().st_mode), "of an unknown kind")
    except FileNotFoundError:
        return f"a symbolic link to nothing ({path.readlink()})" if path.is_symlink() else ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a symbolic link to itself"
        raise UnusableStore(f"{path} cannot be read: {error.strerror}") from None


def check(path: Path, wanted: str, remedy: str = "move it elsewhere") -> None:
    """Raise UnusableStore, with a remedy, when something of another kind is at a path."""
    found = kind_of(path)
    if found and found != wanted:
        raise UnusableStore(f"{path} is {found}, not {wanted}; {remedy}")
