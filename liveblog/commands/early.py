"""Signals that arrive while `liveblog serve` still imports its modules.

Importing takes 0.2 s, and the default actions of SIGHUP and SIGTERM would end the process with
their exit codes. So commands/main.py imports this module before all others. Signals that arrive
before this module runs (20 to 40 ms on an idle machine) have their default action.

Rules: imports modules that Python has loaded already.
"""

import os
import signal
import sys


def _end(number: int, frame: object) -> None:  # noqa: ARG001 - as signal.signal calls it
    """End the process in order: nothing has been started yet."""
    os._exit(0)


def _nothing(number: int, frame: object) -> None:
    """Ignore a signal in this process only: a child process would inherit SIG_IGN."""


def _handle() -> None:
    """Handle the signals of `serve`; commands/serve.py replaces the handlers.

    Under `nohup` SIGHUP stays ignored.
    """
    if sys.argv[1:2] != ["serve"] or not hasattr(signal, "SIGHUP"):
        return
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _nothing)


_handle()
