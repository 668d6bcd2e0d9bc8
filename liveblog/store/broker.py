"""The broker: access to the blogs in Redis, one part for each task.

Editors' code writes through `writes` and reads `blogs`, `entries`, `revisions` and `bin`; the hub
reads `source`; the schedule reads `due` and runs `eraser`. Each worker runs `sweep`. `condition`
knows whether the store accepts writes. `kept` has editors' unsent texts.

Rules: only creates the parts. A part knows no hubs, readers or HTTP.
"""

from liveblog.store.agenda import Agenda
from liveblog.store.bin import Bin
from liveblog.store.blogs import Blogs
from liveblog.store.condition import Condition
from liveblog.store.damage import DamageLog
from liveblog.store.due import DueEntries
from liveblog.store.entries import Entries
from liveblog.store.eraser import Eraser
from liveblog.store.kept import KeptTexts
from liveblog.store.listing import Listing
from liveblog.store.nodes import Nodes
from liveblog.store.rebuilding import Rebuilding
from liveblog.store.revisions import EarlierRevisions
from liveblog.store.source import StoreSource
from liveblog.store.sweep import Sweep
from liveblog.store.writes import Writes


class Broker:
    """Creates the parts of the broker as its attributes. `nodes` are the store's servers.

    The class `Writes` explains `wait_for_replica`, the class `Condition` explains `needs_disk`.
    """

    def __init__(
        self, nodes: Nodes, *, wait_for_replica: bool = False, needs_disk: bool = False
    ) -> None:
        listing, agenda, damage = Listing(nodes), Agenda(nodes), DamageLog()
        self.rebuilding = rebuilding = Rebuilding(nodes, agenda, damage)
        self.condition = Condition(nodes, needs_disk=needs_disk, needs_replica=wait_for_replica)
        self.blogs = Blogs(nodes, listing, rebuilding, damage)
        self.entries = Entries(nodes, rebuilding, damage)
        self.revisions = EarlierRevisions(nodes, damage)
        self.writes = Writes(nodes, listing, agenda, self.condition, rebuilding, wait_for_replica)
        self.source = StoreSource(nodes, self.blogs, self.entries, self.condition, rebuilding)
        self.due = DueEntries(nodes, agenda, rebuilding)
        self.bin, self.eraser = Bin(nodes, rebuilding), Eraser(nodes)
        self.sweep = Sweep(nodes, self.blogs, listing, agenda, self.bin, self.eraser)
        self.kept = KeptTexts(nodes)
