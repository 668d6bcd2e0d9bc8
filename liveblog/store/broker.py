"""The broker: access to the blogs in Redis, one part for each task.

Editors' code writes through `writes` and reads `blogs` and `entries`; the hub reads `source`; the
schedule reads `due` and runs `eraser`.

Rules: only creates the parts. A part knows no hubs, readers or HTTP.
"""

from liveblog.store.blogs import Blogs
from liveblog.store.damage import DamageLog
from liveblog.store.due import DueEntries
from liveblog.store.entries import Entries
from liveblog.store.eraser import Eraser
from liveblog.store.nodes import Nodes
from liveblog.store.source import StoreSource
from liveblog.store.writes import Writes


class Broker:
    """Creates the parts of the broker as its attributes. `nodes` are the store's servers.

    The class `Writes` explains `wait_for_replica`.
    """

    def __init__(self, nodes: Nodes, *, wait_for_replica: bool = False) -> None:
        damage = DamageLog()
        self.blogs = Blogs(nodes, damage)
        self.entries = Entries(nodes, damage)
        self.writes = Writes(nodes, self.blogs, wait_for_replica)
        self.source = StoreSource(nodes, self.blogs, self.entries)
        self.due = DueEntries(nodes, self.blogs)
        self.eraser = Eraser(nodes)
