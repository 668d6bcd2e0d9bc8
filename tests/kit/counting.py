"""A worker without readers, which counts what standard input tells it to count.

A line is JSON: `{"readers": 3, "deliveries": 5, "seconds": 0.002, "store_up": true}`, all optional,
is counted and copied; `null` asks for the text. Each is answered with a line of JSON.
"""

import json
import sys

from kit.sources import FakeStore, make_hub
from liveblog.live.door import Door
from liveblog.live.metrics import Metrics


def main() -> None:
    door = Door(make_hub(FakeStore()))
    metrics = Metrics(door)
    for line in sys.stdin:
        told = json.loads(line)
        if told is not None:
            _count(door, told)
        text = metrics.text()
        print(json.dumps(text.decode() if told is None else "counted"), flush=True)


def _count(door: Door, told: dict[str, float]) -> None:
    hub = door.hub
    door.readers["websocket"] = int(told.get("readers", door.readers["websocket"]))
    hub.counts.deliveries += int(told.get("deliveries", 0))
    hub.store.up = bool(told.get("store_up", hub.store_up))
    if "seconds" in told:
        hub.on_pass(told["seconds"])


if __name__ == "__main__":
    main()
