"""Kept texts on the desk: what an editor typed and did not send, for the editor's other machines.

Scripts send a text within two seconds of a pause, one for each form and tab. Nothing here publishes
or alters an entry.

Rules: no Redis. An editor reads only the own texts, in blogs whose desk the editor may read. To
drop another editor's text, a script needs the text's key. The key comes in a header, since proxies
log addresses.
"""

import re
from hmac import compare_digest
from typing import Any, Final

import msgspec
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from liveblog.blog.model import COUNT_MAX, Caller, is_entry_id
from liveblog.blog.problem import Problem, invalid, not_found
from liveblog.editors.bodies import bodies_of
from liveblog.editors.decisions import gone
from liveblog.editors.gate import Gate
from liveblog.editors.publishing import Publishing
from liveblog.store.kept import FORMS, Kept, KeptTexts, Place

KEPT_BYTES_MAX: Final = 64 * 1024  # of one text, as JSON
KEY: Final = "liveblog-key"  # the header with the key of another editor's text
_TOO_LARGE: Final = (
    "This text is too long for a copy on the server. It is kept in this browser alone."
)
_TAB: Final = re.compile(r"[0-9a-z]{16}", re.ASCII)


def routes(gate: Gate, kept: KeptTexts, publishing: Publishing) -> list[BaseRoute]:
    """Return the routes of kept texts, which answer in JSON."""
    calls = _Calls(kept, publishing)
    every, one = "/desk/blogs/{slug}/kept", "/desk/blogs/{slug}/kept/{form}/{tab}"
    return [
        gate.script("GET", every, calls.all),
        gate.script("GET", one, calls.one),
        gate.script("PUT", one, calls.keep),
        gate.script("DELETE", one, calls.drop),
    ]


class _Calls:
    def __init__(self, kept: KeptTexts, publishing: Publishing) -> None:
        self._kept, self._publishing = kept, publishing

    async def all(self, request: Request, caller: Caller) -> Response:
        slug = await self._slug(request, caller)
        found = await self._kept.all(slug, caller.ident)
        texts = [{"form": it.form, "tab": it.tab, **_json(it.kept)} for it in found]
        return _answer({"kept": texts})

    async def one(self, request: Request, caller: Caller) -> Response:
        found = await self._kept.one(await self._place(request, caller))
        if not found:
            raise not_found("No text is kept here.")
        return _answer(_json(found))

    async def keep(self, request: Request, caller: Caller) -> Response:
        place = await self._place(request, caller)
        kept = _decoded(await _body(request))
        if not await self._may_see(caller, place) or not await self._kept.keep(place, kept):
            raise gone("The entry was taken down, or no longer exists.")
        return Response(status_code=204)

    async def drop(self, request: Request, caller: Caller) -> Response:
        place, query = await self._place(request, caller), request.query_params
        typed_at = _typed_at(query.get("typed_at", ""))
        if editor := query.get("editor"):
            place = msgspec.structs.replace(place, editor=editor)
            if not await self._has_key(place, request.headers.get(KEY, "")):
                return Response(status_code=204)
        await self._kept.drop(place, typed_at)
        return Response(status_code=204)

    async def _has_key(self, place: Place, key: str) -> bool:
        """Return whether a text has this key, which only the browser knows that typed the text."""
        found = await self._kept.one(place)
        return bool(key and found and compare_digest(found.key.encode(), key.encode()))

    async def _may_see(self, caller: Caller, place: Place) -> bool:
        """Return whether the caller may know of the form's entry: only contributors may not.

        The store decides about a deleted entry: it keeps texts until a takedown.
        """
        if place.id and caller.role == "contributor":
            try:
                await self._publishing.entry(caller, place.slug, place.id)
            except Problem as problem:
                if problem.status not in (404, 410):
                    raise
                return problem.status == 410
        return True

    async def _place(self, request: Request, caller: Caller) -> Place:
        """Return the place in a request's address. Raises Problem 404."""
        slug, form = await self._slug(request, caller), request.path_params["form"]
        tab = request.path_params["tab"]
        if not (form in FORMS or is_entry_id(form)) or not _TAB.fullmatch(tab):
            raise not_found("A text is kept for new, header or an entry, and for a tab.")
        return Place(slug, caller.ident, form, tab)

    async def _slug(self, request: Request, caller: Caller) -> str:
        """Return the slug of a blog whose desk the caller may read. Raises Problem 404."""
        slug: str = request.path_params["slug"]
        await self._publishing.blog(caller, slug, or_damaged=True)
        return slug


async def _body(request: Request) -> bytes:
    """Return a request's body. Raises Problem as `Bodies.read` does, with words for an editor."""
    try:
        return await bodies_of(request).read(request, KEPT_BYTES_MAX)
    except Problem as problem:
        if problem.status == 413:
            problem.extra |= {"reason": _TOO_LARGE, "boxes": {}}
        raise


def _decoded(body: bytes) -> Kept:
    """Return the text in a request. Raises Problem: 400 for broken JSON, 422 for any other JSON."""
    try:
        return msgspec.json.decode(body, type=Kept)
    except msgspec.ValidationError as error:
        raise invalid(("", f"The body is no kept text: {error}")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "broken-json", f"The body is not valid JSON: {error}") from None


def _typed_at(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,16}", text, re.ASCII) or int(text) > COUNT_MAX:
        detail = f"typed_at must be milliseconds since 1970, not {text[:40]!r}."
        raise Problem(422, "bad-parameter", detail)
    return int(text)


def _json(kept: Kept) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.structs.asdict(kept)
    return fields


def _answer(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
