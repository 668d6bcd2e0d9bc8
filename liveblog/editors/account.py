"""The desk's page of one editor's account: a new password.

The form works without scripts; a call that accepts JSON gets JSON. A new password ends the
editor's sessions in all other browsers.

Rules: no Redis, no HTML in strings. auth.py checks the current password, within the limits of tries
to sign in.
"""

from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from liveblog.blog.model import Caller
from liveblog.blog.problem import Problem
from liveblog.editors import auth
from liveblog.editors.answers import wants_json
from liveblog.editors.forms import FormView
from liveblog.editors.gate import ACCOUNT_FORM, Gate, page_response, read_form
from liveblog.editors.problems import Problems
from liveblog.editors.reasons import sentence
from liveblog.html.pages import Pages
from liveblog.settings import Settings
from liveblog.store.accounts import Accounts

ACCOUNT: Final = "/desk/account"
# Two passwords of 1,024 characters, each of which takes at most 12 bytes in a form.
BODY_BYTES_MAX: Final = 32 * 1024
CHANGED: Final = "Password changed. Your sessions in other browsers have ended."
_SUBJECTS: Final = {"current": "The current password", "password": "The new password"}


def routes(
    gate: Gate, accounts: Accounts, settings: Settings, pages: Pages, problems: Problems
) -> list[BaseRoute]:
    """Return the routes of the account's page and of its form."""
    account = _Account(accounts, settings, pages, problems)
    return [gate.get(ACCOUNT, account.show), gate.post(ACCOUNT_FORM, account.change)]


class _Account:
    def __init__(
        self, accounts: Accounts, settings: Settings, pages: Pages, problems: Problems
    ) -> None:
        self._accounts, self._settings = accounts, settings
        self._pages, self._problems = pages, problems

    async def show(self, request: Request, caller: Caller) -> Response:
        is_changed = request.query_params.get("done") == "password"
        return page_response(self._page(caller, FormView(), CHANGED if is_changed else ""))

    async def change(self, request: Request, caller: Caller) -> Response:
        boxes = await read_form(request, BODY_BYTES_MAX)
        current, new = boxes.get("current", ""), boxes.get("password", "")
        try:
            signed_in = await auth.change_password(
                request, self._accounts, self._settings, caller, current, new
            )
        except Problem as problem:
            return self._rejected(request, caller, problem)
        response = _changed(request)
        auth.set_cookies(response, request, self._settings, signed_in)
        return response

    def _rejected(self, request: Request, caller: Caller, problem: Problem) -> Response:
        """Answer with the reasons, and with the form without the passwords."""
        boxes = {pointer[1:]: _reason(pointer[1:], detail) for pointer, detail in problem.errors}
        reason = " ".join(boxes.values()) or sentence(problem.detail)
        if wants_json(request):
            problem.extra |= {"reason": reason, "boxes": boxes}
            return self._problems.response(problem)
        form = FormView(errors=boxes, problem="" if boxes else reason)
        return page_response(self._page(caller, form), problem.status, problem)

    def _page(self, caller: Caller, form: FormView, notice: str = "") -> str:
        return self._pages.desk("account", editor=caller, form=form, notice=notice)


def _changed(request: Request) -> Response:
    if not wants_json(request):
        return RedirectResponse(f"{ACCOUNT}?done=password", 303)
    content = {"notice": CHANGED, "done": "password"}
    return Response(orjson.dumps(content), media_type="application/json")


def _reason(name: str, detail: str) -> str:
    return sentence(f"{_SUBJECTS.get(name, name)} {detail}")
