"""README and docs agree with the code: length, links, commands, settings, fields, limits, frames."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click
import pytest

from liveblog import settings
from liveblog.blog import fields, model
from liveblog.blog.problem import PROBLEMS
from liveblog.blog.shapes import blog_json, entry_json
from liveblog.commands.main import main
from liveblog.live import frame, metrics

ROOT = Path(__file__).parents[2]
README_LINES_MAX = 120
CHANGELOG_LINES_MAX = 25  # before the first release
MOTION_BYTES_MAX = 1_500_000
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
IDS = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
# Each kind of code block, and how it is checked. A test below rejects all other kinds.
LANGUAGES = {
    "bash": "tests/integration/test_examples.py runs it",
    "js": "tests/integration/test_examples.py runs it",
    "python": "tests/integration/test_examples.py runs it",
    "nginx": "tests/integration/test_examples.py has nginx read it",
    "json": "this file compares it with real frames",
    "text": "a command or a value that needs another machine",
    "": "a drawing, a list of names, or a command of make",
}


def doc(name: str) -> str:
    return (ROOT / name).read_text()


def spans(name: str) -> list[str]:
    """Return what stands in backticks in a document, outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", doc(name), flags=re.DOTALL))


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return language and text of each code block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def cells(text: str, first: str) -> list[str]:
    """Return the cells of the table row whose first cell is `first`."""
    [row] = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


# -- shape -----------------------------------------------------------------------------------------


def test_readme_and_changelog_are_short() -> None:
    assert len(doc("README.md").splitlines()) <= README_LINES_MAX
    assert len(doc("CHANGELOG.md").splitlines()) <= CHANGELOG_LINES_MAX


def test_the_readmes_animation_is_small_and_moves() -> None:
    [picture] = re.findall(r"!\[[^\]]+\]\((docs/[^)]+)\)", doc("README.md"))
    data = (ROOT / picture).read_bytes()
    assert len(data) < MOTION_BYTES_MAX
    assert b"ANIM" in data[:100]  # only an animated WebP has this chunk


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", it.lower()).replace(" ", "-") for it in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_every_relative_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file) if file else path
        assert target.exists(), f"{path.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{path.name}: {link}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_every_code_block_is_of_a_kind_that_is_checked(path: Path) -> None:
    assert {language for language, _ in blocks(path)} <= LANGUAGES.keys()


def test_every_document_is_linked_from_the_readme() -> None:
    for path in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{path.name})" in doc("README.md"), path.name


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IDS)
def test_every_named_make_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+)(?: [a-z/_.]+)*:", doc("Makefile"), re.MULTILINE))
    named = {m[1] for span in spans(name) if (m := re.fullmatch(r"(?:time )?make (\w+)", span))}
    named |= set(re.findall(r"^make (\w+)$", doc(name), re.MULTILINE))
    assert named - targets == set()


@pytest.mark.parametrize("name", IDS)
def test_every_named_test_file_and_module_exists(name: str) -> None:
    for path in (part for span in spans(name) for part in re.findall(r"tests/[\w/.]+", span)):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m ([\w.]+)`", doc(name)):
        assert (ROOT / "tests" / f"{module.replace('.', '/')}.py").exists(), module


CONTEXT = click.Context(main)


def command_of(name: str) -> click.Command:
    """Return a command of `liveblog`; a click group loads its own commands on request."""
    found = main.get_command(CONTEXT, name)
    assert found, name
    return found


def commands() -> Iterator[str]:
    """Yield the name of each command, with its group before it."""
    for name in main.list_commands(CONTEXT):
        command = command_of(name)
        inside = command.list_commands(CONTEXT) if isinstance(command, click.Group) else []
        yield from (f"{name} {sub}" for sub in inside) if inside else [name]


def test_every_command_is_described() -> None:
    for command in commands():
        assert f"| `liveblog {command}" in doc("docs/deploy.md"), command


@pytest.mark.parametrize("name", IDS)
def test_every_named_command_exists(name: str) -> None:
    known = list(commands())
    for span in spans(name):
        words = re.match(r"(?:\.venv/bin/)?liveblog ((?:[a-z]+ ?)+)", span)
        if words:
            said = words[1].strip()
            assert any(said == it or said.startswith(f"{it} ") for it in known), span


@pytest.mark.parametrize("name", IDS)
def test_every_command_that_is_only_shown_has_known_options(name: str) -> None:
    shown = [text for language, text in blocks(ROOT / name) if language == "text"]
    for line in re.findall(r"^\.venv/bin/liveblog (.+)$", "".join(shown), re.MULTILINE):
        command, *arguments = line.split()
        with command_of(command).make_context(command, arguments):
            pass


@pytest.mark.parametrize("name", IDS)
def test_every_shown_store_url_is_accepted(name: str) -> None:
    for url in re.findall(r"^REDIS_URL=(\S+)", doc(name), re.MULTILINE):
        assert settings.load({"REDIS_URL": url}).redis_url == url


def test_the_documents_show_what_these_tests_look_for() -> None:
    whole = "\n".join(doc(name) for name in IDS)
    for pattern in (
        r"^REDIS_URL=\S+",
        r"^\.venv/bin/liveblog .+$",
        r"\]\([^)\s#]+#[^)\s]+\)",
        r"python -m [\w.]+`",
        r"`tests/[\w/.]+",
        r"`(?:\.venv/bin/)?liveblog [a-z]+",
        r"`(?:time )?make \w+`",
    ):
        assert re.search(pattern, whole, re.MULTILINE), pattern


# -- settings --------------------------------------------------------------------------------------


def test_the_table_of_settings_is_the_codes() -> None:
    assert settings.table().strip() in doc("docs/settings.md"), (
        "update docs/settings.md: python -c 'from liveblog.settings import table; print(table())'"
    )


@pytest.mark.parametrize("name", IDS)
def test_every_named_setting_exists(name: str) -> None:
    named = {span.partition("=")[0] for span in spans(name)}
    named = {it for it in named if re.fullmatch(r"LIVEBLOG_[A-Z_]+[A-Z]", it)}
    assert named - set(settings.variables()) == set()


# -- the API ---------------------------------------------------------------------------------------


def members(kind: str) -> list[str]:
    """Return the fields of a blog or an entry in docs/api.md, sorted."""
    found = re.search(rf"^{kind} ?: {{(.*?)}}", doc("docs/api.md"), re.DOTALL | re.MULTILINE)
    assert found
    return sorted(re.findall(r"\w+", found[1]))


def test_the_shapes_are_the_codes() -> None:
    blog, entry = model.Blog(slug="a", title="A"), model.Entry(id="e000000000000")
    position = model.Position("a", 1, "00000000")
    assert members("blog") == sorted(blog_json(blog, position, ""))
    assert members("entry") == sorted(entry_json(entry, "a", position, ""))


LIMITS = {
    "`slug`": model.SLUG_MAX,
    "`title`, required": fields.TITLE_MAX,
    "`dek`": fields.DEK_MAX,
    "`summary`": fields.SUMMARY_MAX,
    "`full_coverage`, `successor`": fields.URL_MAX,
    "`headline`": fields.HEADLINE_MAX,
    "`body`": fields.BODY_MAX,
    "`byline`": fields.BYLINE_NAME_MAX,
    "`dateline`": fields.DATELINE_MAX,
    "`key_title`": fields.KEY_TITLE_MAX,
    "`note`": fields.NOTE_MAX,
}


@pytest.mark.parametrize(("field", "limit"), LIMITS.items())
def test_the_limit_of_a_field_is_the_codes(field: str, limit: int) -> None:
    _, stated = cells(doc("docs/api.md"), field)
    assert f"{limit:,}" in re.findall(r"[\d,]*\d", stated)


def test_every_field_has_a_row() -> None:
    text = doc("docs/api.md")
    in_rows = set(
        chain(
            *(re.findall(r"`(\w+)`", r) for r in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))
        )
    )
    in_status = set(re.findall(r"`(\w+)`", text))
    for kind in (fields.BlogFields, fields.EntryFields):
        assert set(kind.__struct_fields__) - in_rows - in_status == set()


def test_every_type_of_a_problem_is_listed() -> None:
    _, _, rest = doc("docs/api.md").partition("| status | types |")
    table, _, _ = rest.partition("\n\n")
    listed = set(re.findall(r"`([a-z-]+)`", table))
    assert listed - {"current"} == set(PROBLEMS)


# -- the desk --------------------------------------------------------------------------------------


def test_every_label_that_the_desks_page_names_is_on_the_desk() -> None:
    sources = [*(ROOT / "liveblog/html/templates/desk").rglob("*.html")]
    sources += [*(ROOT / "static/js/desk").rglob("*.js")]
    shown = "\n".join(path.read_text() for path in sources).replace("\u2019", "'")
    named = re.findall(r"\*\*([^*]+)\*\*", doc("docs/desk.md"))
    assert len(named) > 15
    for label in named:
        assert label.replace("\u2019", "'").rstrip(":") in shown, label


# -- streams ---------------------------------------------------------------------------------------


def frames() -> dict[str, Any]:
    """Return the documented frames by kind."""
    [text] = [text for language, text in blocks(ROOT / "docs/streams.md") if language == "json"]
    decoder, found = json.JSONDecoder(), {}
    while text := text.strip():
        shown, end = decoder.raw_decode(text)
        found[shown["t"]] = shown
        text = text[end:]
    return found


def made() -> dict[str, Any]:
    """Return a real frame of each kind."""
    position = model.Position("k3xq9a", 60, "1d40e2b7")
    entry = model.Entry(id="e3f8w0q2m5k1z", offset=58, order=58)
    blog = model.Blog(slug="a", title="A", offset=60)
    pieces = [frame.put(entry, html=""), frame.delete(entry), frame.header(blog, html="")]
    changes = frame.changes(57, position, pieces)
    assert changes
    return {
        "hello": json.loads(frame.hello(position, 20, "2026-11-22T14:05:00.000Z", "9f2c01ab").json),
        "changes": json.loads(changes.json),
        "beat": json.loads(frame.beat(position, "2026-11-22T14:05:00.000Z").json),
        "reset": json.loads(frame.reset(position, (0, 3_000)).json),
        "bye": json.loads(frame.bye((0, 1_000), "restart").json),
    }


@pytest.mark.parametrize("kind", ["hello", "changes", "beat", "reset", "bye"])
def test_a_documented_frame_has_the_members_of_a_real_one(kind: str) -> None:
    shown, real = frames()[kind], made()[kind]
    assert list(shown) == list(real)
    if kind == "changes":
        assert [list(it) for it in shown["changes"]] == [list(it) for it in real["changes"]]


def test_the_limits_of_catching_up_are_the_codes() -> None:
    text = " ".join(doc("docs/streams.md").split())
    assert "more than 200 entries, more than 256 KiB" in text
    assert "the last 1,000 changes" in text  # test_architecture.py compares it with the code


def test_every_close_code_of_ours_is_listed() -> None:
    listed = {int(code) for code in re.findall(r"\b\d{4}\b", doc("docs/streams.md"))}
    assert {code for code in metrics._CODES if code >= 4_000} <= listed
