"""Pages of other origins in Chromium: streams, and writes with an editor's session."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kit.servers import free_port, serving
from kit.windows import PASSWORD, add_editor, chromium, window
from playwright.async_api import Frame, Page

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\nConnection: close\r\n\r\n<p>"
PUBLISH = """async url => {
  const [method, credentials, headers] = ['POST', 'include', {'Content-Type': 'application/json'}];
  try {
    const answer = await fetch(url, {method, credentials, headers, body: '{"body":"From the CMS."}'});
    return [answer.status, answer.headers.get('location')];
  } catch { return ['not readable', null]; }
}"""
FIRST_FRAME = """url => new Promise(resolve => {
  const socket = new WebSocket(url);
  socket.onmessage = ({data}) => resolve(JSON.parse(data).t);
})"""
SANDBOX = """() => { const frame = document.createElement('iframe');
  Object.assign(frame, {sandbox: 'allow-scripts', srcdoc: '<p>'});
  return new Promise(resolve => { frame.onload = resolve; document.body.append(frame); }); }"""


@contextlib.asynccontextmanager
async def empty_pages(port: int) -> AsyncIterator[None]:
    """Answer every request on a port with an empty page."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        yield


async def sign_in(page: Page, site: str) -> None:
    await page.goto(f"{site}/desk/sign-in")
    await page.fill("[name=name]", "dana")
    await page.fill("[name=password]", PASSWORD)
    await page.click("#sign-in button")
    await page.wait_for_url(f"{site}/desk")


@pytest.mark.real
async def test_pages_of_listed_origins_write_and_stream_and_others_do_not(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "DATA_DIR": str(tmp_path / "data"),
        "LIVEBLOG_WRITE_ORIGINS": f"http://*.news.test:{port}",
        "LIVEBLOG_ALLOWED_ORIGINS": f"http://*.münchen.test:{port},null",
    }
    with serving(tmp_path / "log", **settings) as server:
        await add_editor(server)
        site = f"http://live.news.test:{server.port}"
        async with (
            server.editor() as editor,
            empty_pages(port),
            chromium(is_shell=True, more=["--host-resolver-rules=MAP *.test 127.0.0.1"]) as browser,
            window(browser, expected=".*") as page,
        ):
            slug = (await editor.blog())["slug"]
            await sign_in(page, site)

            async def published(host: str) -> str:
                await page.goto(f"http://{host}:{port}/")
                found: list[str] = await page.evaluate(PUBLISH, f"{site}/api/blogs/{slug}/entries")
                return str(found[0])

            async def streamed(host: str) -> str:
                await page.goto(f"http://{host}:{port}/")
                return await first_frame(page.main_frame)

            async def first_frame(frame: Frame) -> str:
                url = f"ws://live.news.test:{server.port}/blogs/{slug}/live"
                return str(await frame.evaluate(FIRST_FRAME, url))

            assert await published("cms.news.test") == "201"
            assert await published("a.cms.news.test") == "not readable"
            assert await published("sport.münchen.test") == "not readable"
            assert len(await editor.entries(slug)) == 1
            assert await streamed("sport.münchen.test") == "hello"
            assert await streamed("münchen.test") == "bye"
            assert await streamed("cms.news.test") == "bye"
            await page.evaluate(SANDBOX)
            assert await first_frame(page.frames[-1]) == "hello"
