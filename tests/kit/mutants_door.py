"""Seeded bugs in live/door.py, which admits or refuses readers, and in readers' connections.

`make mutants` runs the scenarios (kit/scenarios.py) on each bug, and prints the rule that the bug
breaks. `kit.mutants` has the bugs of the hub and the timeline, which a model must find.

Rules: those at the top of kit/mutants.py. Each mutant runs in a child process made by os.fork. The
parent must not import liveblog, because its children would inherit the unchanged modules.
"""

import json
import os
import sys
from typing import Final, NamedTuple

from kit.mutants import ORIGINAL, Mutant, apply

LINE: Final = "{:66}  {:56}  {}"

MUTANTS: Final = [
    Mutant(
        "a reader of a foreign origin is admitted",
        "live.door",
        "if not self.site.may_stream(request.page):",
        'if not self.site.may_stream(request.page._replace(origin="")):',
    ),
    Mutant(
        "one reader more than the limit is admitted",
        "live.door",
        "0 < self.readers_max <= self.count",
        "0 < self.readers_max < self.count",
    ),
    Mutant(
        "one reader more than the limit of an address is admitted",
        "live.door",
        "0 < self.readers_per_address_max <= self.addresses",
        "0 < self.readers_per_address_max < self.addresses",
    ),
    Mutant(
        "a reader that has left still counts for its address",
        "live.door",
        "self.addresses[address] -= 1",
        "self.addresses[address] -= 0",
    ),
    Mutant(
        "a worker that drains admits readers",
        "live.door",
        "if self.hub.draining:",
        "if self.hub.draining and request.since:",
    ),
    Mutant(
        "a malformed position counts as no position",
        "live.door",
        "if request.is_malformed:",
        "if request.is_malformed and request.as_data:",
    ),
    Mutant(
        "Last-Event-ID is ignored",
        "live.door",
        'read_since(last.decode("latin-1") if last else fields.get("since"))',
        'read_since(fields.get("since"))',
    ),
    Mutant(
        "a reader of an ended blog is sent away without what it missed",
        "live.door",
        "request.since in (None, live.position)",
        "request.slug == live.slug",
    ),
    Mutant(
        "a stream of an ended blog has no last event",
        "live.door",
        'frames.bye(None, "ended") if code == ENDED else frame',
        "frame",
    ),
    Mutant(
        "an internal error leaves a reader without an answer",
        "live.door",
        "except Exception:",
        "except LookupError:",
    ),
    Mutant(
        "a drain waits for readers that have left",
        "live.door",
        "if not self.count:\n            self._empty.set()",
        "if self.count:\n            self._empty.set()",
    ),
    Mutant(
        "a reader keeps its descriptor when its connection is lost",
        "live.direct",
        "self._leave(GONE)\n        self._direct.closing.forget(self)",
        "self._direct.closing.forget(self)",
    ),
    Mutant(
        "the rest of a frame that the socket did not take is dropped",
        "live.direct",
        "self._transport.write(memoryview(data)[sent:])",
        "self._transport.write(data[:0])",
    ),
    Mutant(
        "a frame that the socket took in part is written again whole",
        "live.direct",
        "self._transport.write(memoryview(data)[sent:])",
        "self._transport.write(data)",
    ),
    Mutant(
        "a frame is written past TLS",
        "live.direct",
        "if not self.is_ending and not self.is_tls:",
        "if not self.is_ending:",
    ),
    Mutant(
        "a reader without a counted address is never counted out",
        "live.direct",
        "if self.address is not None:",
        "if self.address:",
    ),
    Mutant(
        "a close is counted twice",
        "live.direct",
        "self.is_ending = True\n            self._direct.door.closes[code]",
        "self._direct.door.closes[code]",
    ),
    Mutant(
        "a reader that has left stays in its blog",
        "live.direct",
        "if self.roster:\n                self.roster.leave(self)",
        "if self.roster and self.behind:\n                self.roster.leave(self)",
    ),
    Mutant(
        "a reader that ended while its blog loaded is joined",
        "live.direct",
        "if not (reader.is_ending or transport.is_closing()):",
        "if not transport.is_closing():",
    ),
    Mutant(
        "a reader that does not answer a close is never freed",
        "live.direct",
        "self._direct.closing.note(self)\n            if self.roster:",
        "if self.roster:",
    ),
    Mutant(
        "of the readers that join in one turn only the first is answered",
        "live.direct",
        "readers, self._delayed = self._delayed, []",
        "readers, self._delayed = self._delayed[:1], []",
    ),
    Mutant(
        "the deadlines of the oldest connections alone are looked at",
        "live.deadlines",
        "self._since.setdefault(connection, self._clock())",
        "self._since[connection] = self._clock() + 60",
    ),
    Mutant(
        "a pong goes to a reader that is behind",
        "live.websocket",
        "and (self.behind or not (self.roster or self.is_ending)):",
        "and self._pong:",
    ),
    Mutant(
        "a sign of life leaves the limit on control frames used up",
        "live.websocket",
        "self.unheard = self._received_bytes = 0",
        "self.unheard = 0",
    ),
    Mutant(
        "bytes after the end of a reader are answered",
        "live.websocket",
        "if self._ignores_input:",
        "if not data:",
    ),
    Mutant(
        "the start of a frame from a reader is lost",
        "live.websocket",
        "self._rest = received.rest",
        'self._rest = b""',
    ),
    Mutant(
        "every reader gets compressed frames",
        "live.websocket",
        "self.forms[accepted.deflates]",
        "self.forms[True]",
    ),
    Mutant(
        "a stream by HTTP/1.0 comes in chunks",
        "live.events",
        "self.encoding = self.forms[head.is_old]",
        "self.encoding = self.forms[0]",
    ),
    Mutant(
        "a refused reader of events is told to come back",
        "live.events",
        "if is_unanswered and code in STAY_AWAY:",
        "if is_unanswered and code == ENDED:",
    ),
    Mutant(
        "a refusal goes among the answers to other requests",
        "live.exchange",
        "_REFUSE: Final = _when_nothing_is_owed(Decision.REFUSE, Decision.FINISH)",
        "_REFUSE: Final = _always(Decision.REFUSE)",
    ),
    Mutant(
        "a handshake is answered before the answers that are owed",
        "live.exchange",
        "HANDSHAKE: _when_nothing_is_owed(Decision.BECOME_READER, Decision.FINISH),",
        "HANDSHAKE: _always(Decision.BECOME_READER),",
    ),
    Mutant(
        "a stream starts before the client has taken the answer before",
        "live.exchange",
        "IDLE: _when_nothing_is_owed(Decision.BECOME_READER, Decision.PARSE),",
        "IDLE: _always(Decision.BECOME_READER),",
    ),
    Mutant(
        "a head is refused as late while the server owes an answer",
        "live.exchange",
        "HEAD: _when_nothing_is_owed(Decision.REFUSE, Decision.WAIT),",
        "HEAD: _always(Decision.REFUSE),",
    ),
    Mutant(
        "a client that half-closes loses the answers that wait",
        "live.exchange",
        "Owed.LATER: Decision.FINISH,",
        "Owed.LATER: Decision.DROP,",
    ),
    Mutant(
        "the body of a request to upgrade is read as a request",
        "live.exchange",
        "REREAD: _always(Decision.REREAD),",
        "REREAD: _always(Decision.PARSE),",
    ),
    Mutant(
        "a long body counts as a long head",
        "live.exchange",
        "if event is not PART:",
        "if event is END:",
    ),
    Mutant(
        "a task runs on when its client has left",
        "live.connections",
        "if running and running is not self.cycle:",
        "if running and running is self.cycle:",
    ),
    Mutant(
        "a body that does not come holds its connection",
        "live.connections",
        "self._direct.bodies.note_while(is_open and in_body, self)",
        "self._direct.bodies.note_while(not is_open, self)",
    ),
    Mutant(
        "an unmasked frame from a reader is accepted",
        "live.rfc6455",
        "if not second & 0x80:",
        "if not second & 0xFF:",
    ),
    Mutant(
        "a pong has another payload than its ping",
        "live.rfc6455",
        "replies.append(pong(payload))",
        "replies.append(pong())",
    ),
]


class Verdict(NamedTuple):
    """The rule that a mutant broke, and the scenario that failed; None and "" without one."""

    rule: str | None
    scenario: str


def judge(mutant: Mutant | None) -> Verdict:
    """Run the scenarios in a child process on a mutant, or on the unchanged program for None.

    Raises AssertionError when the child fails by anything but a broken rule.
    """
    reading, writing = os.pipe()
    if not (child := os.fork()):
        with os.fdopen(writing, "w") as answer:
            try:
                json.dump(_run(mutant), answer)
            except BaseException as error:
                json.dump([f"{error!r}", ""], answer)
            answer.flush()
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        verdict = Verdict(*json.load(answer))
    os.waitpid(child, 0)
    assert verdict.rule is None or verdict.scenario, verdict.rule
    return verdict


def _run(mutant: Mutant | None) -> Verdict:
    import logging

    logging.disable()
    if mutant:
        apply(mutant)
    from kit.memory import Broken
    from kit.scenarios import SCENARIOS, play

    for scenario in SCENARIOS:
        try:
            play(scenario)
        except Broken as error:
            return Verdict(error.rule, scenario.__name__)
    return Verdict(None, "")


def _import_all_but_ours() -> None:
    """Import the libraries in the parent: a child inherits them, and so needs only 0.1 s."""
    import httptools  # noqa: F401
    import hypothesis.stateful  # noqa: F401
    import msgspec  # noqa: F401
    import orjson  # noqa: F401
    import starlette.websockets  # noqa: F401
    import uvicorn.protocols.http.httptools_impl
    import uvicorn.server  # noqa: F401
    import websockets.server  # noqa: F401


def main() -> None:
    """Print the rule that each mutant breaks.

    Exit with 1 when a mutant breaks none, or when the unchanged program breaks one.
    """
    _import_all_but_ours()
    assert not any(name.startswith("liveblog") for name in sys.modules)
    broken = judge(None).rule is not None
    print(LINE.format(f"{ORIGINAL} is mutated" if not broken else "the program", "breaks", "in"))
    for mutant in MUTANTS:
        rule, scenario = judge(mutant)
        broken |= rule is None
        print(LINE.format(mutant.breaks, rule or "- it survives", scenario), flush=True)
    raise SystemExit(broken)


if __name__ == "__main__":
    main()
