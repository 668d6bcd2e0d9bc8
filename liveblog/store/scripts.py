"""The Lua scripts of the store, which are files beside this module.

Rules: sends nothing.
"""

from importlib.resources import files
from typing import Final

from liveblog.blog.problem import RefusalCause, StoreRefuses
from liveblog.store.commands import is_for_subscriptions

_FILES: Final = files("liveblog.store")
FORBIDDEN: Final = b"forbidden"  # the first part of the reply of a script that may not write


def reading(name: str) -> str:
    """Return the text of a script that writes nothing, without comments.

    Each call sends the text, and the store hashes the text.
    """
    lines = _FILES.joinpath(f"{name}.lua").read_text().splitlines()
    return "\n".join(it for it in lines if it.strip() and not it.lstrip().startswith("--")) + "\n"


def writing(name: str) -> str:
    """Return the text of a script that writes, with permission.lua before it."""
    return reading("permission") + reading(name)


def permitted(text: str, *, frees_memory: bool = False) -> str:
    """Return a script that runs the `commands` of `text`, or none when one is forbidden.

    The script returns `done`, a variable of `text`, when it has run them. A script that
    `frees_memory` also runs while the store's memory is full.
    """
    flags = "#!lua flags=allow-oom" if frees_memory else "#!lua"
    permission = reading("permission").replace("#!lua", flags, 1)
    return f"{permission}{text}\nreturn run_if_permitted(commands, done)\n"


def check_permitted(reply: object) -> None:
    """Raise StoreRefuses when a script replies that the store's user may not run a command."""
    if isinstance(reply, list) and reply[:1] == [FORBIDDEN]:
        command = reply[1].decode(errors="backslashreplace")
        is_pubsub = is_for_subscriptions(command)
        cause: RefusalCause = "subscriptions" if is_pubsub else "permission"
        raise StoreRefuses(cause, f"NOPERM the store's user may not run {command}")
