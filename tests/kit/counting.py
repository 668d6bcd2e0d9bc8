"""A worker without readers, for tests of metrics. JSON on standard input changes its counters.

In `{"readers": 3, "deliveries": 5, "seconds": 0.002, "store_up": true}` every field is optional.
`deliveries` and `seconds` are added to the counters, `readers` and `store_up` replace a value. The
line `null` requests the metrics as text. The worker answers each input line with one line of JSON.
"""

import json
import sys

from kit.sources import FakeStore, make_hub
from liveblog.live.door import Door
from liveblog.live.metrics import Metrics
from liveblog.live.plain import PlainConnections


def main() -> None:
    door = Door(make_hub(FakeStore()))
    metrics = Metrics(door, PlainConnections())
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
    hub.store.state = "up" if told.get("store_up", hub.store_up) else "down"
    if "seconds" in told:
        hub.on_pass(told["seconds"])


if __name__ == "__main__":
    main()
