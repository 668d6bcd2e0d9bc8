"""The Lua scripts of the store, which are files beside this module.

Rules: sends nothing.
"""

from importlib.resources import files
from typing import Final

from liveblog.blog.problem import RefusalCause, StoreRefuses

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


def permitted(text: str) -> str:
    """Return a script that runs the `commands` of `text`, or none when one is forbidden."""
    return f"""{reading("permission")}{text}
local refused = forbidden(commands)
if refused then
  return {{ "forbidden", refused }}
end
run(commands)
"""


def check_permitted(reply: object) -> None:
    """Raise StoreRefuses when a script replies that the store's user may not run a command."""
    if isinstance(reply, list) and reply[:1] == [FORBIDDEN]:
        command = reply[1].decode(errors="backslashreplace")
        is_write = "SUBSCRIBE" not in command.split()[0]
        cause: RefusalCause = "permission" if is_write else "subscriptions"
        raise StoreRefuses(cause, f"NOPERM the store's user may not run {command}")
