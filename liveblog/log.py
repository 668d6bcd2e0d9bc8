"""The format of the log: text for people or JSON for machines, on standard error.

Rules: standard library logging only. No line contains a reader's address or query string;
a warning about limits names the address of a likely proxy.
"""

import json
import logging
import logging.config
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
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


AGAIN_S: Final = 60.0  # time before the traceback of the same cause is logged again
SHORT_MAX: Final = 10  # lines without a traceback about one cause in that time
CAUSES_MAX: Final = 100  # causes that the log remembers; the oldest are forgotten


def configuration(settings: Settings) -> dict[str, Any]:
    """Return the dictionary for logging.config; uvicorn passes it to its workers."""
    level = settings.log_level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "sockets": {"()": "liveblog.log.NoSockets"},
            "tracebacks": {"()": "liveblog.log.Tracebacks"},
        },
        "formatters": {"form": {"()": f"liveblog.log.{settings.log_format.capitalize()}"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr",
                "formatter": "form",
                "filters": ["sockets", "tracebacks"],
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


class Tracebacks(logging.Filter):
    """Keeps one traceback of each cause in AGAIN_S, then SHORT_MAX lines without one.

    A cause is the type of an exception and the line that raised it. Further records of the cause
    are dropped and counted; the next traceback of the cause has their number. Critical records
    stay as they are: they say why the process ends. `now` returns monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._seen: dict[tuple[str, str, int], _Seen] = {}  # the oldest traceback first

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a record to drop; shorten a record whose traceback is known."""
        if not isinstance(record.exc_info, tuple) or record.exc_info[1] is None:
            return True
        if record.levelno >= logging.CRITICAL:
            return True
        cause = _cause(record.exc_info[1], record.exc_info[2])
        seen = self._seen.get(cause)
        if seen is None or self._now() - seen.at_s >= AGAIN_S:
            self._begin(cause, seen, record)
            return True
        seen.count += 1
        if seen.count <= SHORT_MAX:
            end = "; more are only counted" if seen.count == SHORT_MAX else ""
            _shorten(record, record.exc_info[1], f"traceback above{end}")
        return seen.count <= SHORT_MAX

    def _begin(
        self, cause: tuple[str, str, int], before: "_Seen | None", record: logging.LogRecord
    ) -> None:
        """Note a traceback that is kept, with the number of records dropped since the last."""
        dropped = max(0, before.count - SHORT_MAX) if before else 0
        if dropped:
            record.msg, record.args = f"{record.getMessage()} ({dropped} more before)", ()
        self._seen.pop(cause, None)
        if len(self._seen) >= CAUSES_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[cause] = _Seen(self._now())


@dataclass
class _Seen:
    """When the traceback of a cause was kept, and how many records of the cause came after it."""

    at_s: float
    count: int = 0


def _cause(error: BaseException, trace: TracebackType | None) -> tuple[str, str, int]:
    """Return an exception's type, and the file and line that raised it."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else ("", 0)
    return type(error).__qualname__, *place


def _shorten(record: logging.LogRecord, error: BaseException, why: str) -> None:
    """Replace a record's traceback by the exception's type and text."""
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    record.msg, record.args = f"{record.getMessage()}: {text} ({why})", ()
    record.exc_info = record.exc_text = None


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
