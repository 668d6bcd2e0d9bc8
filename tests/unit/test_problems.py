"""Problems (error answers of RFC 9457): their names, and how they are answered and logged."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from starlette.responses import Response

import liveblog
from liveblog import seldom
from liveblog.blog.problem import (
    PROBLEMS,
    REFUSALS,
    Problem,
    StoreDown,
    StoreRefuses,
    http_error,
    invalid,
)
from liveblog.editors.problems import Problems

PACKAGE = Path(liveblog.__path__[0])


@cache
def nodes() -> list[tuple[Path, ast.AST]]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return [(path, node) for path in paths for node in ast.walk(ast.parse(path.read_text()))]


def is_problem(call: ast.Call) -> bool:
    """Return whether a call makes a Problem, also by `super().__init__` in a subclass."""
    called = ast.unparse(call.func)
    has_status = bool(call.args) and re.fullmatch(r"[45]\d\d", ast.unparse(call.args[0]))
    return called.split(".")[-1] == "Problem" or (called == "super().__init__" and bool(has_status))


def raised() -> Iterator[tuple[str, ast.expr]]:
    """Yield where the code makes each Problem, and the expression of the problem's name."""
    for path, node in nodes():
        if isinstance(node, ast.Call) and is_problem(node):
            named = {word.arg: word.value for word in node.keywords}
            name = node.args[1] if len(node.args) > 1 else named["name"]
            yield f"{path.relative_to(PACKAGE)}:{node.lineno}", name


def compared() -> set[object]:
    """Return the literals that the code compares with a problem's name."""
    comparisons = [node for _, node in nodes() if isinstance(node, ast.Compare)]
    return {
        constant.value
        for node in comparisons
        if ast.unparse(node.left) == "problem.name"
        for constant in node.comparators
        if isinstance(constant, ast.Constant)
    }


def body_of(response: Response) -> dict[str, Any]:
    return cast(dict[str, Any], orjson.loads(bytes(response.body)))


# -- names


def test_every_problem_in_the_code_has_a_known_name() -> None:
    found = dict(raised())
    literals = {w: n.value for w, n in found.items() if isinstance(n, ast.Constant)}
    assert [where for where, name in literals.items() if name not in PROBLEMS] == []
    # Only `http_error` in problem.py has no literal: it computes a problem's name from a status.
    assert [w.partition(":")[0] for w in found if w not in literals] == ["blog/problem.py"]
    assert compared() <= PROBLEMS.keys()
    assert {"store-down", "idempotency-key-reused"} <= compared()


def test_every_known_name_is_used() -> None:
    literals = {name.value for _, name in raised() if isinstance(name, ast.Constant)}
    by_status = {http_error(status, "").name for status in range(400, 600)}
    assert by_status == {"http", "method-not-allowed", "not-found"}
    assert literals | by_status == PROBLEMS.keys()


# -- answers


def test_a_problem_is_answered_as_rfc_9457_defines_it() -> None:
    response = Problems().response(invalid(("/body", "has 20001 characters; the limit is 20000")))
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert body_of(response) == {
        "type": "/problems/invalid-field",
        "title": "Invalid field",
        "status": 422,
        "detail": "body: has 20001 characters; the limit is 20000",
        "errors": [{"pointer": "/body", "detail": "has 20001 characters; the limit is 20000"}],
    }


def test_an_unreachable_store_is_503_with_a_time_to_retry() -> None:
    response = Problems().response(StoreDown("secret address"))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"
    assert body_of(response)["type"] == "/problems/store-down"
    assert "secret address" not in body_of(response)["detail"]


def test_each_reason_for_an_unreachable_store_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    at_s = 0.0
    answers = Problems(now=lambda: at_s)
    for _ in range(3):
        for reason in ("unconfirmed", "a read-only replica"):
            answers.response(StoreDown(reason))
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "unconfirmed",
        "a read-only replica",
    ]
    at_s = seldom.AGAIN_S
    answers.response(StoreDown("unconfirmed"))
    assert len(caplog.records) == 3
    for number in range(100):
        answers.response(StoreDown(f"another, {number}"))
    assert len(caplog.records) == 2 + seldom.THINGS_MAX


@pytest.mark.parametrize("cause", REFUSALS)
def test_a_refused_write_is_answered_as_not_stored_with_its_reason(cause: Any) -> None:
    body = body_of(Problems().response(StoreRefuses(cause, "secret words of the store")))
    assert (body["status"], body["type"]) == (503, "/problems/store-refuses")
    assert "The request was not stored." in body["detail"]
    assert REFUSALS[cause] in body["detail"]
    assert "secret" not in body["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_refused_read_is_not_answered_as_a_write(method: str) -> None:
    body = body_of(Problems().response(StoreRefuses("permission", "secret words"), method))
    assert body["detail"] == (
        "The store refuses the commands of this request: its access rules forbid them."
    )


@pytest.mark.parametrize("noticed_at_s", [0.0, 2.0, 100.0])
def test_a_refused_write_is_logged_only_when_the_server_does_not_notice_it(
    caplog: pytest.LogCaptureFixture, noticed_at_s: float
) -> None:
    at_s = 0.0
    answers = Problems(lambda: at_s >= noticed_at_s, lambda: at_s)
    for tenth in range(100):
        at_s = tenth / 10
        answers.response(StoreRefuses("memory", "OOM"))
    logged = ["store refuses writes, answering 503: OOM"] if noticed_at_s > at_s else []
    assert caplog.messages == logged


def test_401_names_the_way_to_authenticate() -> None:
    response = Problems().response(Problem(401, "unauthorized", "Who?"))
    assert response.headers["www-authenticate"] == 'Bearer realm="liveblog"'


@pytest.mark.parametrize("status", [401, 408, 413])
def test_an_answer_before_the_body_was_read_closes_the_connection(status: int) -> None:
    answer = Problems().response(Problem(status, "too-large", "Too large."))
    assert answer.headers["connection"] == "close"
    assert "connection" not in Problems().response(Problem(404, "not-found", "No.")).headers
