"""The system's limit of open files; every connection is an open file."""

from typing import Final

KEPT_FILES: Final = 500  # for everything except readers
READERS_MIN: Final = 100  # admitted even when the limit is lower


def raise_file_limit() -> None:
    """Raise this process' limit of open files to the highest value that the system allows."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def readers_max() -> int:
    """Return how many readers the limit allows: its files less KEPT_FILES; 0 without a limit."""
    try:
        import resource
    except ImportError:
        return 0
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(READERS_MIN, soft - KEPT_FILES)
