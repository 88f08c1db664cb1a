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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from interruptions import pipeline_changes, publisher_returns, worker_kills
from player import Missing, in_chromium, key_times, renditions
from publishing import Camera
from scene import IDENTITY, Scene, Shown, ages, cores, spread
from watching import mark_of

from streamgen_edge.demo.figures import painted, quantile

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
    every: float


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
    shown = scene.watch(path, seconds + SETTLE_S).finish()
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


def ladder(asked: Asked) -> Row:
    """RTMP -> `starry` and three rungs from 720p25 -> LL-HLS and WHEP at once, for minutes."""
    with Scene(asked.folder / "ladder", "starry") as scene:
        scene.publish("ladder", size="1280x720", rate=25, gop=25, bitrate=3_000_000)
        scene.until_pictures("ladder")
        seconds = 60 * asked.minutes
        hls = scene.watch("/hls/ladder/index.m3u8", seconds)
        whep = scene.watch("/whep/ladder?rung=240p", seconds).finish()
        found = painted(scene.stats("ladder"))
        found |= {"reasons": scene.stats("ladder")["stages"]}
        found |= _growth("whep", whep) | _growth("hls", hls.finish())
        found |= {"segments_missing": len(hls.facts["holes"]), "error": hls.facts["error"]}
    found["short_percent"] = round(100 - found["painted_percent"], 2)
    must = {"short_percent": 1, "unaccounted": 0, "whep_growth_ms": 50, "hls_growth_ms": 50}
    return judged("ladder", found, **must)


def _growth(name: str, shown: Sequence[Shown]) -> Row:
    """Latency over the whole time, and how much more it was in its last fifth than in its first."""
    seen = ages(shown[round(len(shown) / 50) :])
    fifth = max(1, len(seen) // 5)
    first, last = (quantile(part, 0.5) for part in (seen[:fifth], seen[-fifth:]))
    found = {f"{name}_{key}_ms": value for key, value in spread(seen).items()}
    return {**found, f"{name}_growth_ms": round(last - first, 1), f"{name}_pictures": len(shown)}


def joins(asked: Asked) -> Row:
    """First picture of WHEP viewers that join anywhere in a GOP of 10 s; `starry`, 720p25."""
    with Scene(asked.folder / "joins", "starry") as scene:
        scene.publish("joins", size="1280x720", rate=25, gop=250, bitrate=3_000_000)
        scene.until_pictures("joins", 75)
        took = scene.join("/whep/joins?rung=240p", asked.joins)
    seen = [one for one in took if one is not None]
    found = {f"first_{key}_s": value for key, value in spread(seen, 2).items()}
    found |= {"joins": len(took), "without": len(took) - len(seen)}
    return judged("joins", found, first_p95_s=1.2, without=0)


def keyframes(asked: Asked) -> Row:
    """IDR pictures of all rungs, from the fMP4 segments, while viewers ask for more of them."""
    with Scene(asked.folder / "keyframes", "transcode") as scene:
        scene.publish("keyframes", size="1280x720", rate=25, gop=250, bitrate=3_000_000)
        scene.until_pictures("keyframes", 50)
        scene.join("/whep/keyframes?rung=240p", 5)
        time.sleep(asked.seconds)
        index = scene.server.url("/hls/keyframes/index.m3u8")
        rungs = [key_times(address) for address in renditions(index)]
    begin, end = max(min(one) for one in rungs), min(max(one) for one in rungs)
    within = [{at for at in one if begin <= at <= end} for one in rungs]
    everywhere, anywhere = set.intersection(*within), set.union(*within)
    share = round(100 * len(everywhere) / len(anywhere), 2)
    found = {"rungs": len(rungs), "gops": len(anywhere), "aligned_percent": share}
    return judged("keyframes", found | {"unequal": len(anywhere - everywhere)}, unequal=0)


def reconnect(asked: Asked) -> Row:
    """The publisher is lost and comes back with another encoder."""
    found = publisher_returns(asked.folder / "reconnect", 5)
    must = {"whep_max_s": 1, "hls_max_s": 2, "viewers_lost": 0, "segments_missing": 0}
    return judged("reconnect", found, **must)


def changes(asked: Asked) -> Row:
    """The pipeline is changed while the stream runs: a network comes, and goes."""
    found = pipeline_changes(asked.folder / "changes", 6)
    must = {"segments_missing": 0, "pictures_double": 0}
    return judged("changes", found, **must)


def kills(
    name: str, gop: int, *, whip: bool = False, painted: bool = False
) -> Callable[[Asked], Row]:
    """`kill -9` of the worker at one GOP length; 360p30, or `starry` and three rungs at 720p25."""

    def row(asked: Asked) -> Row:
        found = worker_kills(
            asked.folder / name,
            asked.kills,
            gop=gop,
            whip=whip,
            painted=painted,
            every_s=asked.every,
        )
        must = {"whep_max_s": 2, "no_motion": 0, "segments_missing": 0, "pictures_double": 0}
        return judged(name, found, **must)

    return row


def browser(asked: Asked) -> Row:
    """LL-HLS in hls.js in Chromium: what is on its screen, and when it was first; 720p25."""
    with Scene(asked.folder / "browser", "transcode") as scene:
        scene.publish("browser", size="1280x720", rate=25, gop=25, bitrate=3_000_000)
        scene.until_pictures("browser", 75)
        found = in_chromium(scene.server.url("/hls/browser/index.m3u8"), asked.seconds)
    return judged("browser", found, p95_ms=2000, first_max_s=2.5)


ROWS: dict[str, Callable[[Asked], Row]] = {
    "identity": identity,
    "starry": starry,
    "ladder": ladder,
    "joins": joins,
    "browser": browser,
    "keyframes": keyframes,
    "reconnect": reconnect,
    "changes": changes,
    "kills-1s": kills("kills-1s", 30),
    "kills-10s": kills("kills-10s", 300),
    "kills-endless": kills("kills-endless", 1_000_000, whip=True),
    "kills-painted": kills("kills-painted", 250, painted=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; without any: all")
    parser.add_argument("--seconds", type=float, default=20, help="of a short row")
    parser.add_argument("--minutes", type=float, default=5, help="of the long row")
    parser.add_argument("--joins", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20, help="of workers, at each GOP length")
    parser.add_argument("--every", type=float, default=6, help="seconds between two kills")
    parser.add_argument("--json", action="store_true", help="one JSON line for each row")
    options = parser.parse_args()
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"no row {min(unknown)} (there are: {', '.join(ROWS)})")
    folder = Path(tempfile.mkdtemp(prefix="streamgen-live-"))
    try:
        numbers = (options.seconds, options.minutes, options.joins, options.kills)
        asked = Asked(folder, *numbers, options.every)
        for name in options.rows or ROWS:
            try:
                row = ROWS[name](asked)
            except Missing as missing:
                row = {"row": name, "skipped": f"needs {missing}"}
            print(json.dumps(row) if options.json else _told(row), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(row: Row) -> str:
    return "  ".join(f"{key} {value}" for key, value in row.items())


if __name__ == "__main__":
    main()
