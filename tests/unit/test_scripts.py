"""The modules of a page as one script without comments."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from liveblog.pages import assets
from liveblog.pages.remembered import remembered
from liveblog.pages.scripts import (
    DESK,
    DESK_STYLES,
    READER,
    READER_STYLES,
    joined,
    shortened,
    stripped,
    whole,
    with_scripts,
)
from liveblog.pages.terse import terse
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

ACORN = ROOT / "tests/js/node_modules/acorn"
needs_acorn = pytest.mark.skipif(not ACORN.exists(), reason="no acorn; `make types` installs it")


def served() -> dict[str, bytes]:
    """Return the static files and the scripts as a server serves them."""
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
        ("a = `x  // ${b + ' // '} /* y */\n  z`;", "a=`x  // ${b+' // '} /* y */\n  z`;"),
        ("a = `cost: $ \\` \\${1}`; // c", "a=`cost: $ \\` \\${1}`;"),
        ("a = /[/\"'`]  \\/\\/ /g.test(b); // c", "a=/[/\"'`]  \\/\\/ /g.test(b);"),
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
        ("this.#seen=#seen in it;", "this.#o=#o in it;"),
        ("class A{#n=1_000;#m}class B{#m=this.#n}", "class A{#o=1000;#e}class B{#o=this.#e}"),
        ("const one=two(one);", "let A=B(A);"),
        ("`${one} one ${'one'+two}`;'one';/ one/;", "`${A} one ${'one'+B}`;'one';/ one/;"),
        ("it.one();one(two);", "it.one();A(B);"),
        ("[...one];", "[...A];"),
        ("f({one:1,two});", "f({one:1,two:B});"),
        ("({one,...two});", "({one:A,...B});"),
        ("class A{one(it){two(it)}}", "class A{one(o){C(o)}}"),
        ("class A{get one(){two()}two=1}", "class A{get one(){C()}two=1}"),
    ],
)
def test_shortened_shortens_a_name_where_it_is_no_member(text: str, expected: str) -> None:
    assert shortened(text, ["one", "two"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("let f=(it,{id,at:place=1})=>it.id+id+place", "let A=(o,{id:e,at:t=1})=>o.id+e+t"),
        (
            "function f([x,...more],now=g()){return now(x,more)}",
            "function A([o,...e],t=g()){return t(o,e)}",
        ),
        ("let f=({at})=>`${at} at ${all.at}`;at()", "let A=({at:o})=>`${o} at ${all.at}`;at()"),
        ("let f=it=>it?{it}:it;it()", "let A=o=>o?{it:o}:o;it()"),
        ("f(()=>{try{g()}catch(it){h(/it/it)}})", "A(()=>{try{g()}catch(o){h(/it/it)}})"),
        ("for(let[key,it]of all){if(key)it()}", "for(let[o,e]of all){if(o)e()}"),
        ("let f=(it)=>o?it:e", "let A=t=>o?t:e"),
        ("let f=(it)=>({async it(){}});f(it)", "let A=o=>({async it(){}});A(it)"),
        ("let f=a((b.c),(d)=>(d));g(it)", "let A=a(b.c,o=>o);g(it)"),
        ("let f=(it)=>g/it/2", "let A=o=>g/o/2"),
    ],
)
def test_shortened_gives_letters_to_the_variables_of_a_function(text: str, expected: str) -> None:
    assert shortened(text, ["f"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("const ONE=1;let f=g({ONE},`${ONE}`,it.ONE);", "let A=g({ONE:1},`${1}`,it.ONE);"),
        ("const ONE='it\\'s';f(ONE)", "A('it\\'s')"),
        ("const ONE=0.5;f(ONE)", "A(0.5)"),
        ("const ONE=1,TWO=2;f(ONE,TWO)", "let B=1,C=2;A(B,C)"),
        ("const ONE='a'+'b';f(ONE)", "let B='a'+'b';A(B)"),
        ("const f=1;g(f)", "let A=1;g(A)"),
        ("let ONE=1;f(ONE)", "let B=1;A(B)"),
    ],
)
def test_shortened_puts_the_value_where_a_constant_was(text: str, expected: str) -> None:
    assert shortened(text, ["f", "ONE", "TWO"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("let a=1;let{b}=a;let[c]=b;d()", "let a=1,{b}=a,[c]=b;d()"),
        ("let a=()=>{let b;c();let d};let e", "let a=()=>{let b;c();let d},e"),
        ("let a;for(let b=1;b;)let c;let d", "let a;for(let b=1;b;)let c;let d"),
        ("{let a;}let b;if(c){}let d", "{let a;}let b;if(c){}let d"),
        ("a=(b.c(d));e=(f??g);", "a=b.c(d);e=f??g;"),
        ("a((b),[(c||d)],e?(f):(g))", "a(b,[c||d],e?f:g)"),
        ("a=>(b,c);d=>({});(e)=>(f+1);", "a=>(b,c);d=>({});e=>f+1;"),
        ("a==(b||c);d??(e||f);(g||h).i", "a==(b||c);d??(e||f);(g||h).i"),
        ("a&&(b.c)&&(d?.e).f", "a&&b.c&&(d?.e).f"),
        ("async(a)=>b(c)(d);e=(f)in g", "async(a)=>b(c)(d);e=(f)in g"),
        ("a=new B();new C().d;new E()()", "a=new B;new C().d;new E()()"),
    ],
)
def test_terse_leaves_out_signs_that_mean_nothing(text: str, expected: str) -> None:
    assert terse([*re.findall(r"\w+|=>|\?\.|.", text)]) == expected


def test_shortened_gives_two_letters_when_one_does_not_suffice() -> None:
    names = [f"name{n}" for n in range(60)]
    given = shortened(";".join(f"f({it})" for it in names), names)
    assert len(set(given.split(";"))) == 60
    assert given.endswith("(oH)")


@pytest.mark.parametrize("name", [READER, DESK])
def test_a_served_script_changes_nothing_when_stripped_again(name: str) -> None:
    script = served()[name].decode()
    assert stripped(script) == script


def test_script_is_made_once_until_its_modules_or_the_file_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    made: list[bytes] = []

    def make() -> bytes:
        made.append(b"let a")
        return made[-1]

    source = tmp_path / "any.js"
    for made_from, times in ((b"one", 1), (b"one", 1), (b"two", 2), (b"two", 2), (b"one", 3)):
        assert remembered(source, made_from, make) == b"let a"
        assert len(made) == times
    (file,) = [it for it in tmp_path.rglob("*") if it.is_file()]
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole[:64] + b"let b", whole + b";"):
        file.write_bytes(damaged)
        assert remembered(source, b"one", make) == b"let a"
        assert file.read_bytes() == whole
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file.unlink()
    assert remembered(source, b"one", make) == b"let a"
    assert not file.exists()
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", "/dev/null")
    assert remembered(source, b"one", make) == b"let a"


# Scripts with names that are hard to tell apart without a parser.
HARD = [
    "const f = (a) => { const b = a; { const a = 2; g(a, b); } return a; };",
    "const f = ({ a, b: { c, ...d }, e = a }, [x, , y = x] = []) => ({ a, c, d, e, x, y });",
    "const f = (it) => { up: for (const a of it) { for (const b of a) if (b) continue up; } };",
    "const f = (it) => `${it.it} ${it['it']} it ${it + 'it'} ${g(it, it)}`;",
    "const f = (it) => /it[/]it/.test(it) && it / 2 / it;",
    "class A { it = 1; static it = 2; #it = 3; get at() { return this.#it; } set at(it) { g(it); } }",
    "class A { static { g(this.it); } async *each(it) { yield* it; } }",
    "class A { it; at = 1; m() { const it = this.at; return it; } n(at) { return at; } }",
    "class A { constructor({ it, at = 1 }) { this.it = it; Object.assign(this, { at }); } }",
    "const f = function it(n) { return n ? it(n - 1) : it; };",
    "const f = (it) => { switch (it) { case g: { const a = 1; return a; } default: return it; } };",
    "const f = (it) => { let a = 1; ({ a } = it); ({ a: a } = it); [a] = it; return { a }; };",
    "const f = (it) => it ? { it } : { it: it, [it]: it, it() { return it; }, get at() { g(it); } };",
    "const f = async (it) => { for await (const { a, b = 2 } of it) await g(a, b); };",
    "const f = (it) => it?.it?.[it] ?? { ...it, a: it };",
    "const f = (it) => { const g = (it) => it; return g(it); };",
    "const f = (it) => { if (it) return { it };\n const at = 1; return at; };",
    "const f = (it) => { function g(a) { h(a); } function h(b) { g(b, it); } return g; };",
    "const f = (it) => { const a = class B { m(it) { return B; } }; return a; };",
    "const f = (it) => it.map(({ a }) => a).map(({ a: { b } }) => b);",
    "const f = (a) => g(a ? b : c);\nconst b = 1, c = 2;",
    "const f = (it) => { let x = it; { let x = 2; { let x = 3; g(x); } g(x); } g(x); };",
    "const f = () => { g(function () { return arguments.length; }); };",
    "const f = (it) => { const a = (it.a); const { b } = (a ?? it); g(); const c = b; return c; };",
    "const f = (it) => { for (let a = 1; a < it; a += 1) { const b = (a); const c = b; g(c); } };",
    "const f = (it) => (it ? (it.a ? (g) : (it?.b).c) : [(it || g), (g(it))].map((a) => ({ a })));",
    "const f = (it) => { switch (it) { case (g): const a = 1; const b = (2); h(a, b); } };",
    "const f = (it) => [new Map(), new Map().size, new it.Map(), new (it())(), new Set()?.a];",
    "const f = (it) => { const a = async (b) => ((it, b)); const c = (b = (a)) => (b = it); c(); };",
    "const ONE = 1;\nconst TWO = 'it';\nconst f = (it) => `${ONE} ${it + TWO}`;",
    "const ONE = 1.5;\nconst f = (it) => ({ ONE, it: it.ONE, [ONE]: -ONE, two: it[ONE] });",
    "const ONE = 1, TWO = 'it';\nconst f = (it) => ({ ONE, TWO, it });",
]


def differences(*pairs: tuple[str, str]) -> list[str]:
    """Return for each pair of scripts how they differ, apart from names; "" for not at all."""
    program = (
        "import { difference } from './alike.js';"
        "import { readFileSync } from 'node:fs';"
        "const pairs = JSON.parse(readFileSync(0));"
        "console.log(JSON.stringify(pairs.map((pair) => difference(...pair))));"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", program],
        cwd=ROOT / "tests/js",
        input=json.dumps(pairs).encode(),
        capture_output=True,
        timeout=NODE_S,
    )
    assert done.returncode == 0, done.stderr.decode()
    return list(json.loads(done.stdout))


@needs_acorn
def test_served_scripts_are_their_modules_but_for_names() -> None:
    files = served()
    pages = {READER: "js/page.js", DESK: "js/desk/page.js"}
    pairs = [(whole(files, entry), files[name].decode()) for name, entry in pages.items()]
    assert all(len(short) < len(long) / 2 for long, short in pairs)
    assert differences(*pairs) == ["", ""]


@needs_acorn
def test_shortened_keeps_the_meaning_when_names_are_hard_to_tell_apart() -> None:
    scripts = [f"(() => {{\n{it}\n}})();" for it in HARD]
    pairs = [
        (it, shortened(stripped(it), re.findall(r"^(?:class|const) (\w+)", it, re.MULTILINE)))
        for it in scripts
    ]
    assert differences(*pairs) == [""] * len(HARD)


@needs_acorn
def test_scripts_differ_when_a_name_has_another_meaning() -> None:
    pairs = [
        ("let one = 1; f(one);", "let a = 1; f(one);"),  # no longer declared
        ("let one = 1; f(two);", "let two = 1; f(two);"),  # declared now
        ("(one) => (two) => one;", "(a) => (a) => a;"),  # hidden by another one
        ("(one, two) => one;", "(a, b) => b;"),
        ("({ one }) => one;", "({ a }) => a;"),  # another member
        ("it.one;", "it.a;"),
        ("({ one: 1 });", "({ a: 1 });"),
        ("class A { #b = 1; #c = 2; }", "class A { #b = 1; #b = 2; }"),
        ("one: for (;;) break one;", "a: for (;;) break a;"),
        ("`${one}`;", "`${a}`;"),
        ("f('one');", "f('a');"),
        ("f(/one/);", "f(/a/);"),
        ("const one = 1; one = 2;", "let a = 1; a = 2;"),
        ("return_; one;", "return_;"),
        ("let one = 1; f(); let two = 2;", "let a = 1, b = 2; f();"),
        ("let one = 1; let two = g();", "let b = g(), a = 1;"),
        ("let one = 1; let two = 2;", "let a = 1;"),
        ("for (let one = 1; f(); ) { let two = 2; }", "for (let a = 1, b = 2; f(); ) {}"),
        ("const ONE = 1; f(ONE);", "f(2);"),  # another value
        ("const ONE = 1; f(ONE);", "f('1');"),
        ("const ONE = 1; f(ONE);", "f(ONE);"),  # no longer declared
        ("const ONE = 1; f(1);", "let a = 1; f(a);"),
        ("const ONE = 1; (ONE) => f(ONE);", "(a) => f(1);"),  # hidden by another one
        ("const ONE = 1; ONE = 2;", "1 = 2;"),
        ("const ONE = g(); f(ONE);", "f(g());"),
        ("let ONE = 1; f(ONE);", "f(1);"),
        ("var one; f(one);", "var a; f(a);"),  # a `var` has no block, so it is refused
    ]
    assert all(differences(*pairs))


@pytest.mark.parametrize(
    ("name", "own", "other"),
    [(READER_STYLES, b".tools", b".composer"), (DESK_STYLES, b".composer", b".tools")],
)
def test_a_page_has_its_style_sheets_in_one_file(name: str, own: bytes, other: bytes) -> None:
    files = served()
    parts = [files[f"css/{part}.css"] for part in ("tokens", "page")]
    assert files[name].startswith(b"\n".join(parts))
    assert own in files[name]
    assert other not in files[name]
