"""Measure 24 set-ups of real proxies, each with a page and an editor in Chromium.

    make real ARGS="--only proxies"
    PYTHONPATH=tests .venv/bin/python -m measure.proxies "nginx"

The second form runs only the set-ups whose names contain a text. In each set-up a reader opens the page, and an editor
signs in at the desk's form and publishes there. When the server refuses the editor, the reason must name the setting;
then a script publishes past the proxy. The entry must be on the open page within 5 s. Strangers' requests follow: a
WebSocket, an EventSource and a sign-in with a foreign Origin. The site's name is not localhost, where browsers mark
requests over http too. One set-up takes about 3 s.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from kit.figure import Figure
from kit.proxies import NGINX, NGINX_UPGRADE, VARNISH_PIPE, Setup, certificate, proxied
from kit.readers import Target, events, websocket
from kit.servers import Server, free_port, http, serving
from kit.waiting import until
from kit.windows import PASSWORD, add_editor, chromium, window
from playwright.async_api import Browser, Page
from websockets.exceptions import InvalidHandshake

HOST = "www.live.test"
EVIL = "https://evil.example"
ARRIVAL_S = 5.0
SETTINGS = ("PUBLIC_URL", "FORWARDED_ALLOW_IPS")
PUBLIC = {"PUBLIC_URL": "{site}"}
UNTRUSTED = {"FORWARDED_ALLOW_IPS": "192.0.2.1"}
HEADLINE = "Polls are open"

# Set-ups in the words of each program. Without "Host", nginx and the lines of others send the server's own host.
SETUPS = {
    "nginx: Host with its port": Setup("nginx", NGINX),
    "nginx: no Host": Setup("nginx", NGINX_UPGRADE),
    "nginx: nothing but proxy_pass": Setup("nginx"),
    "nginx: no Host, PUBLIC_URL": Setup("nginx", NGINX_UPGRADE, settings=PUBLIC),
    "nginx: Host without its port": Setup("nginx", f"{NGINX_UPGRADE} proxy_set_header Host $host;"),
    "nginx: Host without its port, PUBLIC_URL": Setup(
        "nginx", f"{NGINX_UPGRADE} proxy_set_header Host $host;", settings=PUBLIC
    ),
    "nginx: Host in capitals with a dot": Setup(
        "nginx", f'{NGINX_UPGRADE} proxy_set_header Host "WWW.Live.Test.:$server_port";'
    ),
    "nginx: www beside PUBLIC_URL": Setup(
        "nginx", NGINX, settings={"PUBLIC_URL": "http://live.test"}
    ),
    "nginx: no Host, X-Forwarded-Host": Setup(
        "nginx", f"{NGINX_UPGRADE} proxy_set_header X-Forwarded-Host $http_host;"
    ),
    "nginx: no Host, X-Forwarded-Host of an untrusted proxy": Setup(
        "nginx",
        f"{NGINX_UPGRADE} proxy_set_header X-Forwarded-Host $http_host;",
        settings=UNTRUSTED,
    ),
    "nginx: TLS without X-Forwarded-Proto": Setup("nginx", NGINX, tls=True),
    "nginx: TLS, no Host": Setup("nginx", NGINX_UPGRADE, tls=True),
    "nginx: TLS, Host with :443": Setup(
        "nginx", f"{NGINX_UPGRADE} proxy_set_header Host $host:443;", tls=True
    ),
    "nginx: TLS, X-Forwarded-Proto HTTPS": Setup(
        "nginx", f"{NGINX} proxy_set_header X-Forwarded-Proto HTTPS;", tls=True
    ),
    "nginx: TLS, no Host, Forwarded alone": Setup(
        "nginx",
        f"{NGINX_UPGRADE} proxy_set_header Forwarded"
        ' "for=$remote_addr;proto=$scheme;host=\\"$http_host\\"";',
        tls=True,
    ),
    "HAProxy: as it comes": Setup("HAProxy", "option forwardfor"),
    "HAProxy: TLS, X-Forwarded-Proto https,http": Setup(
        "HAProxy", "http-request set-header X-Forwarded-Proto https,http", tls=True
    ),
    "HAProxy: TLS, PUBLIC_URL": Setup("HAProxy", tls=True, settings=PUBLIC),
    "HAProxy: TLS, before nginx that calls it http": Setup(
        "HAProxy",
        tls=True,
        behind=Setup("nginx", f"{NGINX} proxy_set_header X-Forwarded-Proto $scheme;"),
    ),
    "Varnish: as it comes": Setup("Varnish"),
    "Varnish: WebSockets piped": Setup("Varnish", VARNISH_PIPE),
    "Varnish: behind TLS of HAProxy": Setup(
        "HAProxy", tls=True, behind=Setup("Varnish", VARNISH_PIPE)
    ),
    "Caddy: as it comes": Setup("Caddy"),
    "Caddy: TLS, another Host": Setup("Caddy", "header_up Host {upstream_hostport}", tls=True),
}


class Outcome(NamedTuple):
    """The result of a set-up: seconds until the entry arrived, the answer to the editor, strangers refused."""

    arrival_s: float | None
    editor: str
    is_strange_refused: bool

    @property
    def has_arrived(self) -> bool:
        return self.arrival_s is not None

    @property
    def is_told(self) -> bool:
        return self.editor == "published" or any(name in self.editor for name in SETTINGS)


async def figures() -> AsyncIterator[Figure]:
    outcomes = [outcome async for _, outcome in measure("")]
    shown = [
        ("an entry arrived within 5 s", [it.has_arrived for it in outcomes]),
        ("the editor published, or was told the setting", [it.is_told for it in outcomes]),
        ("foreign origins were refused", [it.is_strange_refused for it in outcomes]),
    ]
    for what, each in shown:
        yield Figure(f"proxies: set-ups of 24 where {what}", 24, sum(each), at_least=True)
    slowest = max((it.arrival_s or float("inf") for it in outcomes), default=float("inf"))
    yield Figure("proxies: slowest arrival", ARRIVAL_S, slowest, " s")


async def measure(part: str) -> AsyncIterator[tuple[str, Outcome]]:
    """Run the set-ups whose names contain a text, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        tls = certificate(directory, HOST)
        with serving(directory / "log", DATA_DIR=str(directory / "data")) as base:
            await add_editor(base)
            rules = f"--host-resolver-rules=MAP {HOST} 127.0.0.1"
            async with chromium(is_shell=True, more=[rules]) as browser:
                for number, (name, setup) in enumerate(SETUPS.items()):
                    if part not in name:
                        continue
                    outcome = await one(setup, browser, base, directory / str(number), tls)
                    print(f"{name}: {outcome}", file=sys.stderr, flush=True)
                    yield name, outcome


async def one(setup: Setup, browser: Browser, base: Server, directory: Path, tls: Path) -> Outcome:
    """Run a set-up with a server of its own, on the store of `base`."""
    port = free_port()
    site = f"{'https' if setup.tls else 'http'}://{HOST}:{port}"
    settings = {name: value.format(site=site) for name, value in setup.settings.items()}
    with (
        serving(directory.with_suffix(".log"), REDIS_URL=base.store_url, **settings) as server,
        proxied(setup, port, server.port, directory, tls),
    ):
        async with server.editor() as script:
            blog = await script.blog()
            async with (
                window(browser, expected=".*", ignore_https_errors=True) as reader,
                window(browser, expected=".*", ignore_https_errors=True) as desk,
            ):
                await reader.goto(f"{site}/blogs/{blog['slug']}")
                said = await publish(desk, site, blog["slug"])
                if said != "published":
                    await script.publish(blog["slug"], headline=HEADLINE)
                arrival_s = await arrival(reader)
        return Outcome(
            arrival_s,
            said,
            await refuses_strangers(f"{site[:5].rstrip(':')}://127.0.0.1:{port}", blog["slug"]),
        )


async def arrival(reader: Page) -> float | None:
    """Return the seconds until the entry is on the page; None when it is not within ARRIVAL_S."""
    start = time.monotonic()
    try:
        await reader.get_by_text(HEADLINE).first.wait_for(timeout=ARRIVAL_S * 1_000)
    except Exception:
        return None
    return time.monotonic() - start


async def publish(desk: Page, site: str, slug: str) -> str:
    """Sign in and publish as an editor; return "published", or the reason of the refusal."""
    await desk.goto(f"{site}/desk/sign-in")
    await desk.fill("[name=name]", "dana")
    await desk.fill("[name=password]", PASSWORD)
    await desk.click("#sign-in button")
    await desk.wait_for_load_state()
    if desk.url != f"{site}/desk":
        return await desk.inner_text("[role=alert]")
    await desk.goto(f"{site}/desk/blogs/{slug}")
    await desk.fill("#compose [name=headline]", HEADLINE)
    await desk.fill("#compose [name=body]", "Lines around the block in three states.")
    await desk.press("#compose [name=body]", "Control+Enter")
    return await until(lambda: published(desk))


async def published(desk: Page) -> str:
    """Return "published" when the notice is there, the reasons when it gives some, else ""."""
    if "Published" in await desk.inner_text("#notice"):
        return "published"
    reasons = await desk.locator("[role=alert]:visible").all_inner_texts()
    return " ".join(reasons).strip()


async def refuses_strangers(url: str, slug: str) -> bool:
    """Return whether a WebSocket, an EventSource and a sign-in of a foreign page are all refused."""
    ask = Target(url, slug, origin=EVIL, headers={"host": f"{HOST}:{url.rpartition(':')[2]}"})
    socket_ask = Target(url, slug, origin=EVIL)
    try:
        async with websocket(socket_ask) as stream:
            frames = await stream.rest()
        is_socket_refused = stream.code == 4500 and [it["t"] for it in frames] == ["bye"]
    except InvalidHandshake:  # this proxy passes no WebSockets on
        is_socket_refused = True
    async with events(ask) as stream:
        frames = await stream.rest()
    is_stream_refused = (stream.code, frames) == (204, [])
    async with http(base_url=url) as client:
        form = {"name": "dana", "password": PASSWORD}
        headers = {"origin": EVIL, "sec-fetch-site": "cross-site", **ask.headers}
        answer = await client.post("/desk/sign-in", data=form, headers=headers)
    return is_socket_refused and is_stream_refused and answer.status_code == 403


async def main() -> None:
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    async for _ in measure(part):
        pass


if __name__ == "__main__":
    asyncio.run(main())
