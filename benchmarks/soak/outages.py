"""What is away for a minute while a stream runs, and networks that are cut: what viewers lose.

    python benchmarks/soak/outages.py [CASE...] [--seconds 60] [--rounds 5]

A coordinator, an edge and two workers, by TCP with keys. A publisher sends numbered pictures in
real time (RTMP, 180p25, two rungs), each worker signs what it shows, and a player reads all
segments: so it is seen in the outputs which pictures are missing, and whether two workers publish.

    coordinator    killed (SIGKILL), and started again after --seconds
    store          the coordinator's connection to PostgreSQL is cut for --seconds
    unreachable    the network between the coordinator and all others is cut for --seconds
    ray            Ray placed the workers, and its head is lost for --seconds
    link           the network between the edge and its workers is cut for 5 s, --rounds times
    host           the network of the host that has the stream is cut for 5 s, --rounds times
                   (network namespaces: as root)

Prints one JSON line for each case. `seen_s` is how much of the stream the player has, of the rung
of which it has least. `missing` pictures never came, those of both rungs together; `given_up` is
why, as the edge counts it for both: the machine had no time (late, overflow), or an edge could not
hold them for longer (link_...). `out_of_turn` are pictures that come after a later one, or of two
owners: 0 where no two publish. `longest_gap_s` may be 2 s where the worker's host is cut off, as a
takeover is done by then, and as long as the cut and that where the edge is.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.control.store.private_postgres import PrivatePostgres  # noqa: E402
from tests.control.store.private_postgres import missing as no_postgres  # noqa: E402
from tests.live.apart import (  # noqa: E402
    WORKERS,
    Apart,
    Show,
    longest_gap,
    missing,
    out_of_turn,
    owners,
)
from tests.live.numbered import BITS, RATE, tape  # noqa: E402
from tests.live.wires import Loopback, Namespaces, Wire, no_namespaces  # noqa: E402
from tests.ports import free_port  # noqa: E402

CUT_S = 5.0
SETTLED_S = 8.0
"""Everything is found again by then, and would show."""
LISTED_S = 4.0
"""The last pictures are in segments that no playlist has yet."""
TAKEOVER_S = 2.0
"""Without a picture, where another worker takes a stream over."""
LONGEST_S = 2**BITS / RATE - 30
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    folder: Path
    seconds: float
    rounds: int


class Skipped(Exception):
    """This machine has not what a case needs; the text says what."""


def shown(cluster_edge: Any, folder: Path, seconds: float, stack: ExitStack) -> Show:
    file = tape(folder / "numbered.flv", round(seconds * RATE), gop=RATE)
    show = Show(cluster_edge, "show", file)
    stack.callback(show.end)
    show.shows(2 * RATE)
    return show


def passes(show: Show, seconds: float) -> None:
    ends = time.monotonic() + seconds
    show.until(lambda: time.monotonic() > ends, "end of the wait", seconds + 60)


def found(show: Show) -> Row:
    """What the player of every rung has."""
    row = show.row
    signed = [rung.signed() for rung in show.rungs]
    return {
        "pictures": sum(map(len, signed)),
        "seen_s": min((one[-1][0] - one[0][0] + 1) / RATE for one in signed),
        "missing": sum(missing(rung) for rung in show.rungs),
        "given_up": show.given_up(),
        "owners": max(len(owners(one)) for one in signed),
        "out_of_turn": sum(len(out_of_turn(one)) for one in signed),
        "took_over_s": row["took_over_s"],
    }


def unharmed(answer: Row, seconds: float) -> bool:
    """Of so many seconds and more no picture is missing, and none was made twice."""
    seen = answer["seen_s"] > seconds + SETTLED_S - LISTED_S
    return bool(seen and not answer["missing"] and not answer["out_of_turn"])


def away(asked: Asked, goes: Callable[[Apart, Loopback], None], comes: Any, store: str = "") -> Row:
    with ExitStack() as stack:
        way = stack.enter_context(Loopback())
        cluster = stack.enter_context(Apart(asked.folder, way, store))
        seconds = asked.seconds + SETTLED_S + 30
        show = shown(cluster.edge, asked.folder, seconds, stack)
        owner = show.row["worker"]
        goes(cluster, way)
        passes(show, asked.seconds)
        comes(cluster, way)
        passes(show, SETTLED_S)
        answer = found(show)
        met = unharmed(answer, asked.seconds) and show.row["worker"] == owner
        return {**answer, "away_s": asked.seconds, "met": met}


def coordinator(asked: Asked) -> Row:
    return away(asked, lambda one, _: one.kill("coordinator"), lambda one, _: one.coordinator())


def unreachable(asked: Asked) -> Row:
    return away(
        asked, lambda _, way: way.cut("coordinator"), lambda _, way: way.mend("coordinator")
    )


def store(asked: Asked) -> Row:
    if no_postgres():
        raise Skipped(no_postgres())
    with PrivatePostgres() as server, closing_wire(server.port) as (port, wire):
        url = server.new_database().replace(f":{server.port}/", f":{port}/")
        return away(asked, lambda *_: wire.cut(), lambda *_: wire.mend(), url)


@contextmanager
def closing_wire(target: int) -> Iterator[tuple[int, Wire]]:
    port = free_port(2)
    wire = Wire(port, target)
    try:
        yield port, wire
    finally:
        wire.close()


def ray(asked: Asked) -> Row:
    if find_spec("ray") is None:
        raise Skipped("ray is not installed (pip install 'streamgen[ray]')")
    from with_ray import NUMBERS, placed_by_ray

    with ExitStack() as stack:
        world, edge = stack.enter_context(placed_by_ray(asked.folder))
        show = shown(edge, asked.folder, asked.seconds + SETTLED_S + 30, stack)
        owner, workers = show.row["worker"], world.workers()
        world.lose_head()
        passes(show, asked.seconds + SETTLED_S)
        answer = found(show)
        with_ray = [name for name, pid in workers.items() if loads_ray(pid)]
        met = unharmed(answer, asked.seconds) and show.row["worker"] == owner
        met &= len(workers) == NUMBERS and not with_ray
        return {**answer, "away_s": asked.seconds, "workers_that_load_ray": with_ray, "met": met}


def loads_ray(pid: int) -> bool:
    """Whether it could call Ray at all."""
    return b"_raylet" in Path(f"/proc/{pid}/maps").read_bytes()


def link(asked: Asked) -> Row:
    with ExitStack() as stack:
        way = stack.enter_context(Loopback())
        cluster = stack.enter_context(Apart(asked.folder, way))
        answer = cut_again_and_again(asked, cluster, way, lambda show: "edge", stack)
        return gone_on(answer, CUT_S + TAKEOVER_S)


def host(asked: Asked) -> Row:
    if no_namespaces():
        raise Skipped(no_namespaces())
    with ExitStack() as stack:
        way = stack.enter_context(Namespaces("coordinator", "edge", *WORKERS))
        cluster = stack.enter_context(Apart(asked.folder, way))
        answer = cut_again_and_again(asked, cluster, way, lambda show: show.row["worker"], stack)
        return gone_on(answer, TAKEOVER_S)


def cut_again_and_again(
    asked: Asked, cluster: Apart, way: Any, which: Callable[[Show], str], stack: ExitStack
) -> Row:
    """Told are the seconds without a new picture at the edge, the cut's own among them."""
    each = CUT_S + SETTLED_S
    rounds = min(asked.rounds, int((LONGEST_S - 30) / each))
    show = shown(cluster.edge, asked.folder, 30 + rounds * each, stack)
    for _ in range(rounds):
        name = which(show)
        way.cut(name)
        passes(show, CUT_S)
        way.mend(name)
        passes(show, SETTLED_S)
    gaps = [longest_gap(rung) / RATE for rung in show.rungs]
    return {**found(show), "rounds": rounds, "longest_gap_s": max(gaps)}


def gone_on(answer: Row, most_gap_s: float) -> Row:
    """Judged: after each cut there was another owner, none published beside it, and the longest
    time without a picture."""
    rounds, takeovers = answer["rounds"], len(answer["took_over_s"])
    met = answer["seen_s"] > rounds * (CUT_S + SETTLED_S) - LISTED_S
    met &= not answer["out_of_turn"] and rounds <= takeovers and answer["owners"] <= 1 + takeovers
    return {**answer, "met": bool(met and answer["longest_gap_s"] <= most_gap_s)}


CASES: dict[str, Callable[[Asked], Row]] = {
    "coordinator": coordinator,
    "store": store,
    "unreachable": unreachable,
    "ray": ray,
    "link": link,
    "host": host,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; without any: all")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if unknown := set(given.cases) - set(CASES):
        parser.error(f"no case {min(unknown)} (there are: {', '.join(CASES)})")
    for name in given.cases or CASES:
        with tempfile.TemporaryDirectory(prefix="sg-") as folder:
            try:
                row = CASES[name](Asked(Path(folder), given.seconds, given.rounds))
            except Skipped as why:
                row = {"skipped": str(why)}
        print(json.dumps({"case": name, **row}), flush=True)


if __name__ == "__main__":
    main()
