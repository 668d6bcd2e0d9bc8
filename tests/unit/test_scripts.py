"""The reader's modules as one script."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from liveblog.pages import assets
from liveblog.pages.scripts import READER, joined, with_reader
from liveblog.settings import static_dir

READER_BYTES_MAX = 10 * 1024

ONE = b"""// A comment.
import { two } from './two.js';

export class One {
  #hidden = '#hidden';

  /** @param {string} it */
  async #tell(it) {
    return this.#hidden + two(it);
  }

  tell = () => this.#tell('#tell');
}
"""
TWO = b"""import { One } from './one.js';

export const two = (it) => `${it} // no comment`;
export const isOne = (it) => it instanceof One;
"""


def test_modules_are_joined_behind_those_they_import_each_once() -> None:
    text = joined({"js/one.js": ONE, "js/two.js": TWO}, "js/one.js").decode()
    assert text.index("} // no comment") < text.index("#tell")
    assert text.count("} // no comment") == text.count("class") == 1
    assert "import" not in text
    assert "export" not in text
    assert "A comment" not in text


@pytest.mark.parametrize(
    ("two", "said"),
    [
        (b"export const two = 1, One = 2;\nclass One {}\n", "declared in two modules: One"),
        (b"import * as all from './one.js';\n", "cannot be joined: import"),
        (b"import './one.js';\n", "cannot be joined: import"),
        (b"const two = 1;\nexport { two };\n", "cannot be joined: export"),
        (b"export default 1;\n", "cannot be joined: export"),
    ],
)
def test_what_cannot_be_joined_is_refused(two: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        joined({"js/one.js": ONE, "js/two.js": two}, "js/one.js")


def test_the_readers_script_is_at_most_10_kib_compressed() -> None:
    script = with_reader(assets.read(static_dir()))[READER]
    assert len(gzip.compress(script, 9)) <= READER_BYTES_MAX


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_the_readers_script_is_one_that_can_be_read() -> None:
    script = with_reader(assets.read(static_dir()))[READER]
    command = ["node", "--input-type=module", "--check", "-"]
    done = subprocess.run(command, input=script, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_minified_modules_do_what_the_written_ones_do(tmp_path: Path) -> None:
    """The scripts' own tests, on each module minified."""
    minify = pytest.importorskip("minify")
    for part in ("static", "tests/js", "tests/vectors"):
        ignored = shutil.ignore_patterns("node_modules")
        shutil.copytree(Path(__file__).parents[2] / part, tmp_path / part, ignore=ignored)
    for module in (tmp_path / "static" / "js").glob("*.js"):
        module.write_text(minify.string("application/javascript", module.read_text()))
    command = ["node", "--test", "--test-reporter=dot"]
    done = subprocess.run(command, cwd=tmp_path / "tests/js", capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout.decode()


def test_what_is_read_before_a_wait_is_read_before_it_when_minified() -> None:
    """A minifier that merges declarations may reorder them, as tdewolff's does from 2.24.11 on."""
    text = b"f = async (it) => {\n  const a = it.a;\n  const { b } = await it.b;\n  return a + b;\n};\n"
    small = joined({"js/f.js": text}, "js/f.js")
    assert small.index(b".a") < small.index(b"await")
