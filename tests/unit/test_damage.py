"""The log of damaged records."""

import pytest
from kit.alone import Seconds

from liveblog import seldom
from liveblog.blog.model import DamagedEntry, Entry
from liveblog.store import damage as damages
from liveblog.store.damage import DamageLog


def test_log_names_blog_and_entry_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Seconds()
    log = DamageLog(clock)
    read = [Entry(id="e000000000001"), DamagedEntry(id="e000000000002")]
    for _ in range(3):
        log.entries("council", read)
        log.members("council", "order", [b"\xff"])
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("blog council: entry e000000000002 is damaged")
    clock.now += seldom.AGAIN_S
    log.entries("council", read)
    assert len(caplog.messages) == 3


def test_log_is_bounded_when_many_records_are_damaged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damages, "NOTED_MAX", 3)
    clock = Seconds()
    log = DamageLog(clock)
    for n in range(10):
        log.note("council", f"entry {n}", "why")
    assert len(caplog.messages) == 3
    clock.now += seldom.AGAIN_S
    log.note("council", "entry 9", "why")
    assert len(caplog.messages) == 4
