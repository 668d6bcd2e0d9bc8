"""The wall clock.

Rules: only app.py and the commands import `now_ms`; all other code gets `now_ms` as an argument, so
that a test can pass its own.
"""

import time


def now_ms() -> int:
    """Return the wall clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
