"""The texts that are left at the end of a story: in the store, and in a browser's boxes and offers.

Rules: reads the store by the API, a browser by its page and its own storage.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from kit.hand import Look
from kit.ledger import Stored, words_of
from kit.servers import Editor

STATUSES: Final = ("published", "retracted", "draft", "scheduled", "submitted")


async def read_store(calls: Editor, slug: str) -> Stored:
    """Restore a blog's deleted entries; return all versions of its entries and its header.

    A deleted entry has no earlier versions to read.
    """
    for it in (await calls.ok("GET", f"/{slug}/bin"))["entries"]:
        await calls.ok("POST", f"/{slug}/entries/{it['id']}/restore")
    entries: dict[str, Any] = {}
    for status in STATUSES:
        page = await calls.ok("GET", f"/{slug}/entries?status={status}&limit=100")
        entries |= {it["id"]: it for it in page["entries"]}
    newest = [await calls.ok("GET", f"/{slug}"), *entries.values()]
    earlier, _ = await _earlier(calls, f"/{slug}")
    authors: dict[str, str] = {}
    for id in entries:
        versions, authors[id] = await _earlier(calls, f"/{slug}/entries/{id}")
        earlier += versions
    return Stored([*entries.values()], words_of(newest), words_of(earlier), authors)


async def _earlier(calls: Editor, path: str) -> tuple[list[Any], str]:
    """Return the earlier versions of a header or an entry, and the author of the first one."""
    versions = (await calls.ok("GET", f"{path}/revisions?limit=100"))["revisions"]
    numbers = [it["revision"] for it in versions[1:]]
    earlier = [await calls.ok("GET", f"{path}/revisions/{number}") for number in numbers]
    return earlier, str(versions[-1]["author"])


def offered(look: Look, records: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the texts that a page shows in boxes, in cards or as offers, and those it does not.

    The page names an offer by its first words only, so the browser's own record has the rest.
    """
    names = [_plain(it) for it in look.offers]
    shown = [*look.boxes]
    hidden: list[str] = []
    for record in records:
        texts = [it for it in words_of(record.get("values")) if it]
        in_boxes = all(any(text in box for box in look.boxes) for text in _long(texts))
        is_shown = record["id"][2] == "sent" or in_boxes or _take(names, texts)
        (shown if is_shown else hidden).extend(texts)
    return shown, hidden


def _long(texts: Sequence[str]) -> list[str]:
    """Return the texts that somebody typed; the others are states of boxes."""
    return [it for it in texts if " " in it]


def _take(names: list[str], texts: Sequence[str]) -> bool:
    """Return whether one of the names is the first words of a text; remove this name."""
    lines = [_plain(text) for text in texts]
    found = next((it for it in names if it and any(line.startswith(it) for line in lines)), None)
    if found:
        names.remove(found)
    return bool(found)


def _plain(text: str) -> str:
    """Return the first line of a text without the sign of an abbreviation."""
    return re.sub(r"…$", "", text.strip().split("\n")[0]).strip()
