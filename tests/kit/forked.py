"""Commands of `liveblog` in processes that start from one that has imported all modules.

Most of a short command's time is imports. A process of its own for each call still has its own
environment, standard streams and exit code.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Forks for each line of standard input: arguments, environment, and the files of the three streams.
SERVER = """
import json, os, sys
from liveblog.commands import people
from liveblog.commands.main import main
from liveblog.store import connect, embedded, accounts

for line in sys.stdin:
    arguments, environ, files = json.loads(line)
    if not (pid := os.fork()):
        for fd, name in enumerate(files):
            os.dup2(os.open(name, os.O_WRONLY if fd else os.O_RDONLY), fd)
        sys.stdin = os.fdopen(0)
        os.environ.clear()
        os.environ.update(environ)
        sys.argv[1:] = arguments
        main()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forked:
    def __init__(self, server: "subprocess.Popen[str]", directory: Path) -> None:
        self._server, self._files = server, [directory / it for it in ("in", "out", "err")]

    def run(self, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command in this process's environment, with a text as its standard input."""
        for file, text in zip(self._files, (given, "", ""), strict=True):
            file.write_text(text)
        asked = json.dumps([arguments, dict(os.environ), list(map(str, self._files))])
        assert self._server.stdin
        assert self._server.stdout
        print(asked, file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        out, err = (it.read_text() for it in self._files[1:])
        return subprocess.CompletedProcess(arguments, code, out, err)


@contextlib.contextmanager
def forked(directory: Path) -> Iterator[Forked]:
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield Forked(server, directory)
