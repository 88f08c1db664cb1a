"""How fast the live path is: a real server, with publishers and viewers on the same machine.

    python benchmarks/live.py [ROW...] [--json] [--seconds 20] [--minutes 5] [--kills 20]

Every picture carries its number and the time it was drawn (CLOCK_MONOTONIC) as a barcode of large
cells (`barcode.py`), read at the far end on the lowest rung by our own reader. The built-in styles
keep light cells light and dark ones dark, so that the same barcode is read behind `starry` as it
stands in its pipeline file, too. A picture that shows what was painted before (`reuse`) counts with
the age of what it shows.

Publisher, server and viewers are processes of their own: PyAV publishes by RTMP and aiortc by WHIP,
from x264 (ultrafast, zerolatency); a viewer takes WebRTC by aiortc and decodes a picture with its
last packet, or reads LL-HLS part by part. `null` is the path without a server: drawn, encoded,
decoded and read in one process; what the measuring clients take themselves.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from publishing import Camera
from scene import IDENTITY, Scene, ages, cores, spread
from watching import mark_of

SETTLE_S = 4.0
"""After it joined, what a viewer sees is not counted for so long."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for."""

    folder: Path
    seconds: float
    minutes: float
    joins: int
    kills: int


def judged(name: str, found: Row, **must: float) -> Row:
    """With what is asked of it: each of `must` is the most that the value of that name may be."""
    met = all(found[key] <= most for key, most in must.items())
    return {"row": name, **found, "must": must, "met": met, "cores": cores()}


def null_path(size: tuple[int, int], rate: int, pictures: int = 150) -> Row:
    """Drawn, encoded, decoded, read: what the clients take."""
    camera = Camera(*size, rate, rate, 1_500_000, 0)
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoder.options = {"flags": "+low_delay"}
    took = []
    for number in range(pictures):
        began = time.monotonic()
        for packet in camera.take(number):
            for frame in decoder.decode(packet):
                assert mark_of(frame) is not None
                took.append(1000 * (time.monotonic() - began))
    return {f"null_{name}_ms": value for name, value in spread(took, 2).items()}


def glass(scene: Scene, path: str, seconds: float) -> Row:
    """Ages of the pictures that a WHEP viewer sees, once it has settled."""
    shown = scene.watch(path, seconds + SETTLE_S).wait()
    shown = [one for one in shown if one.at_s > shown[0].at_s + SETTLE_S]
    found = {f"{name}_ms": value for name, value in spread(ages(shown)).items()}
    unread = sum(one.number is None for one in shown)
    return {**found, "pictures": len(shown), "unread": unread}


def identity(asked: Asked) -> Row:
    """RTMP -> WHEP, one rung without a network, 360p30."""
    with Scene(asked.folder / "identity", IDENTITY) as scene:
        scene.publish("identity")
        scene.until_pictures("identity")
        found = glass(scene, "/whep/identity", asked.seconds)
    return judged("identity", found | null_path((640, 360), 30), p50_ms=150, p95_ms=250)


def starry(asked: Asked) -> Row:
    """WHIP -> `starry` -> WHEP, 360p30."""
    with Scene(asked.folder / "starry", "starry") as scene:
        scene.publish("starry", whip=True)
        scene.until_pictures("starry")
        found = glass(scene, "/whep/starry", asked.seconds)
        found |= painted(scene.stats("starry"))
    return judged("starry", found, p95_ms=250)


def painted(stats: Row) -> Row:
    """What became of the pictures, as the server's own statistics have it."""
    bypassed = max((stage["bypassed"] for stage in stats["stages"]), default=0)
    reused = max((stage["reused"] for stage in stats["stages"]), default=0)
    out = stats["frames_out"]
    unaccounted = stats["frames_in"] - out - sum(stats["dropped"].values()) - stats["on_the_way"]
    return {
        "frames_in": stats["frames_in"],
        "frames_out": out,
        "painted_percent": round(100 * (out - bypassed - reused) / max(1, stats["frames_in"]), 2),
        "reused": reused,
        "passed_through": bypassed,
        "dropped": stats["dropped"],
        "unaccounted": unaccounted,
    }


ROWS: dict[str, Callable[[Asked], Row]] = {"identity": identity, "starry": starry}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; without any: all")
    parser.add_argument("--seconds", type=float, default=20, help="of a short row")
    parser.add_argument("--minutes", type=float, default=5, help="of the long row")
    parser.add_argument("--joins", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20, help="of workers, at each GOP length")
    parser.add_argument("--json", action="store_true", help="one JSON line for each row")
    options = parser.parse_args()
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"no row {min(unknown)} (there are: {', '.join(ROWS)})")
    folder = Path(tempfile.mkdtemp(prefix="streamgen-live-"))
    try:
        numbers = (options.seconds, options.minutes, options.joins, options.kills)
        asked = Asked(folder, *numbers)
        for name in options.rows or ROWS:
            row = ROWS[name](asked)
            print(json.dumps(row) if options.json else _told(row), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(row: Row) -> str:
    return "  ".join(f"{key} {value}" for key, value in row.items())


if __name__ == "__main__":
    main()
