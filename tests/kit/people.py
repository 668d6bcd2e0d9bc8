"""A clock that tests set, and cheap password hashes, for tests of accounts."""

from typing import Final

import pytest
from argon2 import PasswordHasher

from liveblog.store import passwords

NOW: Final = 1_800_000_000_000  # milliseconds since 1970


class Clock:
    """Returns `ms`, which starts at NOW."""

    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms


def cheapen_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords with 8 KiB and one pass; the real cost is 64 MiB and 0.1 s of two cores."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    decoy = cheap.hash("decoy")
    monkeypatch.setattr(passwords, "_hasher", lambda: cheap)
    monkeypatch.setattr(passwords, "_decoy", lambda: decoy)
