"""The README's animation: an editor publishes at the desk, and a phone shows every change.

`liveblog demo --replay` publishes the sample blog again, entry by entry. Meanwhile this program
types an entry at the desk. Each picture of the animation is a screenshot of both windows. The
program sets how long each picture shows, and stops the replay before each screenshot, so a slow
machine produces the same animation.
"""

import asyncio
import contextlib
import io
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from kit.samples import DEMO
from kit.servers import Editor, Server, environment
from kit.windows import open_desk, open_page, window
from PIL import Image, ImageDraw, ImageFont
from playwright.async_api import Browser, Page

MOTION: Final = Path(__file__).parents[2] / "docs" / "motion.webp"
BYTES_MAX: Final = 1_500_000
SLUG: Final = f"{DEMO.removeprefix('/blogs/')}-replay"
REPLAY: Final = "from liveblog.commands.main import main; main()"
GAP_S: Final = 0.5  # seconds between two changes that `demo --replay` makes
SHOWN_S: Final = 0.3  # seconds until both windows show a new change
STEPS: Final = 4  # entries that `demo --replay` publishes after the typed entry
ENTRIES_BEFORE: Final = 3  # entries that both windows show at the start of the animation

DESK: Final = (820, 800)  # CSS pixels
PHONE: Final = (375, 800)
SHOWN: Final = 0.8  # pixels of the animation for one CSS pixel
SHARP: Final = 2  # screenshots are this many times as large as the animation, then reduced
MARGIN: Final = 28
BAR: Final = 30  # the desk's title bar
BEZEL: Final = 10  # around the phone
BACKGROUND: Final = "#e4e1da"
INK: Final = "#1d1d1f"

# Scrolls the phone's page so that its status bar is at the top, and the newest entry below.
FOLLOW: Final = """document.querySelector('.bar').scrollIntoView({behavior: 'instant'})"""
STYLE: Final = """text => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(text);
  document.adoptedStyleSheets = [sheet];
}"""
HIDE_PINNED: Final = "#pinned, .tools { display: none !important }"  # room for the entries

HEADLINE: Final = "Still looking up"
TEXT: Final = (
    "The flame is gone, and on the beach *nobody has moved*. One man keeps waving his hat."
)


class Recorder:
    """Records the animation: `shoot` adds a picture of both windows, `save` writes the file."""

    def __init__(self, desk: Page, phone: Page) -> None:
        self._desk, self._phone = desk, phone
        self._frames: list[Image.Image] = []
        self._times_ms: list[int] = []

    async def shoot(self, time_ms: int = 120) -> None:
        """Add a picture of both windows for `time_ms`. An equal picture prolongs the last one."""
        await self._phone.evaluate(FOLLOW)
        desk, phone = await asyncio.gather(self._desk.screenshot(), self._phone.screenshot())
        frame = composed(_reduced(desk, DESK), _reduced(phone, PHONE))
        if self._frames and frame.tobytes() == self._frames[-1].tobytes():
            self._times_ms[-1] += time_ms
        else:
            self._frames.append(frame)
            self._times_ms.append(time_ms)

    def save(self, path: Path) -> None:
        """Write the animation. Raises AssertionError when the file is larger than BYTES_MAX."""
        first, *others = self._frames
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=self._times_ms,
            loop=0,
            quality=82,
            method=6,
            minimize_size=True,
        )
        assert path.stat().st_size < BYTES_MAX, f"{path} has {path.stat().st_size} bytes"


def _reduced(png: bytes, size: tuple[int, int]) -> Image.Image:
    width, height = (round(side * SHOWN) for side in size)
    shot = Image.open(io.BytesIO(png)).convert("RGB")
    return shot.resize((width, height), Image.Resampling.LANCZOS)


def composed(desk: Image.Image, phone: Image.Image) -> Image.Image:
    """Return both pictures side by side: the desk in a window's frame, the phone in its bezel."""
    width = desk.width + phone.width + 3 * MARGIN + 2 * BEZEL
    height = desk.height + BAR + 2 * MARGIN
    whole = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(whole)
    left, top = MARGIN, MARGIN
    draw.rounded_rectangle((left, top, left + desk.width, height - MARGIN), 10, "#f7f6f3")
    for n, colour in enumerate(("#e2665c", "#e5b84b", "#6cb865")):
        draw.ellipse((left + 14 + 18 * n, top + 10, left + 24 + 18 * n, top + 20), colour)
    draw.text(
        (left + desk.width / 2, top + BAR / 2),
        "The editor's desk",
        "#5b5b60",
        ImageFont.load_default(14),
        anchor="mm",
    )
    whole.paste(desk, (left, top + BAR))
    left += desk.width + MARGIN
    top = (height - phone.height) // 2
    outer = (left, top - BEZEL, left + phone.width + 2 * BEZEL, top + phone.height + BEZEL)
    draw.rounded_rectangle(outer, 26, INK)
    mask = Image.new("L", phone.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, phone.width - 1, phone.height - 1), 18, 255)
    whole.paste(phone, (left + BEZEL, top), mask)
    return whole


class Replay:
    """Controls a `liveblog demo --replay` process, which publishes entries only during a `step`."""

    def __init__(self, process: asyncio.subprocess.Process, editor: Editor) -> None:
        self._process, self._editor = process, editor

    async def step(self, entries: int = 1) -> None:
        """Let the process run until it has published `entries` more entries."""
        wanted = await self._count() + entries
        self._process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            while await self._count() < wanted:  # noqa: ASYNC110 - another process publishes
                await asyncio.sleep(0.05)
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(SHOWN_S)

    async def _count(self) -> int:
        """Return how many entries the blog has; 0 before it is created."""
        answer = await self._editor("GET", f"/{SLUG}/entries")
        return len(answer.json()["entries"]) if answer.is_success else 0


@contextlib.asynccontextmanager
async def replaying(server: Server, data_dir: str) -> AsyncIterator[Replay]:
    """Run `liveblog demo --replay` while the `async with` block runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", REPLAY, "demo", "--replay", "--gap", str(GAP_S)),
        env=environment(DATA_DIR=data_dir, PORT=str(server.port)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with server.editor() as editor:
            yield Replay(process, editor)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def record(browser: Browser, server: Server, data_dir: str, path: Path = MOTION) -> None:
    """Record the animation on a server where kit/windows.py `add_editor` has added a user."""
    options: dict[str, Any] = {"device_scale_factor": SHOWN * SHARP, "color_scheme": "light"}
    async with (
        replaying(server, data_dir) as replay,
        window(browser, viewport=_viewport(DESK), **options) as desk,
        window(browser, viewport=_viewport(PHONE), **options) as phone,
    ):
        await replay.step(ENTRIES_BEFORE)
        await open_desk(desk, server, SLUG)
        await open_page(phone, server, SLUG)
        await phone.evaluate(STYLE, HIDE_PINNED)
        recorder = Recorder(desk, phone)
        await _publish(recorder, desk, replay)
        await _watch(recorder, desk, replay)
        recorder.save(path)


def _viewport(size: tuple[int, int]) -> dict[str, int]:
    return dict(zip(("width", "height"), size, strict=True))


async def _publish(recorder: Recorder, desk: Page, replay: Replay) -> None:
    """Type an entry while `replay` publishes another, then publish and show the typed entry."""
    await recorder.shoot(900)
    await _type(recorder, desk, "headline", HEADLINE, 2)
    await replay.step()
    await _type(recorder, desk, "body", TEXT, 4)
    await recorder.shoot(500)
    await desk.click("#compose button.primary")
    await desk.wait_for_selector("#notice p")
    await asyncio.sleep(SHOWN_S)
    for _ in range(6):
        await recorder.shoot(150)
    await recorder.shoot(900)


async def _type(recorder: Recorder, desk: Page, name: str, text: str, step: int) -> None:
    await desk.focus(f"#compose [name={name}]")
    for start in range(0, len(text), step):
        await desk.keyboard.insert_text(text[start : start + step])
        await recorder.shoot(110)


async def _watch(recorder: Recorder, desk: Page, replay: Replay) -> None:
    """Scroll the desk to its published entries, and record STEPS entries of `replay`."""
    for _ in range(8):
        await desk.evaluate("scrollBy({top: 90, behavior: 'instant'})")
        await recorder.shoot(60)
    for _ in range(STEPS):
        await replay.step()
        for _ in range(3):
            await recorder.shoot(150)
        await recorder.shoot(1_200)
