"""axe-core finds no violation on the pages of readers and editors, in sizes, colour schemes and languages."""

from itertools import product
from typing import Any

import pytest
import pytest_asyncio
from kit import desks
from kit.audits import barriers, violations
from kit.samples import LANGUAGES, SIGHTS, Language, fill_football
from kit.servers import Server
from kit.windows import SCHEMES, SIZES
from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Each sight of the desk in one size and scheme, in turn; `make desk` has all of them in all.
LOOKS = [*product(SIZES.values(), SCHEMES)]
OFTEN = [it for it in desks.SIGHTS if it.often]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def paths(server: Server) -> dict[Language, dict[str, str]]:
    """Return the paths of the pages, by language and kind."""
    async with server.editor() as editor:
        return {language: await fill_football(editor, language) for language in LANGUAGES}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def place(server: Server) -> Any:
    async with server.editor() as editor:
        yield await desks.prepared(server, editor)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("kind", "language"), SIGHTS)
async def test_a_page_breaks_no_rule_of_wcag_2_2_aa_or_best_practice(
    browser: Browser, server: Server, paths: Any, kind: str, language: Language, scheme: str
) -> None:
    assert await barriers(browser, server.url + paths[language][kind], scheme) == []


@pytest.mark.parametrize(
    ("sight", "look"),
    [(it, LOOKS[n % len(LOOKS)]) for n, it in enumerate(OFTEN)],
    ids=[it.name for it in OFTEN],
)
async def test_a_page_of_the_desk_breaks_no_rule_in_any_state(
    browser: Browser, place: desks.Place, sight: desks.Sight, look: Any
) -> None:
    options = {"viewport": look[0], "color_scheme": look[1]}
    async with desks.opened(browser, place, sight, **options) as page:
        assert await violations(page) == []


async def test_every_page_of_the_desk_is_audited(place: desks.Place) -> None:
    assert desks.page_routes() > {"/desk", "/desk/blogs/{slug}", "/desk/sign-in"}
    assert desks.routes_without_a_sight() == set()
    for route in desks.FOR_SCRIPTS:
        path = route.format(slug=place.slug, form="new", tab="0" * 16)
        async with place.server.editor() as editor:
            answer = await editor.client.get(path, headers=desks.cookie_of(place.admin))
        assert answer.headers["content-type"].endswith("json"), route
