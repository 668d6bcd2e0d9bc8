"""Markdown to HTML in a thread, with a limit on the text that waits.

Rules: nothing is rendered on the event loop, since a text that is written to be slow to render
takes a quarter of a second.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from liveblog.blog.fields import HTML_BYTES_MAX
from liveblog.blog.problem import Problem, invalid
from liveblog.html import markdown

# Limit of all texts together that are being rendered or wait for the thread: 1,000 texts of 1,000
# characters, or 50 of the greatest length. Those 50 take 13 s if written to be slow.
RENDERED_AT_ONCE_MAX: Final = 1_000_000  # characters


class Renderer:
    """Renders texts in one thread.

    A second thread would only delay the event loop more: all threads share one interpreter lock.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="markdown")
        self._waiting = 0  # characters

    async def html(self, text: str | None, pointer: str) -> str | None:
        """Return the HTML of a field's Markdown, None for an empty field.

        Raises Problem: 422 as `html_of` does, 503 when more than RENDERED_AT_ONCE_MAX characters
        would wait.
        """
        if not text:
            return None
        if self._waiting + len(text) > RENDERED_AT_ONCE_MAX:
            detail = "Too many texts are waiting to be rendered."
            raise Problem(503, "busy", detail, retry_after_s=1)
        self._waiting += len(text)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, html_of, text, pointer)
        finally:
            self._waiting -= len(text)


def html_of(text: str, pointer: str) -> str:
    """Return the HTML of the Markdown in the field at a JSON pointer. For threads.

    Raises Problem 422 when the HTML is longer than HTML_BYTES_MAX.
    """
    html = markdown.to_html(text)
    size = len(html.encode())
    if size > HTML_BYTES_MAX:
        raise invalid((pointer, f"makes {size} bytes of HTML; the limit is {HTML_BYTES_MAX}"))
    return html
