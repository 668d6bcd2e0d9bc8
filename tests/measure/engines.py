"""Spend the evening of an editor in Chromium, Firefox ESR and WebKitGTK; print a Markdown table.

    make engines
    make engines ARGS="--only chromium,firefox"

Every engine gets a server of its own, and the same keys and clicks (tests/kit/evening.py). After
each step the desk must show the same in all engines, and at the end readers must have the same. The
command exits with 1 when something differs, when a step fails, or when an engine is not installed.
"""

import asyncio
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from kit.engines import ENGINES, Tab, missing
from kit.evening import STEPS, Evening, spend
from kit.figure import chosen, log
from kit.proxy import Proxy
from kit.servers import serving
from kit.windows import add_editor

ROWS = [*STEPS, "what readers have"]


class Run(NamedTuple):
    engine: str
    steps: dict[str, Any]
    failure: str


async def run(engine: str, scratch: Path) -> Run:
    """Spend the evening in one engine, with a server of its own."""
    steps: dict[str, Any] = {}
    name = engine
    with serving(scratch / "log", DATA_DIR=f"{scratch}/data") as server:
        await add_editor(server)
        proxy = Proxy(server.port)
        await proxy.start()
        url = f"http://127.0.0.1:{proxy.port}"
        try:
            async with ENGINES[engine][0](scratch) as driver, server.editor() as editor:
                name = driver.name
                async for step in spend(Evening(Tab(driver), url, proxy, editor)):
                    steps[step.name] = step.seen
                    log(f"{name}: {step.name}")
        except Exception as error:
            return Run(name, steps, f"{type(error).__name__}: {error}")
        finally:
            await proxy.stop()
    return Run(name, steps, "")


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Return a line for each part of two steps that differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            line
            for name in one.keys() | other.keys()
            for line in differences(one.get(name), other.get(name), f"{at} {name}".strip())
        ]
    return [] if one == other else [f"{at}: {json.dumps(one)} / {json.dumps(other)}"]


def cell(run: Run, first: Run, row: str) -> str:
    if row not in run.steps:
        return "failed" if run.failure and row == ROWS[len(run.steps)] else "-"
    if run is first:
        return "done"
    return "differs" if differences(first.steps.get(row), run.steps[row]) else "the same"


def conclude(runs: list[Run]) -> int:
    """Print the table, log each difference and failure, and return the exit code."""
    names = [run.engine for run in runs]
    print(f"| step | {' | '.join(names)} |", f"| --- |{' --- |' * len(runs)}", sep="\n")
    for row in ROWS:
        print(f"| {row} | {' | '.join(cell(run, runs[0], row) for run in runs)} |")
    problems = [f"{run.engine}: {run.failure}" for run in runs if run.failure]
    for run, row in itertools.product(runs[1:], ROWS):
        if row in runs[0].steps and row in run.steps:
            found = differences(runs[0].steps[row], run.steps[row])
            problems += [f"{row}: {runs[0].engine} / {run.engine}: {line}" for line in found]
    log(*problems)
    return 1 if problems else 0


def main() -> int:
    engines = chosen(ENGINES, __doc__)
    absent = {engine: missing(engine) for engine in engines}
    lacking = [f"{it}: please install {', '.join(absent[it])}" for it in engines if absent[it]]
    log(*lacking)
    runs = []
    for engine in engines:
        if not absent[engine]:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
                runs.append(asyncio.run(run(engine, Path(scratch))))
    return (conclude(runs) if runs else 1) or bool(lacking)


if __name__ == "__main__":
    sys.exit(main())
