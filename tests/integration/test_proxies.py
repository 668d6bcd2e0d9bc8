"""One set-up of each proxy program in front of a server without PUBLIC_URL, as a browser uses it.

`make real` has 24 set-ups, with Chromium (tests/measure/proxies.py).
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from kit.proxies import NGINX_UPGRADE, VARNISH_PIPE, Setup, certificate, proxied
from kit.readers import Target, events, websocket
from kit.servers import Editor, Server, free_port, http, serving

from liveblog.clock import now_ms
from liveblog.store.accounts import Accounts
from liveblog.store.connect import connect

PASSWORD = "correct horse battery"
EVIL = "https://evil.example"

SETUPS = {
    "nginx drops the port on https": Setup(
        "nginx", f"{NGINX_UPGRADE} proxy_set_header Host $host;", tls=True
    ),
    "HAProxy": Setup("HAProxy"),
    "Varnish": Setup("Varnish", VARNISH_PIPE),
    "Caddy hides the host but names it": Setup("Caddy", "header_up Host {upstream_hostport}"),
}
HIDDEN = Setup("nginx", NGINX_UPGRADE)  # without a Host line, nginx sends the server's own


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(site: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server of this module alone: it logs only one refusal a minute."""
    asyncio.run(_add_user(site.store_url))
    log = tmp_path_factory.mktemp("proxies") / "log"
    with serving(log, REDIS_URL=site.store_url, LIVEBLOG_HEARTBEAT_S="0.25") as server:
        yield server


async def _add_user(store_url: str) -> None:
    async with connect(store_url) as client:
        await Accounts(client, now_ms).people.add("proxied", PASSWORD, "editor")


async def sign_in(client: httpx2.AsyncClient, **headers: str) -> httpx2.Response:
    form = {"name": "proxied", "password": PASSWORD}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/desk/sign-in", data=form, headers=named)


async def test_page_goes_on_by_events_when_a_proxy_hides_the_host(
    server: Server, editor: Editor, tmp_path: Path
) -> None:
    blog, port = await editor.blog(), free_port()
    url = f"http://127.0.0.1:{port}"
    with proxied(HIDDEN, port, server.port, tmp_path / "proxy"):
        async with websocket(Target(url, blog["slug"], origin=url)) as stream:
            await stream.rest()
            assert stream.code == 4500
        async with events(Target(url, blog["slug"], blog["position"])) as stream:
            await stream.next("hello")
            await editor.publish(blog["slug"])
            await stream.next("changes")
        async with http(base_url=url) as client:
            refused = await sign_in(client, origin=url)
            assert refused.status_code == 403
            assert "PUBLIC_URL" in refused.text
            assert (await sign_in(client, origin=url, sec_fetch_site="same-origin")).is_redirect
    assert f"origin '{url}' is none of '127.0.0.1:{server.port}'; set PUBLIC_URL" in server.said()


@pytest.mark.parametrize("name", SETUPS)
async def test_page_and_desk_work_without_settings_behind_a_proxy(
    name: str, server: Server, editor: Editor, tmp_path: Path, tls: Path
) -> None:
    setup, blog, port = SETUPS[name], await editor.blog(), free_port()
    url = f"{'https' if setup.tls else 'http'}://127.0.0.1:{port}"
    # Browsers send Sec-Fetch-Site only over https; to the server it is the whole proof there.
    browser = {"origin": url} | ({"sec_fetch_site": "same-origin"} if setup.tls else {})
    ask = Target(url, blog["slug"], blog["position"], origin=url)
    with proxied(setup, port, server.port, tmp_path / "proxy", tls):
        async with http(base_url=url) as client, websocket(ask) as stream:
            assert (await client.get(f"/blogs/{blog['slug']}")).status_code == 200
            await stream.next("hello")
            assert (await sign_in(client, origin=EVIL)).status_code == 403
            assert (await sign_in(client, **browser)).status_code == 303
            headers = {name.replace("_", "-"): value for name, value in browser.items()}
            entry = {"body": "Behind a proxy."}
            path = f"/api/blogs/{blog['slug']}/entries"
            assert (await client.post(path, json=entry, headers=headers)).status_code == 201
            assert "Behind a proxy." in str(await stream.next("changes"))
        async with websocket(Target(url, blog["slug"], origin=EVIL)) as stream:
            await stream.rest()
            assert stream.code == 4500
