"""The format of the log: text for people or JSON for machines, on standard error.

Rules: standard library logging only. No line contains a reader's address or query string;
a warning about limits names the address of a likely proxy.
"""

import json
import logging
import logging.config
from datetime import UTC, datetime
from typing import Any, Final

from liveblog.settings import Settings

# The attributes of every LogRecord. All others came with `extra=` and go into the JSON line.
_USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "asctime",
    "color_message",
    "message",
    "taskName",
}

_OF_ONE_SOCKET: Final = (
    "connection open",
    "connection closed",
    "connection rejected",
    "Invalid UTF-8 sequence received",
)


def configuration(settings: Settings) -> dict[str, Any]:
    """Return the dictionary for logging.config; uvicorn passes it to its workers."""
    level = settings.log_level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"sockets": {"()": "liveblog.log.NoSockets"}},
        "formatters": {"form": {"()": f"liveblog.log.{settings.log_format.capitalize()}"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "form",
                "filters": ["sockets"],
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "uvicorn": {"level": level},
            "uvicorn.error": {"level": level},
            "uvicorn.access": {"level": "CRITICAL", "propagate": False},
        },
    }


def configure_logging(settings: Settings) -> None:
    """Configure the log of this process by the settings."""
    logging.config.dictConfig(configuration(settings))


class NoSockets(logging.Filter):
    """Drops the records of uvicorn and websockets about a single socket.

    Both libraries log each accepted socket with its query string, each closed socket, and a
    traceback for each frame that is not UTF-8. Reconnecting readers cause thousands of records a
    second.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a record about a single socket."""
        text = str(record.msg)
        return '"WebSocket %s"' not in text and not text.startswith(_OF_ONE_SOCKET)


class Text(logging.Formatter):
    """Formats a record as one line: instant, level, logger, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(  # noqa: N802 - the standard library's name
        self,
        record: logging.LogRecord,
        datefmt: str | None = None,  # noqa: ARG002 - the base class has this argument
    ) -> str:
        """Return the record's instant in RFC 3339 form, in UTC with milliseconds."""
        return _instant(record)


class Json(logging.Formatter):
    """Formats a record as one JSON object a line; members of `extra=` are members of the object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, Any] = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _instant(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
