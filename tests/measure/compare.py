"""Two builds of liveblog side by side, or this build beside two other servers, as a table.

    make compare                                    this build, nchan and the floor
    make compare ARGS="--before ../old"             a build in a directory, then this one
    make compare ARGS="--before HEAD~3 --rounds 3"  a git revision, installed into a venv of its own

nchan is a push module of nginx. floor.c (the floor) does the least that a push server can do.
Rounds alternate between the servers, because a machine's speed changes over minutes. The table has
the median of the ratios of each round, not the ratio of medians. Exits with 1 when a reader lost,
repeated or reordered an entry. Needs Linux, two cores and cc; nchan needs Debian's nginx and
libnginx-mod-nchan. A build in a directory runs in that directory's .venv, or without one in
the .venv of this build.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from measure.fanout import FanOut, Round, shown
from measure.subjects import ROOT, Build, Floor, Liveblog, Nchan, Start, Subject, has_nchan, log

BURSTS: Final = 5
BURST_CHANGES: Final = 20
BURST_S: Final = 0.1

Make = Callable[[], Subject]


class Figure(NamedTuple):
    """A figure of the table. `inverse`: a larger value is better, as with accepts per second."""

    name: str
    key: str
    must: float
    inverse: bool = False

    def ratio(self, ours: Round, other: Round) -> float:
        first, second = (other, ours) if self.inverse else (ours, other)
        return first[self.key] / second[self.key] if second[self.key] else float("nan")


BUILDS: Final = (
    Figure("CPU per delivery", "us_per_delivery", 1.03),
    Figure("p99 from publish to reader", "p99_ms", 1.03),
    Figure("time per accept", "accepts_per_s", 1.03, inverse=True),
)
PEERS: Final = (
    Figure("CPU per delivery", "us_per_delivery", 0.97),
    Figure("p99 from publish to reader", "p99_ms", 1.00),
)
FLOOR: Final = (Figure("CPU per delivery", "us_per_delivery", 1.30),)
IN_BURSTS: Final = (
    Figure("CPU per change delivered", "us_per_delivery", 1.00),
    Figure("p99 from publish to reader", "p99_ms", 1.00),
)
MEMORY: Final = (Figure("memory per reader", "kb_per_reader", 1.03),)
START: Final = (Figure("start to listening socket", "start_s", 1.03),)
STARTS: Final = 10
BYTES_MAX: Final = 1_100


def build_at(place: str, scratch: Path) -> Build:
    """Return the build at `place`: a directory, or a git revision, installed below `scratch`."""
    directory = Path(place)
    if directory.is_dir():
        own = directory.resolve() / ".venv/bin/python"
        return Build(directory.resolve(), own if own.exists() else Path(sys.executable))
    return _installed(place, scratch)


def _installed(revision: str, scratch: Path) -> Build:
    """Unpack a git revision of this repository and install its packages into a venv."""
    archive = ["git", "-C", str(ROOT), "archive", revision]
    packed = subprocess.run(archive, stdout=subprocess.PIPE, check=True).stdout
    directory = Path(tempfile.mkdtemp(prefix="build-", dir=scratch))
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        files.extractall(directory, filter="data")
    subprocess.run([sys.executable, "-m", "venv", directory / ".venv"], check=True)
    python = directory / ".venv/bin/python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--editable", str(directory)], check=True)
    return Build(directory, python)


class Comparison:
    """Runs rounds of several servers in turn; a table compares the first server with another."""

    def __init__(
        self, makes: dict[str, Make], rounds: int, play: Callable[[Subject], Round]
    ) -> None:
        self._makes, self._rounds, self._play = makes, rounds, play
        self.rows: dict[str, list[Round]] = {name: [] for name in makes}

    def run(self, title: str) -> None:
        """Measure every server once in each round, and print the figures."""
        log(f"-- {title}")
        for number in range(self._rounds):
            for name, make in self._makes.items():
                row = self._play(make())
                self.rows[name].append(row)
                log(f"round {number + 1} {name:9} {shown(row)}")

    def median_ratio(self, figure: Figure, other: str) -> float:
        """Return the median of all rounds' ratios: the first server's figure to that of `other`."""
        ours = self.rows[next(iter(self._makes))]
        pairs = zip(ours, self.rows[other], strict=True)
        return statistics.median(figure.ratio(mine, theirs) for mine, theirs in pairs)

    def table(self, figures: Sequence[Figure], other: str, what: str = "") -> Iterator[str]:
        for figure in figures:
            ratio = self.median_ratio(figure, other)
            verdict = "met" if ratio <= figure.must else "MISSED"
            yield f"| {what}{figure.name}, against {other} | <= {figure.must} | {ratio:.3f} | {verdict} |"


def started(subject: Subject) -> Round:
    """Start one server, and return how long it took."""
    assert isinstance(subject, Start)
    with subject:
        return {"start_s": subject.start_s}


def compare_builds(args: argparse.Namespace, fan_out: FanOut) -> Iterator[str]:
    """Measure two builds of liveblog, and yield the rows of their table."""
    with tempfile.TemporaryDirectory(prefix="compare-") as place:
        before = build_at(args.before, Path(place))
        after = build_at(args.after, Path(place)) if args.after else Build(ROOT)
        makes: dict[str, Make] = {
            "after": lambda: Liveblog(args.body, after),
            "before": lambda: Liveblog(args.body, before),
        }
        builds = Comparison(makes, args.rounds, fan_out.run)
        builds.run(f"{args.before} and {args.after or 'this build'}")
        yield from builds.table(BUILDS, "before")
        memory = Comparison(makes, args.rounds, fan_out.memory)
        memory.run("memory of more readers")
        yield from memory.table(MEMORY, "before")
        starts = Comparison(
            {"after": lambda: Start(build=after), "before": lambda: Start(build=before)},
            STARTS,
            started,
        )
        starts.run("from the command to a listening socket")
        yield from starts.table(START, "before")


def compare_peers(args: argparse.Namespace, fan_out: FanOut) -> Iterator[str]:
    """Yield rows that compare liveblog with floor.c, and with nginx's nchan if installed."""
    makes: dict[str, Make] = {"liveblog": lambda: Liveblog(args.body)}
    if has_nchan():
        makes["nchan"] = lambda: Nchan(args.body)
    peers = Comparison({**makes, "floor": lambda: Floor(args.body)}, args.rounds, fan_out.run)
    peers.run("liveblog and its peers")
    yield from peers.table(FLOOR, "floor")
    size = statistics.median(row["bytes_per_frame"] for row in peers.rows["liveblog"])
    verdict = "met" if size <= BYTES_MAX else "MISSED"
    yield f"| bytes a frame | <= {BYTES_MAX:,} | {size:,.0f} | {verdict} |"
    if has_nchan():
        yield from peers.table(PEERS, "nchan")
        bursts = Comparison(
            makes, args.rounds, lambda it: fan_out.run_bursts(it, BURSTS, BURST_CHANGES, BURST_S)
        )
        bursts.run(f"{BURSTS} bursts of {BURST_CHANGES} changes in {BURST_S * 1000:g} ms")
        yield from bursts.table(IN_BURSTS, "nchan", "bursts: ")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", help="a directory or git revision to compare this build with")
    parser.add_argument("--after", help="a directory or git revision to use instead of this build")
    parser.add_argument("--readers", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=20)
    parser.add_argument("--rate", type=float, default=2, help="entries a second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--body", type=int, default=600, help="bytes of an entry's text")
    return parser.parse_args()


def main() -> int:
    args = parsed()
    fan_out = FanOut(args.readers, args.entries, args.rate)
    rows = list((compare_builds if args.before else compare_peers)(args, fan_out))
    print("\n| figure | must | median of ratios | |\n| --- | --- | --- | --- |")
    print("\n".join(rows))
    return 1 if fan_out.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
