"""Every command that the program sends to the store, with the kind of key or channel of each.

A store's user who may run all of them can do everything. condition.py checks this twice a second,
so that a store that forbids one of them does not count as up.

Rules: pure. A test compares the names with the sources of this package; another does everything as
a user who may run nothing else.
"""

from typing import Final

# The other commands in an append-only file: what the store writes for a transaction, for a time to
# live, and at a rewrite; what a repair of the files sends; and what copies keys from another store.
APPENDED: Final = frozenset(
    {
        "MULTI",
        "EXEC",
        "SELECT",
        "PEXPIREAT",
        "UNLINK",
        "RPUSH",
        "HMSET",
        "ZREMRANGEBYSCORE",
        "RESTORE",
    }
)

# The program works without these, so the check leaves them out: promise.py and eraser.py go on
# without INFO, CONFIG and BGREWRITEAOF. The check itself is an EVAL.
UNCHECKED: Final = frozenset({"INFO", "CONFIG", "BGREWRITEAOF", "EVAL"})

# By kind of key: the commands on such a key. In place of `{0}` the program writes a hash tag, such
# as a blog's slug, and in place of `x` an id or a hash.
_ON_KEYS: Final = {
    "lb:{0}:blog": "HSET HGET HMGET EXISTS TYPE DEL",
    "lb:{0}:entries": "HSET HGET HMGET TYPE DEL HKEYS",
    "lb:{0}:drafts": "HSET HDEL HGET HGETALL HLEN TYPE DEL HKEYS",
    "lb:{0}:changed": "ZADD ZRANGE ZREVRANGE ZSCORE ZMSCORE TYPE DEL ZREM ZREVRANGEBYSCORE",
    "lb:{0}:order": (
        "ZADD ZREM ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZSCORE TYPE DEL ZRANGE ZCARD"
    ),
    "lb:{0}:marked": "ZADD ZREM ZREVRANGE TYPE DEL ZRANGE ZCARD ZSCORE",
    "lb:{0}:due": "ZADD ZREM ZRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZCARD TYPE DEL ZSCORE",
    "lb:{0}:chain": "APPEND GETRANGE STRLEN TYPE DEL SET GET",
    "lb:{0}:rev:x": "LPUSH LTRIM LPOP LREM LPOS DEL PEXPIRE PERSIST PTTL LRANGE LINDEX LLEN TYPE",
    "lb:{0}:idem:x": "SET EXPIRE GET EXISTS TYPE",
    "lb:{0}:bin": "ZADD ZREM PERSIST PTTL ZRANGEBYSCORE ZREVRANGE ZCOUNT ZSCORE TYPE DEL",
    "lb:{0}:rebuilt": "HSET EXPIRE DEL HGETALL TYPE",
    "lb:{0}:bin:x": "SET DEL GET TYPE",
    "lb:{0}:kept:x": "SET GET DEL EXISTS",
    "lb:{0}:kept-by:x": "ZADD ZREM ZSCORE ZCARD ZRANGE ZREVRANGE PEXPIRE TYPE DEL",
    "lb:{0}:kept-of:x": "SADD SREM SMEMBERS PEXPIRE DEL TYPE",
    "lb:due:{0}": "ZADD ZREM ZRANGEBYSCORE ZSCORE EXISTS TYPE DEL",
    "lb:due:{0}:added": "HSET HDEL HGET TYPE DEL",
    "lb:blogs": "ZADD ZREM ZREVRANGE ZREVRANK ZCOUNT ZSCORE ZMSCORE TYPE DEL",
    "lb:live:{lb:blogs}": "ZADD ZREM ZREVRANGE ZREVRANK ZCOUNT ZSCORE ZMSCORE TYPE DEL",
    "lb:sweep:x": "SET EXPIRE GET TTL EXISTS DEL",
    "lb:rewrites": "HSET HSETNX HDEL HGET HGETALL TYPE DEL",
    "lb:rewriting": "HSET HGET TYPE DEL",
    "lb:users": "HSET HSETNX HGET HGETALL EXISTS",
    "lb:{tokens}:names": "HSET HDEL HGET HGETALL",
    "lb:{tokens}:secrets": "HSET HDEL HGET HGETALL HEXISTS",
    "lb:session:x": "SET GETEX DEL GET",
    "lb:rate:x": "INCR DECR PEXPIRE GET PTTL DEL",
}
# The words after the key, which only make a command complete.
_REST: Final = {
    **dict.fromkeys(("HGET", "HMGET", "HDEL", "HEXISTS", "ZREM", "ZSCORE", "ZMSCORE"), "x"),
    **dict.fromkeys(("ZREVRANK", "LPUSH", "LPOS", "APPEND", "SET", "SADD", "SREM"), "x"),
    **dict.fromkeys(("HSET", "HSETNX"), "x x"),
    **dict.fromkeys(("ZRANGE", "ZREVRANGE", "LRANGE", "LTRIM", "GETRANGE", "ZCOUNT"), "0 1"),
    **dict.fromkeys(("ZRANGEBYSCORE", "ZREVRANGEBYSCORE"), "0 1"),
    **dict.fromkeys(("EXPIRE", "PEXPIRE"), "1"),
    "ZADD": "1 x",
    "LREM": "1 x",
    "LINDEX": "0",
    "GETEX": "EX 1",
}
_WITHOUT_KEY: Final = ("TIME", "MULTI", "EXEC", "SCAN 0")
# The probe of follow.py has a channel of its own.
_CHANNELS: Final = ("lb:{0}:changes", "lb:probe:x")
_CLUSTER_CHANNELS: Final = ("lb:{0}:changes", "lb:{0}:probe:x")


def commands(*, is_cluster: bool = False, waits: bool = False) -> list[str]:
    """Return each command, its words divided by spaces; those of pub/sub come last.

    `waits`: the program waits for a replica's confirmation of each write.
    """
    on_keys = [
        f"{name} {key} {_REST.get(name, '')}".rstrip()
        for key, names in _ON_KEYS.items()
        for name in names.split()
    ]
    waiting = ["WAIT 1 1"] if waits else []
    of_cluster = ["CLUSTER SLOTS"] if is_cluster else []
    return [*on_keys, *_WITHOUT_KEY, *waiting, *of_cluster, *_pubsub(is_cluster)]


def _pubsub(is_cluster: bool) -> list[str]:
    sharded, channels = ("S", _CLUSTER_CHANNELS) if is_cluster else ("", _CHANNELS)
    return [
        f"{sharded}{name} {channel} {'x' if name == 'PUBLISH' else ''}".rstrip()
        for channel in channels
        for name in ("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE")
    ]


def is_for_subscriptions(command: str) -> bool:
    """Return whether only subscriptions need a command; all else needs it for writes or reads."""
    name, *more = command.split()
    return "SUBSCRIBE" in name or any(":probe:" in word for word in more)
