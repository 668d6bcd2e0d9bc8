"""The scripts and styles of an installed wheel, and their size. Building it takes 2 s."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD_S = 120.0

# Requests the assets of the package on PYTHONPATH, as a browser does, and prints their sizes.
ASK = """
import json, liveblog
from starlette.applications import Starlette
from starlette.testclient import TestClient
from liveblog.pages import assets, scripts
from liveblog.settings import static_dir

files = assets.Assets(scripts.with_scripts(assets.read(static_dir()), "00000000"))
client = TestClient(Starlette(routes=files.routes()))
names = [scripts.READER, scripts.DESK, scripts.READER_STYLES, scripts.DESK_STYLES]
answers = {it: client.get(f"{files.prefix}/{it}", headers={"accept-encoding": "gzip"}) for it in names}
assert all(it.headers["content-encoding"] == "gzip" for it in answers.values())
sizes = {name: int(it.headers["content-length"]) for name, it in answers.items()}
print(json.dumps({"package": liveblog.__file__, "sizes": sizes}))
"""


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Return the gzip size of each file, by name, as an installed wheel serves it."""
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, timeout=BUILD_S)
    assert done.returncode == 0, done.stderr.decode()
    [wheel] = directory.glob("*.whl")
    installed = directory / "installed"
    shutil.unpack_archive(wheel, installed, "zip")
    command = [sys.executable, "-c", ASK]
    environ = {"PYTHONPATH": str(installed), "PATH": ""}
    asked = subprocess.run(
        command, cwd=directory, env=environ, capture_output=True, timeout=BUILD_S
    )
    assert asked.returncode == 0, asked.stderr.decode()
    answer = json.loads(asked.stdout)
    assert Path(answer["package"]).is_relative_to(installed)
    return dict(answer["sizes"])


def test_the_readers_script_is_at_most_14_kb_when_served_by_a_wheel(sizes: dict[str, int]) -> None:
    assert sizes["js/reader.js"] <= 14_000


def test_the_desks_scripts_and_styles_are_at_most_32_kib_when_served(sizes: dict[str, int]) -> None:
    # css/desk.css has the other style sheets of the desk in it, as css/reader.css has the reader's.
    assert sizes["js/desk.js"] + sizes["css/desk.css"] <= 32 * 1024


def test_the_styles_are_at_most_6_kib_when_served_by_a_wheel(sizes: dict[str, int]) -> None:
    assert sizes["css/reader.css"] <= 6 * 1024
