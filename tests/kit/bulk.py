"""Many blogs in a store, written within seconds: copies of one blog that the program wrote.

A copy has the records, indexes and chain of checks that the program would have written for it.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from liveblog.store.codec import key

AT_ONCE: Final = 250  # blogs in one pipeline
INDEX: Final = "lb:blogs"


async def copy_blog(client: Any, slug: str, slugs: Sequence[str]) -> None:
    """Write a copy of the blog `slug` under each of `slugs`.

    Raises ValueError when a change of the blog was replaced by a later one: the chain of checks can
    only be computed when the store still has the record of each change.
    """
    original = await _Original.read(client, slug)
    for start in range(0, len(slugs), AT_ONCE):
        pipeline = client.pipeline(transaction=False)
        for each in slugs[start : start + AT_ONCE]:
            original.write(pipeline, each)
        await pipeline.execute()


class _Original:
    """The keys of one blog, as read from the store."""

    def __init__(self, slug: str, blog: dict[bytes, bytes], entries: dict[bytes, bytes]) -> None:
        self._slug, self._blog, self._entries = slug, blog, entries
        self._zsets: dict[str, list[tuple[bytes, float]]] = {}
        self._touched = 0.0

    @classmethod
    async def read(cls, client: Any, slug: str) -> "_Original":
        blog = await client.hgetall(key(slug, "blog"))
        read = cls(slug, blog, await client.hgetall(key(slug, "entries")))
        for name in ("changed", "order", "marked"):
            read._zsets[name] = await client.zrange(key(slug, name), 0, -1, withscores=True)
        read._touched = await client.zscore(INDEX, slug)
        if len(read._zsets["changed"]) != int(blog[b"offset"]):
            raise ValueError(f"{slug} has changes whose records were replaced")
        return read

    def write(self, pipeline: Any, slug: str) -> None:
        header = self._blog[b"header"].replace(
            b'"slug":"%b"' % self._slug.encode(), b'"slug":"%b"' % slug.encode()
        )
        chain = self._chain(header)
        blog = {**self._blog, b"header": header, b"check": chain[-8:]}
        pipeline.hset(key(slug, "blog"), mapping=blog)
        pipeline.set(key(slug, "chain"), chain)
        if self._entries:
            pipeline.hset(key(slug, "entries"), mapping=self._entries)
        for name, members in self._zsets.items():
            if members:
                pipeline.zadd(key(slug, name), dict(members))
        pipeline.zadd(INDEX, {slug: self._touched})

    def _chain(self, header: bytes) -> bytes:
        """Return the checks of all changes, 8 hex digits each."""
        check, chain = self._blog[b"epoch"], b""
        for id, _ in self._zsets["changed"]:
            record = header if id == b"#blog" else self._entries[id]
            hashed = hashlib.sha1(check + record, usedforsecurity=False)
            check = hashed.hexdigest()[:8].encode()
            chain += check
        return chain
