"""`liveblog bench` against a real server."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from kit.servers import Editor, Server, serving
from kit.waiting import until

from liveblog.commands.load import OPEN_S, Bench

COMMAND = (
    sys.executable,
    "-c",
    "from liveblog.commands.main import main; main()",
    "bench",
    "--json",
)


async def bench(*arguments: str, token: str | None = None) -> tuple[int, Any, str]:
    """Run the command and return exit code, result and standard error."""
    given = ["--token-file", "-"] if token else []
    done = await asyncio.to_thread(
        subprocess.run,
        [*COMMAND, *given, *arguments],
        input=token or "",
        capture_output=True,
        text=True,
        timeout=100,
    )
    result = json.loads(done.stdout) if done.stdout else None
    return done.returncode, result, done.stderr


async def test_bench_counts_every_entry_and_leaves_the_blog_a_draft(
    site: Server, editor: Editor
) -> None:
    token = await site.token()
    asked = ("--readers", "200", "--entries", "5", "--rate", "10")
    code, result, printed = await bench(site.url, *asked, token=token)
    assert code == 0, printed
    assert (result["delivered"], result["lost"]) == ("1,000", "0")
    assert (result["repeated"], result["skipped"], result["failed"]) == ("0", "0", "0")
    assert result["p99"].endswith(" ms")
    assert printed == ""  # a progress bar is for terminals
    blogs = (await editor.ok("GET", ""))["blogs"]
    assert [b["status"] for b in blogs if b["slug"].startswith("bench-")][-1:] == ["draft"]


async def test_bench_watches_a_blog_when_it_has_no_token(site: Server, editor: Editor) -> None:
    blog = await editor.blog()
    asked = (site.url, "--readers", "20", "--seconds", "4", "--blog", blog["slug"])
    watching = asyncio.create_task(bench(*asked))
    while not watching.done():
        await editor.publish(blog["slug"])
        await asyncio.wait({watching}, timeout=0.5)
    code, result, printed = await watching
    assert code == 0, printed
    assert int(result["delivered"].replace(",", "")) >= 20
    assert result["lost"].startswith("not known")


async def test_bench_prints_one_line_when_it_cannot_measure(
    site: Server,
) -> None:
    code, _, printed = await bench(site.url, token="lbt_wrong")
    assert code == 1
    assert printed.startswith("Error: POST /api/blogs answered 401")
    # The close code 4006 is final here: the readers do not reconnect, so the command ends before OPEN_S.
    async with asyncio.timeout(OPEN_S - 5):
        code, _, printed = await bench(site.url, "--blog", "nothing-here", "--readers", "1")
    assert code == 1
    assert "4006" in printed
    code, _, printed = await bench("http://127.0.0.1:9", token="lbt_wrong")
    assert code == 1
    assert "does not answer" in printed
    code, _, printed = await bench(site.url)
    assert (code, "--token-file" in printed) == (2, True)


async def test_bench_counts_no_loss_when_the_server_is_killed_and_restarted(
    site: Server, editor: Editor, tmp_path: Path
) -> None:
    blog = await editor.blog()
    with serving(tmp_path / "log", REDIS_URL=site.store_url) as server:
        steps: set[str] = set()
        made = Bench(server.url, 10, "", lambda step, *_: steps.add(step))
        watching = asyncio.create_task(made.watch(blog["slug"], 60))
        await until(lambda: "watching" in steps)
        server.kill()
        await editor.publish(blog["slug"])
        await asyncio.to_thread(server.start)
        await until(lambda: made.tally.delivered == 10, 30)
        watching.cancel()
        result = dict((await watching).rows())
    assert result["closed"] == "1006: 10"
    assert (result["delivered"], result["skipped"], result["repeated"]) == ("10", "0", "0")
