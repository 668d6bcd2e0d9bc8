"""The drain's handling of signals; tests/integration/test_workers.py drains real servers."""

import asyncio
import signal
from collections.abc import Iterator

import pytest
from kit.sources import FakeStore, make_hub
from kit.waiting import until

from liveblog.live.direct import DirectTransport
from liveblog.live.door import Door
from liveblog.live.drain import draining_first


@pytest.fixture(autouse=True)
def _own_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


async def test_first_signal_drains_and_the_second_reaches_the_servers_handler() -> None:
    hub, caught = make_hub(FakeStore()), list[int]()
    signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    deaf = asyncio.Event()
    with draining_first(DirectTransport(Door(hub)), 60, 0, deaf.set):
        signal.raise_signal(signal.SIGTERM)
        assert (hub.draining, caught) == (True, [])
        signal.raise_signal(signal.SIGTERM)
        assert caught == [signal.SIGTERM]
    assert not deaf.is_set()
    await asyncio.sleep(0)
    await hub.close()


async def test_servers_handler_is_called_after_the_drain() -> None:
    hub, caught = make_hub(FakeStore()), list[int]()
    signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    with draining_first(DirectTransport(Door(hub)), 0, 0, lambda: None):
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: caught == [signal.SIGTERM])


async def test_signal_keeps_its_default_when_the_server_does_not_handle_it() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with draining_first(DirectTransport(Door(make_hub(FakeStore()))), 0, 0, lambda: None):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
