"""The parts of a request to the API, checked: headers, parameters, revisions in paths, bodies.

Rules: no store, no permission.
"""

import re
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from liveblog.blog.fields import IDEMPOTENCY_KEY_MAX, decode_json, is_idempotency_key
from liveblog.blog.problem import Problem, not_found
from liveblog.editors.bodies import bodies_of
from liveblog.editors.decisions import ANY_REVISION, Revisions

IF_MATCH_MAX: Final = 50  # tags in one If-Match
JSON: Final = ("application/json",)
PATCH: Final = ("application/json", "application/merge-patch+json")  # RFC 7396, section 4
_ETAG: Final = re.compile(r'(?:W/)?"([!#-~\x80-\xff]*)"')  # RFC 9110, section 8.8.3
_ETAGS: Final = re.compile(rf"(?:[ \t,]*{_ETAG.pattern}[ \t]*(?:,|$))+[ \t,]*")
# Proxies that compress an answer append a suffix to its tag: Apache "-gzip" or "--gzip", others
# ";gzip"; likewise for br, zstd and deflate. nginx appends none and adds W/.
_TAG_SUFFIX: Final = re.compile(r"(?:--?|;)(?:gzip|br|zstd|deflate)$")
_REVISION: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def idempotency_key(request: Request) -> str | None:
    """Return the request's Idempotency-Key, None without one.

    Raises Problem 422 for an invalid key.
    """
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not is_idempotency_key(given[0]):
        rule = f"1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters"
        raise _bad_header(f"Idempotency-Key must be one key of {rule}, not {given[0][:80]!r}.")
    return given[0]


def if_match(request: Request) -> Revisions | None:
    """Return the revisions in If-Match, None without the header.

    Looser than RFC 9110, section 13.1.1: a weak tag counts as the strong one, and so does a tag
    with the suffix of a coding, because proxies that compress an answer alter its tag. A tag that
    is no revision number matches no entry. `*` matches every revision.
    """
    if "if-match" not in request.headers:
        return None
    given = ", ".join(request.headers.getlist("if-match"))
    if given.strip() == "*":
        return ANY_REVISION
    tags = _ETAG.findall(given) if _ETAGS.fullmatch(given) else []
    if not 1 <= len(tags) <= IF_MATCH_MAX:
        rule = f'* or 1 to {IF_MATCH_MAX} revisions in quotes like "3"'
        raise _bad_header(f"If-Match must be {rule}, not {given[:80]!r}.")
    names = [_TAG_SUFFIX.sub("", tag) for tag in tags]
    revisions = [int(name) for name in names if _REVISION.fullmatch(name)]
    return revisions[0] if len(revisions) == 1 else revisions


def _bad_header(detail: str) -> Problem:
    return Problem(422, "bad-header", detail)


def limit(query: Mapping[str, str], default: int, most: int) -> int:
    """Return the parameter `limit`, from 1 to `most`. Raises Problem 422 for any other value."""
    given = query.get("limit") or str(default)
    if not re.fullmatch(r"[0-9]{1,3}", given, re.ASCII) or not 1 <= int(given) <= most:
        raise _bad_parameter(f"limit must be from 1 to {most}, not {given[:40]!r}.")
    return int(given)


def revision_before(query: Mapping[str, str]) -> int | None:
    """Return the parameter `before` of a list of revisions, None without one.

    Raises Problem 422 for a value that is no revision number.
    """
    given = query.get("before") or None
    if given is not None and not _REVISION.fullmatch(given):
        raise _bad_parameter(f"before must be the number of a revision, not {given[:40]!r}.")
    return None if given is None else int(given)


def revision_in_path(request: Request) -> int:
    """Return the revision number in the path. Raises 404 for a part that is no number."""
    given = str(request.path_params["n"])
    if not _REVISION.fullmatch(given):
        raise not_found(f"A revision is a number, not {given[:40]!r}.")
    return int(given)


def takedown(request: Request) -> bool:
    """Return whether the request asks for a takedown.

    A `takedown` parameter other than 0 or 1 is rejected, so that a typing error has no effect.
    """
    given = request.query_params.get("takedown", "0")
    if given not in ("0", "1"):
        raise _bad_parameter(f"takedown must be 1 or 0, not {given[:40]!r}.")
    return given == "1"


def _bad_parameter(detail: str) -> Problem:
    return Problem(422, "bad-parameter", detail)


async def fields(request: Request, media_types: tuple[str, ...]) -> dict[str, object]:
    """Return the JSON object in the body.

    Raises Problem: 415 for another media type, what `Bodies.read` raises, 400 for broken JSON, 422
    when the JSON is no object.
    """
    _check_media_type(request, media_types)
    found: dict[str, object] = decode_json(await bodies_of(request).read(request))
    return found


def _check_media_type(request: Request, media_types: tuple[str, ...]) -> None:
    given = request.headers.get("content-type", "")
    name, _, parameters = given.partition(";")
    encoding = request.headers.get("content-encoding", "identity")
    charset = re.search(r'charset\s*=\s*"?([^\s";]*)', parameters, re.IGNORECASE)
    if name.strip().lower() not in media_types:
        raise _unsupported(f"Content-Type must be {' or '.join(media_types)}, not {given[:80]!r}.")
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise _unsupported(f"The charset must be utf-8, not {charset[1][:40]!r}.")
    if encoding.lower() != "identity":
        raise _unsupported(f"The body must not be compressed; it is in {encoding[:40]!r}.")


def _unsupported(detail: str) -> Problem:
    return Problem(415, "unsupported-media-type", detail)
