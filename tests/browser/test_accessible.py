"""axe-core finds no violation on the readers' pages and the sign-in page, in each size, colour scheme and language."""

from typing import Any

import pytest
import pytest_asyncio
from kit.audits import barriers
from kit.samples import LANGUAGES, SIGHTS, Language, fill_football
from kit.servers import Server
from kit.windows import SCHEMES
from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def paths(server: Server) -> dict[Language, dict[str, str]]:
    """Return the paths of the pages, by language and kind."""
    async with server.editor() as editor:
        return {language: await fill_football(editor, language) for language in LANGUAGES}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("kind", "language"), SIGHTS)
async def test_a_page_breaks_no_rule_of_wcag_2_2_aa_or_best_practice(
    browser: Browser, server: Server, paths: Any, kind: str, language: Language, scheme: str
) -> None:
    assert await barriers(browser, server.url + paths[language][kind], scheme) == []
