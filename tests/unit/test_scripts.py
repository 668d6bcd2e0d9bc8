"""The reader's modules as one script."""

import gzip
import shutil
import subprocess

import pytest

from liveblog import assets
from liveblog.scripts import READER, joined, with_reader
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
    assert text.index("const two=") < text.index("class One")
    assert text.count("class One") == text.count("const two") == 1
    assert "import" not in text
    assert "export" not in text
    assert "A comment" not in text
    assert "} // no comment" in text


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
