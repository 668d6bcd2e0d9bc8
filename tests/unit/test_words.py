"""The word checker of `make lint`: small texts that it must report, and texts it must accept."""

import re
from pathlib import Path

import pytest
from kit import words


def found(tmp_path: Path, name: str, text: str) -> list[str]:
    file = tmp_path / name
    file.write_text(text)
    return [f"{fault.where.rpartition(':')[2]} {fault.found}" for fault in words.faults(file)]


def test_every_checked_root_exists() -> None:
    assert [root for root in words.CHECKED if not (words.ROOT / root).exists()] == []


def test_each_line_of_the_word_list_has_an_advice() -> None:
    assert words.word_list()
    for pattern, advice in words.word_list():
        assert advice.strip(), pattern.pattern


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.md", "It works.\n\nIt is made anew.\n", "3 anew"),
        ("a.md", "| a | told anew |\n", "1 anew"),
        ("a.py", 'def f():\n    """Return it anew."""\n', "2 anew"),
        ("a.py", "x = 1  # made anew\n", "1 anew"),
        ("a.js", "// made anew\nf();\n", "1 anew"),
        ("a.lua", "-- made anew\n", "1 anew"),
        ("a.css", "/* one\n   anew */\n", "2 anew"),
        ("a.html", "<p>\nanew\n", "2 anew"),
    ],
)
def test_a_listed_word_is_reported_with_its_line(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    assert found(tmp_path, name, text) == [expected]


def test_code_in_a_document_is_not_checked(tmp_path: Path) -> None:
    listed = "anew"
    assert found(tmp_path, "a.md", f"Call `{listed}`.\n\n```\n{listed}\n```\n") == []


def test_a_test_name_is_read_as_words(tmp_path: Path) -> None:
    name = "test_it_is_made_anew"
    assert found(tmp_path, "a.py", f"def {name}():\n    pass\n") == ["1 anew"]


def test_a_test_name_is_reported_when_it_is_too_long(tmp_path: Path) -> None:
    name = "test_" + "x" * words.NAME_MAX
    assert found(tmp_path, "a.py", f"\ndef {name}():\n    pass\n") == [f"2 {name}"]


@pytest.mark.parametrize("start", ["Who", "Whoever", "What", "Whatever"])
def test_a_clause_is_reported_when_it_is_the_subject(tmp_path: Path, start: str) -> None:
    sentence = f"{start} is behind is closed."
    assert found(tmp_path, "a.py", f'"""{sentence}"""\n') == [f"1 {sentence}"]


def test_a_comment_of_several_lines_is_one_text(tmp_path: Path) -> None:
    text = "# The reader gets\n# what it missed.\nx = 1  # anew\n# It is made\n# anew.\n"
    assert found(tmp_path, "a.py", text) == ["3 anew", "5 anew"]


def test_a_question_may_start_with_who(tmp_path: Path) -> None:
    assert found(tmp_path, "a.md", "Who may publish?\n") == []


def test_a_word_that_begins_like_a_clause_is_allowed(tmp_path: Path) -> None:
    assert found(tmp_path, "a.md", "Whole pages have an ETag.\n") == []


def test_a_sentence_is_reported_when_it_has_too_many_words(tmp_path: Path) -> None:
    long = " ".join(["word"] * words.WORDS_MAX)
    assert found(tmp_path, "a.md", f"{long}.\n") == []
    assert len(found(tmp_path, "a.md", f"{long}; one.\n")) == 1
    assert len(found(tmp_path, "a.md", f"{long}: one.\n")) == 1


def test_a_table_row_is_no_sentence(tmp_path: Path) -> None:
    assert found(tmp_path, "a.md", f"| {' '.join(['word'] * 50)} |\n") == []


def test_the_texts_of_the_program_are_checked() -> None:
    source = 'log.warning("blog %s: it is made anew", slug)\n'
    texts = [text.words for text in words.python(source, with_texts=True)]
    assert any(re.search("anew", text) for text in texts)
