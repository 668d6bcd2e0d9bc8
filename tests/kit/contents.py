"""All contents of a store as one value, so that a test can show that nothing was written."""

from typing import Any

from redis.asyncio import Redis


async def contents(client: Redis) -> dict[str, Any]:
    """Return every key with its value; `client` must return bytes.

    DUMP is not used, because its bytes change while the server resizes a hash.
    """
    found: dict[str, Any] = {}
    async for key in client.scan_iter(count=1_000):
        found[key.decode()] = await _value(client, key)
    return found


async def _value(client: Any, key: bytes) -> Any:
    match await client.type(key):
        case b"string":
            return await client.get(key)
        case b"hash":
            return await client.hgetall(key)
        case b"zset":
            return await client.zrange(key, 0, -1, withscores=True)
        case b"set":
            return await client.smembers(key)
        case b"list":
            return await client.lrange(key, 0, -1)
        case other:
            raise AssertionError(f"{key!r} is a {other!r}, a type that liveblog does not write")
