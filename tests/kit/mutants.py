"""Mutants: likely bugs, one line each, that the model-based test (kit/machine.py) must find.

`make mutants` runs the model against each mutant in a process of its own, and prints the invariant
that the mutant broke.

Rules: each mutant is a likely bug that raises nothing and breaks an invariant. Its module must have
the replaced line exactly once; else `apply` fails, so a change of the code cannot disable a mutant.
"""

import json
import os
import subprocess
import sys
from importlib import util
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
WITHIN_S: Final = 600  # for one mutant
ROUNDS: Final = 5  # runs of the model with different seeds; one seed's examples are similar
# Examples in each round. An example has 40 steps. The model finds the hardest mutant after 90
# examples, in the third round.
EXAMPLES: Final = 40
ORIGINAL: Final = "nothing"
LINE: Final = "{:68}  {:62}  {:>7}  {:>4}"


class Mutant(NamedTuple):
    """One line of a module, and the line that replaces it. `breaks` describes the bug."""

    breaks: str
    module: str
    line: str
    instead: str


MUTANTS: Final = [
    Mutant(
        "a gap is applied as if it continued the timeline",
        "blog.timeline",
        'if changes.since > self.offset or not self._continues(changes):\n            return "gap"',
        "self._checks.extend(self.offset, '00000000' * (changes.since - self.offset))",
    ),
    Mutant(
        "another history is applied as if it continued the timeline",
        "blog.timeline",
        "return theirs in (None, self._checks[self.offset])",
        "return True",
    ),
    Mutant(
        "a position's check is not compared",
        "blog.timeline",
        'return "here" if self._checks[position.offset] == position.check else "unknown"',
        'return "here"',
    ),
    Mutant(
        "changes from below the floor are returned",
        "blog.timeline",
        "if not self.floor <= since <= self.offset:",
        "if not since <= self.offset:",
    ),
    Mutant(
        "the first missed change is left out",
        "blog.timeline",
        "if offset <= since:",
        "if offset <= since + 1:",
    ),
    Mutant(
        "a second change of an entry keeps the place of the first",
        "blog.timeline",
        "self._recent.pop(id, None)",
        "self._recent.get(id)",
    ),
    Mutant(
        "a deleted entry stays on the page",
        "blog.timeline",
        "if entry.deleted:\n            self._unlist(order)",
        "if entry.deleted and not order:\n            self._unlist(order)",
    ),
    Mutant(
        "frames leave out the number that sorts a pinned entry",
        "live.frame",
        'marks["pin_order"] = entry.pin_order',
        'marks["pin_order"] = None',
    ),
    Mutant(
        "pages list the oldest pinned entry first among equals",
        "blog.pins",
        "-(entry.order or 0)",
        "+(entry.order or 0)",
    ),
    Mutant(
        "a joining reader is counted as having what it missed",
        "live.blog",
        "self.roster.enter(reader, at.offset)",
        "self.roster.enter(reader, self.timeline.offset)",
    ),
    Mutant(
        "a drained reader follows without a frame to the top",
        "live.roster",
        "if reader not in self.waiting:\n                self.on_drained(reader)",
        "if reader not in self.waiting:\n                self.follow(reader)",
    ),
    Mutant(
        "a reader that fell behind with its hello still gets what it missed",
        "live.fanout",
        "if not reader.behind:\n            self._roster.follow(reader)",
        "if reader.roster:\n            self._roster.follow(reader)",
    ),
    Mutant(
        "all readers of a pass get the first reader's frame",
        "live.fanout",
        "if reader.offset == since and reader.encoding is encoding:",
        "if since >= 0 and reader.encoding is encoding:",
    ),
    Mutant(
        "a pass leaves the offset of a reader that it has served",
        "live.fanout",
        "reader.offset = top\n",
        "top = self._timeline.offset\n",
    ),
    Mutant(
        "a pass ignores a change that comes while it runs",
        "live.fanout",
        "while top != self._timeline.offset:",
        "while top < 0:",
    ),
    Mutant(
        "frames of the old top stay cached",
        "live.cache",
        "self.clear()\n        for record in records:",
        "for record in records:",
    ),
    Mutant(
        "a changed entry is encoded in its old state",
        "live.cache",
        "self.pieces.pop(_piece_key(record, as_data), None)",
        "self.pieces.get(_piece_key(record, as_data))",
    ),
    Mutant(
        "a changed entry keeps its HTML",
        "live.cache",
        "self._uncount(self._articles.drop(id_of(record)))",
        "self._articles.get(id_of(record))",
    ),
    Mutant(
        "a replaced state is shown with the old HTML",
        "live.cache",
        "self.evict()\n        self.pieces.clear()",
        "self.clear()\n        self.pieces.clear()",
    ),
    Mutant(
        "a gap is not repaired",
        "live.repair",
        "else:\n            self.start()\n",
        "else:\n            self._is_wanted = True\n",
    ),
    Mutant(
        "messages that arrive during a repair are dropped",
        "live.repair",
        "self._queue.append(changes)",
        "self._queue.clear()",
    ),
    Mutant(
        "messages that the queue dropped during a repair are not read",
        "live.repair",
        "self._is_wanted |= is_full",
        "self._is_wanted &= is_full",
    ),
    Mutant(
        "a failed repair is not retried",
        "live.repair",
        "self._is_wanted = self._blog.is_held\n                    await asyncio.sleep(wait_s)",
        "await asyncio.sleep(wait_s)",
    ),
    Mutant(
        "readers of another history are not reset",
        "live.blog",
        'if self.timeline.standing(was) == "unknown":  # another history',
        'if self.timeline.standing(was) == "old":',
    ),
    Mutant(
        "a reader's unknown position is never refuted",
        "live.repair",
        "self._blog.verify_waiting(0 if self.lost else read)",
        "self._blog.verify_waiting(0)",
    ),
    Mutant(
        "only a store that is ahead starts a repair",
        "live.watch",
        "if live and (head != live.position or live.lost):",
        "if live and head and head.offset > live.position.offset:",
    ),
    Mutant(
        "a heartbeat is sent to a reader below the top",
        "live.beats",
        "if reader.offset == self._timeline.offset:\n",
        "if reader.follows:\n",
    ),
]


class Verdict(NamedTuple):
    """The invariant that a run broke, or None, and where it broke.

    `example` counts the generated examples, `step` the steps of the last one. A step after the last
    step of an example is the final check, when all faults are over.
    """

    invariant: str | None
    example: int
    step: int


def judge(breaks: str, rounds: int = ROUNDS) -> Verdict:
    """Run the model against a mutant in a fresh process.

    Raises AssertionError when the process failed for another reason than an invariant.
    """
    command = [sys.executable, "-m", "kit.mutants", breaks, str(rounds)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, env=environ)
    assert done.returncode == 0, done.stderr
    return Verdict(*json.loads(done.stdout))


def apply(mutant: Mutant) -> None:
    """Import a module with the mutant's line. The module must not be imported yet."""
    name = f"liveblog.{mutant.module}"
    assert name not in sys.modules
    spec = util.find_spec(name)
    assert spec
    assert spec.origin
    source = Path(spec.origin).read_text()
    assert source.count(mutant.line) == 1, f"not once in {mutant.module}: {mutant.line}"
    module = sys.modules[name] = util.module_from_spec(spec)
    exec(compile(source.replace(mutant.line, mutant.instead), spec.origin, "exec"), vars(module))


def run(rounds: int) -> Verdict:
    """Run the model until an invariant is broken. Seeds are fixed, so every run is the same."""
    from hypothesis import HealthCheck, Phase, seed, settings
    from hypothesis.stateful import run_state_machine_as_test

    from kit.clients import Broken
    from kit.machine import Machine, small_limits

    class Counted(Machine):
        tried: int = 0
        last: Machine

        def __init__(self) -> None:
            super().__init__()
            Counted.tried, Counted.last = Counted.tried + 1, self

    only = settings(
        max_examples=EXAMPLES,
        stateful_step_count=40,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        with small_limits():
            for number in range(rounds):
                run_state_machine_as_test(seed(number)(Counted), settings=only)
    except Broken as error:  # hypothesis ran the failing example twice, and `tried` counts both
        return Verdict(error.invariant, Counted.tried - 1, Counted.last.step)
    return Verdict(None, Counted.tried, 0)


def main() -> None:
    print(LINE.format("a mutant in which", "breaks", "example", "step"))
    survivors = 0
    for mutant in MUTANTS:
        invariant, example, step = judge(mutant.breaks)
        survivors += invariant is None
        print(LINE.format(mutant.breaks, invariant or "- survives", example, step), flush=True)
    raise SystemExit(survivors > 0)


if __name__ == "__main__":
    if sys.argv[1:]:
        breaks, rounds = sys.argv[1:]
        if breaks != ORIGINAL:
            apply(next(mutant for mutant in MUTANTS if mutant.breaks == breaks))
        print(json.dumps(run(int(rounds))))
    else:
        main()
