"""Run a store in a directory and write numbers to it; print each number that the store confirms.

test_store.py runs this program: `owner.py DIRECTORY BINARY`. Its first line is the number of the
store's process.
On SIGINT it writes AFTER_SIGINT numbers more, prints "drained" and ends.
"""

import signal
import sys
from itertools import count
from pathlib import Path
from types import FrameType

import redis

from liveblog.store import embedded as store

AFTER_SIGINT = 50

interrupted = False


def on_sigint(number: int, frame: FrameType | None) -> None:
    global interrupted
    interrupted = True


def write(client: redis.Redis, number: int) -> None:
    pipeline = client.pipeline(transaction=True)
    pipeline.set(f"key:{number}", number)
    pipeline.publish("numbers", number)
    pipeline.execute()
    print(number, flush=True)


def main(directory: str, binary: str) -> None:
    signal.signal(signal.SIGINT, on_sigint)
    with store.own(Path(directory), binary=Path(binary)) as url:
        client = redis.Redis.from_url(url)
        print(client.info("server")["process_id"], flush=True)
        for number in count():
            write(client, number)
            if interrupted:
                break
        for more in range(AFTER_SIGINT):
            write(client, number + 1 + more)
    print("drained", flush=True)


main(*sys.argv[1:])
