"""Scripts and styles: immutable when the address has their version, else revalidated."""

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from liveblog.answer import CACHED_1_S, IMMUTABLE
from liveblog.blog.problem import Problem
from liveblog.pages import assets
from liveblog.pages.assets import Assets
from liveblog.settings import SettingsError, static_dir

FILES = {"js/page.js": b"import './view.js';", "css/page.css": b"p{}", "icon.svg": b"<svg/>"}


def client(files: dict[str, bytes] | None = None) -> tuple[TestClient, str]:
    async def rejected(_: Request, problem: Any) -> Response:
        return Response(status_code=problem.status)

    made = Assets(FILES if files is None else files)
    app = Starlette(routes=made.routes(), exception_handlers={Problem: rejected})
    return TestClient(app), made.prefix


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_immutable_when_its_version_is_in_the_address(name: str) -> None:
    calls, prefix = client()
    for path, caching in (
        (f"{prefix}/{name}", IMMUTABLE),
        (f"/static/0123456789ab/{name}", CACHED_1_S),
        (f"/static/{name}", CACHED_1_S),
    ):
        got = calls.get(path)
        assert (got.status_code, got.content) == (200, FILES[name])
        assert got.headers["cache-control"] == caching
        assert calls.get(path, headers={"if-none-match": got.headers["etag"]}).status_code == 304


def test_a_file_has_the_content_type_of_its_suffix() -> None:
    calls, prefix = client()
    types = [calls.get(f"{prefix}/{name}").headers["content-type"] for name in FILES]
    assert types == ["text/javascript; charset=utf-8", "text/css; charset=utf-8", "image/svg+xml"]


@pytest.mark.parametrize(
    "path",
    [
        "", "js", "js/", "js/view.js", "page.js", "a/b/js/page.js",
        "js/page.js/", "js/..%2ficon.svg", "%2e%2e/pyproject.toml", "..%2f..%2fetc/passwd", "js/page.js%00",
    ],
)  # fmt: skip
def test_an_address_is_404_when_there_is_no_such_file(path: str) -> None:
    calls, prefix = client()
    for base in ("/static", prefix, "/static/other"):
        assert calls.get(f"{base}/{path}").status_code == 404


def test_the_version_changes_when_any_name_or_content_does() -> None:
    others: list[dict[str, bytes]] = [
        FILES | {"icon.svg": b"<svg></svg>"},
        FILES | {"new.js": b""},
        {name: content for name, content in FILES.items() if name != "icon.svg"},
        {"icon.svg" if name == "css/page.css" else name: c for name, c in FILES.items()},
    ]
    versions = {Assets(files).prefix for files in [FILES, *others]}
    assert len(versions) == 5
    assert Assets(dict(reversed(FILES.items()))).prefix in versions


def test_read_returns_all_files_but_hidden_ones(tmp_path: Path) -> None:
    for name in ("js/page.js", "js/.page.js.swp", ".git/config", "icon.svg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert assets.read(tmp_path) == {"icon.svg": b"icon.svg", "js/page.js": b"js/page.js"}
    assert {"js/page.js", "css/tokens.css", "favicon.svg"} <= assets.read(static_dir()).keys()


def test_read_raises_when_the_files_are_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "film.webp").write_bytes(bytes(100))
    monkeypatch.setattr(assets, "BYTES_MAX", 100)
    assert assets.read(tmp_path)
    monkeypatch.setattr(assets, "BYTES_MAX", 99)
    with pytest.raises(SettingsError, match="99 bytes"):
        assets.read(tmp_path)
