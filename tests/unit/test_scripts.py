"""The modules of a page as one script without comments."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from liveblog.pages import assets
from liveblog.pages.scripts import DESK, READER, declared, joined, shortened, stripped, with_scripts
from liveblog.settings import static_dir

ROOT = Path(__file__).parents[2]
NODE_S = 60.0

ONE = b"""// A comment.
import { two } from './sub/two.js';

export class One {
  #hidden = '#hidden';

  /** @param {string} it */
  async #tell(it) {
    return this.#hidden + two(it);
  }

  tell = () => this.#tell('#tell');
}
"""
TWO = b"""import {
  One,
} from '../one.js';

export const two = (it) => `${it} // no comment`;
export const isOne = (it) => it instanceof One;
"""

TSC = ROOT / "tests/js/node_modules/.bin/tsc"
needs_tsc = pytest.mark.skipif(not TSC.exists(), reason="no tsc; `make types` installs it")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="no node")


def served() -> dict[str, bytes]:
    return with_scripts(assets.read(static_dir()), "9f2c01ab")


def test_joined_puts_each_module_once_behind_those_it_imports() -> None:
    text = joined({"js/one.js": ONE, "js/sub/two.js": TWO}, "js/one.js")
    assert text.index("} // no comment") < text.index("#tell")
    assert text.count("} // no comment") == text.count("class") == 1
    assert "import" not in text
    assert "export" not in text
    assert "A comment" not in text


@pytest.mark.parametrize(
    ("two", "reason"),
    [
        (b"export const two = 1, One = 2;\nclass One {}\n", "declared in two modules: One"),
        (b"import * as all from '../one.js';\n", "cannot be joined: import"),
        (b"import '../one.js';\n", "cannot be joined: import"),
        (b"const two = 1;\nexport { two };\n", "cannot be joined: export"),
        (b"export default 1;\n", "cannot be joined: export"),
    ],
)
def test_joined_raises_when_a_module_has_another_form(two: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        joined({"js/one.js": ONE, "js/sub/two.js": two}, "js/one.js")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1; // no 'quote'\n/* nor\nhere */ b();", "a=1;b();"),
        ("a = 'x // y' + \"/* z */\";", "a='x // y'+\"/* z */\";"),
        ("a = 'it\\'s // fine'; // c", "a='it\\'s // fine';"),
        ("a = `x  // ${b + ' // '} /* y */\n  z`;", "a=`x  // ${b + ' // '} /* y */\n  z`;"),
        ("a = `cost: $ \\` \\${1}`; // c", "a=`cost: $ \\` \\${1}`;"),
        ("a = /[/\"'`]  \\/\\/ /g.test(b); // c", "a= /[/\"'`]  \\/\\/ /g.test(b);"),
        ("return /  '/.exec(a);", "return /  '/.exec(a);"),
        ("a = b / 2; // c\nd = e / f;", "a=b/2;d=e/f;"),
        ("a = (b + c) / 2 / d['x'] / 3;", "a=(b+c)/2/d['x']/3;"),
        ("a + +b - -c", "a+ +b- -c"),
        ("a = /** @type {any} */ (b);", "a=(b);"),
    ],
)
def test_stripped_keeps_literals_and_drops_comments(text: str, expected: str) -> None:
    assert stripped(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("const a = 1\nlet b", "const a=1\nlet b"),
        ("return\na", "return\na"),
        ("a\n++b", "a\n++b"),
        ("f = () => {}\ng()", "f=()=>{}\ng()"),
        ("a = b // c\n[1].d", "a=b\n[1].d"),
        ("a\n  .b()\n  .c();", "a.b().c();"),
        ("f(\n  a,\n  b,\n)", "f(a,b)"),
        ("a = b\n  ? c\n  : d", "a=b?c:d"),
        ("async function f() {\n  await g;\n}", "async function f(){await g}"),
        ("static #x\n#y", "static #x\n#y"),
    ],
)
def test_stripped_keeps_a_line_break_when_it_may_end_a_statement(text: str, expected: str) -> None:
    assert stripped(text) == expected


@pytest.mark.parametrize(
    "text", ["a = 'b", 'a = "b\n"', "a = `b", "`${`a`}`", "`${{}}`", "a = /* b */ /c/;"]
)
def test_stripped_raises_when_it_cannot_read_a_literal(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be stripped"):
        stripped(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("this.#seen=#seen in it;", "this.#a=#a in it;"),
        ("const one=two(one);", "let A=B(A);"),
        ("`${one} one ${'one'+two}`;'one';/ one/;", "`${A} one ${'one'+B}`;'one';/ one/;"),
        ("it.one();one(two);", "it.one();A(B);"),
        ("[...one];", "[...A];"),
        ("f({one:1,two});", "f({one:1,two:B});"),
        ("({one,...two});", "({one:A,...B});"),
        ("class A{one(it){two(it)}}", "class A{one(a){C(a)}}"),
        ("class A{get one(){two()}two=1}", "class A{get one(){C()}two=1}"),
    ],
)
def test_shortened_shortens_a_name_where_it_is_no_member(text: str, expected: str) -> None:
    assert shortened(text, ["one", "two"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("let f=(it,{id,at:place=1})=>it.id+id+place", "let A=(a,{id:b,at:c=1})=>a.id+b+c"),
        (
            "function f([x,...more],now=g()){return now(x,more)}",
            "function A([a,...b],c=g()){return c(a,b)}",
        ),
        ("let f=({at})=>`${at} at ${all.at}`;at()", "let A=({at:a})=>`${a} at ${all.at}`;at()"),
        ("let f=it=>it?{it}:it;it()", "let A=a=>a?{it:a}:a;it()"),
        ("f(()=>{try{g()}catch(it){h(/it/it)}})", "A(()=>{try{g()}catch(a){h(/it/it)}})"),
        ("for(let[key,it]of all){if(key)it()}", "for(let[a,b]of all){if(a)b()}"),
        ("let f=(it)=>a?it:b", "let A=(c)=>a?c:b"),
        ("let f=(it)=>({async it(){}});f(it)", "let A=(a)=>({async it(){}});A(it)"),
        ("let f=(it)=>g/it/2", "let A=(a)=>g/a/2"),
    ],
)
def test_shortened_gives_letters_to_the_variables_of_a_function(text: str, expected: str) -> None:
    assert shortened(text, ["f"]) == expected


def test_shortened_gives_two_letters_when_one_does_not_suffice() -> None:
    names = [f"name{n}" for n in range(60)]
    given = shortened(";".join(f"({it})" for it in names), names)
    assert len(set(given.split(";"))) == 60
    assert given.endswith("(AH)")


@pytest.mark.parametrize("name", [READER, DESK])
def test_a_served_script_changes_nothing_when_stripped_again(name: str) -> None:
    script = served()[name].decode()
    assert stripped(script) == script


@needs_node
@pytest.mark.parametrize("name", [READER, DESK])
def test_a_served_script_parses(name: str) -> None:
    command = ["node", "--input-type=module", "--check", "-"]
    done = subprocess.run(command, input=served()[name], capture_output=True, timeout=NODE_S)
    assert done.returncode == 0, done.stderr.decode()


@needs_tsc
@pytest.mark.parametrize("name", [READER, DESK])
def test_a_served_script_uses_only_names_that_it_or_browsers_declare(
    name: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.js"
    script.write_bytes(served()[name] + b"\nundeclared();")
    options = ["--allowJs", "--checkJs", "--noEmit", "--target", "es2022"]
    command = [str(TSC), *options, "--lib", "es2023,dom,dom.iterable", str(script)]
    done = subprocess.run(command, capture_output=True, timeout=NODE_S)
    missing = re.findall(r"Cannot find name '(\w+)'|No value exists in scope", done.stdout.decode())
    assert missing == ["undeclared"]


@needs_node
def test_modules_pass_their_own_tests_when_joined(tmp_path: Path) -> None:
    """Run tests/js on copies of the modules; each copy is one script with all that it imports."""
    for part in ("static", "tests/js", "tests/vectors"):
        ignored = shutil.ignore_patterns("node_modules", "structure.test.js")  # it reads sources
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
    files = assets.read(ROOT / "static")
    tests = "\n".join(it.read_text() for it in (tmp_path / "tests/js").glob("*.test.js"))
    imported = set(
        re.findall(r"^(?:import|\}).* from '\.\./\.\./static/(js/.*)'", tests, re.MULTILINE)
    )
    assert {"js/socket.js", "js/timeline.js", "js/desk/queue.js"} <= imported
    for name in imported:
        names = re.findall(r"^export (?:async )?\w+ (\w+)", files[name].decode(), re.MULTILINE)
        exports = "{" + ",".join(names) + "}"
        body = joined(files, name).removesuffix("})();")
        text = shortened(f"{body}\nreturn {exports}}})();", declared(files, name))
        (tmp_path / "static" / name).write_text(f"export const {exports}={text}")
    command = ["node", "--test", "--test-reporter=dot"]
    done = subprocess.run(command, cwd=tmp_path / "tests/js", capture_output=True, timeout=NODE_S)
    assert done.returncode == 0, done.stdout.decode()
