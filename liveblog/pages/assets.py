"""Scripts, styles and icons, served from memory.

The program reads all files when it starts. Each has an immutable address:
`/static/{version}/js/reader.js`, where `version` is a hash of every file's name and content. All
files share one version, since a stylesheet or script may name another file.

A request with another version, or with none, gets the current file, and caches must revalidate it.
While a release is rolled out, a reader may have a page of a new worker and request the page's files
from an old one. The old worker must answer. Its files must not stay in caches for a year under the
new version.

Rules: no file is read after the start; a path is only looked up in a dict.
"""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from liveblog.answer import CACHED_1_S, IMMUTABLE, Answer
from liveblog.blog.problem import not_found
from liveblog.settings import SettingsError

BYTES_MAX: Final = 16 * 1024 * 1024  # of all files together

# A fixed list of content types. `mimetypes` also reads lists of the machine: a wrong type there
# could make a browser run a file.
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}


def read(directory: Path) -> dict[str, bytes]:
    """Return the files below a directory, by their paths in it, without hidden ones.

    Raises SettingsError when all files together have more than BYTES_MAX bytes.
    """
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    shown = {path.relative_to(directory).as_posix(): path for path in paths}
    shown = {name: path for name, path in shown.items() if "/." not in f"/{name}"}
    if sum(path.stat().st_size for path in shown.values()) > BYTES_MAX:
        raise SettingsError(f"the files in {directory} are more than {BYTES_MAX:,} bytes")
    return {name: path.read_bytes() for name, path in shown.items()}


def digest(files: Mapping[str, bytes]) -> str:
    """Return a hash of every file's name and content, as hexadecimal digits."""
    whole = sha256()
    for name, content in sorted(files.items()):
        whole.update(b"%b\0%d\0%b" % (name.encode(), len(content), content))
    return whole.hexdigest()


class Assets:
    """Serves the files below `/static`. Pages put `prefix` before a file's name."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._version = digest(files)[:12]
        self.prefix = f"/static/{self._version}"
        self._immutable = dict(_answers(files, IMMUTABLE))
        self._other = dict(_answers(files, CACHED_1_S))

    def routes(self) -> list[BaseRoute]:
        return [Route("/static/{path:path}", self._get)]

    async def _get(self, request: Request) -> Answer:
        found = self._find(request.path_params["path"])
        if not found:
            raise not_found("There is no such file.")
        return found

    def _find(self, path: str) -> Answer | None:
        version, _, name = path.partition("/")
        if version == self._version:
            return self._immutable.get(name)
        return self._other.get(path) or self._other.get(name)


def _answers(files: Mapping[str, bytes], cache_control: str) -> Iterator[tuple[str, Answer]]:
    for name, content in files.items():
        kind = _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
        yield name, Answer(content, kind, cache_control, is_file=True)
