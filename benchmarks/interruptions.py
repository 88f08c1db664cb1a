"""Rows about what breaks or changes: a publisher that comes back, a worker that is killed, another
pipeline.

Motion is back for a viewer when it sees a picture that was drawn after the event; its ordinary
latency is in that, so that of LL-HLS is longer by a part. The pause is what a WHEP viewer notices:
the longest time without a newer picture.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
import urllib.request
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from scene import IDENTITY, Scene, Shown, Watch, spread, until

MOTION_S = 15.0
STEADY_S = 2.0
Row = dict[str, Any]


def motion_again_s(shown: Sequence[Shown], event_s: float) -> float | None:
    """From the event until a picture that was drawn after it is seen; None: there was none."""
    new = (one.at_s for one in shown if one.number is not None and _drawn_s(one) > event_s)
    first = next(new, None)
    return None if first is None else first - event_s


def longest_pause_s(shown: Sequence[Shown], event_s: float) -> float:
    """Without a newer picture, from shortly before the event until its viewers are steady."""
    times: list[float] = []
    newest = -1
    for one in shown:
        if event_s - 1 < one.at_s < event_s + STEADY_S and (one.number or -1) > newest:
            newest = one.number or newest
            times.append(one.at_s)
    return max((later - sooner for sooner, later in pairwise(times)), default=STEADY_S)


def _drawn_s(one: Shown) -> float:
    return one.at_s - one.age_ms / 1000


def worker_kills(
    folder: Path, kills: int, *, gop: int, whip: bool, painted: bool, every_s: float
) -> Row:
    """`kill -9` of the worker that has the stream, again and again."""
    took: dict[str, list[float]] = {"whep": [], "hls": []}
    chance = random.Random(gop)
    with Scene(folder, "starry" if painted else IDENTITY) as scene:
        server = scene.server
        if painted:
            scene.publish("kills", gop=gop, size="1280x720", rate=25, bitrate=3_000_000)
        else:
            scene.publish("kills", gop=gop, whip=whip)
        scene.until_pictures("kills", 60)
        rung = "?rung=240p" if painted else ""
        watches = {
            "whep": scene.watch(f"/whep/kills{rung}"),
            "hls": scene.watch("/hls/kills/index.m3u8"),
        }
        until(lambda: all(one.shown for one in watches.values()), MOTION_S)
        lost = 0
        pauses = []
        for _ in range(kills):
            time.sleep(every_s * chance.uniform(0.8, 1.2))
            victim = until(lambda: server.stream("kills")["worker"], MOTION_S)
            os.kill(server.pids()[victim], signal.SIGKILL)
            killed_s = time.monotonic()
            again = {name: _awaited(one, killed_s) for name, one in watches.items()}
            lost += sum(one is None for one in again.values())
            for name, one in again.items():
                took[name] += [] if one is None else [one]
            pauses.append(longest_pause_s(watches["whep"].shown[-200:], killed_s))
        row = server.stream("kills")
        facts = _at_the_end(watches["hls"])
    found = {f"{k}_{q}_s": v for k in took for q, v in spread(took[k], 2).items()}
    return {
        **found,
        "kills": kills,
        "gop": gop,
        "protocol": "whip" if whip else "rtmp",
        "every_s": every_s,
        "no_motion": lost,
        "server_s": row["took_over_s"],
        "whep_s": [round(one, 2) for one in took["whep"]],
        "whep_pauses_s": [round(one, 2) for one in pauses],
        "dropped": row["stats"]["dropped"],
        **facts,
    }


def _awaited(watch: Watch, event_s: float) -> float | None:
    """Wait until this viewer sees motion again."""
    found = until(lambda: motion_again_s(watch.shown[-300:], event_s), MOTION_S)
    return float(found) if found else None


def _at_the_end(watch: Watch) -> Row:
    """How an HLS viewer fared: segments missing, and pictures that came twice."""
    time.sleep(STEADY_S)
    times = [one.time_s for one in watch.shown]
    watch.close()
    facts = watch.facts
    double = sum(later <= sooner for sooner, later in pairwise(times))
    return {
        "segments": facts["segments"],
        "segments_missing": len(facts["holes"]),
        "segments_changed": len(facts["changed"]),
        "pictures_double": double,
        "error": facts["error"],
    }


PAINTED = "name: painted\nstages: [style: {model: starry}]\nlive: {latency_budget: 1s}\n"
CHANGED_S = 8.0
"""For a network to be loaded, and viewers to be steady again."""


def pipeline_changes(folder: Path, times: int) -> Row:
    """Stages come and go while the stream runs. How long a WHEP viewer had no newer picture, beside
    what it is without a change, and how many pictures never came to one of HLS."""
    plain, painted = (yaml.safe_load(text) for text in (IDENTITY, PAINTED))
    with Scene(folder, IDENTITY) as scene:
        scene.publish("changes")
        scene.until_pictures("changes", 60)
        watches = {
            "whep": scene.watch("/whep/changes"),
            "hls": scene.watch("/hls/changes/index.m3u8"),
        }
        until(lambda: all(one.shown for one in watches.values()), MOTION_S)
        time.sleep(STEADY_S)
        pauses, usual = [], []
        for number in range(times):
            usual.append(_pause_s(watches["whep"].shown, time.monotonic() - STEADY_S))
            began_s = time.monotonic()
            _put(scene.server.url("/v1/streams/changes"), plain if number % 2 else painted)
            time.sleep(CHANGED_S)
            pauses.append(_pause_s(watches["whep"].shown, began_s))
        row = scene.server.stream("changes")
        facts = _at_the_end(watches["hls"])
    numbers = [one.number for one in watches["hls"].shown if one.number is not None]
    missing = sum(max(0, later - sooner - 1) for sooner, later in pairwise(numbers))
    return {
        "times": times,
        "whep_pauses_s": [round(one, 3) for one in pauses],
        "whep_usual_s": [round(one, 3) for one in usual],
        "whep_pause_p50_s": round(sorted(pauses)[len(pauses) // 2], 3),
        "whep_usual_p50_s": round(sorted(usual)[len(usual) // 2], 3),
        "hls_pictures": len(numbers),
        "hls_pictures_missing": missing,
        "dropped": row["stats"]["dropped"],
        **facts,
    }


def _pause_s(shown: Sequence[Shown], since_s: float) -> float:
    """The longest time without a newer picture."""
    times = [one.at_s for one in shown if one.at_s >= since_s]
    return max((later - sooner for sooner, later in pairwise(times)), default=CHANGED_S)


def _put(url: str, pipeline: Any) -> None:
    data = json.dumps({"pipeline": pipeline}).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    request.get_method = lambda: "PUT"  # type: ignore[method-assign]
    urllib.request.urlopen(request, timeout=10).close()


def publisher_returns(folder: Path, times: int, away_s: float = 2.0) -> Row:
    """A publisher is killed and another comes with its key, after some seconds."""
    took: dict[str, list[float]] = {"whep": [], "hls": []}
    with Scene(folder, IDENTITY) as scene:
        publisher = scene.publish("back")
        scene.until_pictures("back", 60)
        watches = {"whep": scene.watch("/whep/back"), "hls": scene.watch("/hls/back/index.m3u8")}
        until(lambda: all(one.shown for one in watches.values()), MOTION_S)
        lost = 0
        for number in range(1, times + 1):
            time.sleep(STEADY_S)
            publisher.kill()
            time.sleep(away_s)
            first = 100_000 * number
            publisher = scene.publish("back", first=first)
            for name, one in watches.items():
                if until(lambda one=one, first=first: _later(one, first + 1), MOTION_S):
                    took[name].append(_since_first(one, first))
                else:
                    lost += 1
        session = scene.server.stream("back")
        facts = _at_the_end(watches["hls"])
    found = {
        f"{name}_{key}_s": value for name in took for key, value in spread(took[name], 2).items()
    }
    return {**found, "times": times, "viewers_lost": lost, **facts, "filled": session["filled"]}


def _later(watch: Watch, number: int) -> bool:
    return any((one.number or 0) >= number for one in watch.shown[-60:])


def _since_first(watch: Watch, first: int) -> float:
    """From the drawing of the first new key frame until the picture after it is seen."""
    new = [one for one in watch.shown if (one.number or 0) >= first]
    drawn_s = _drawn_s(new[0]) - ((new[0].number or 0) - first) / 30
    moved = next(one.at_s for one in new if (one.number or 0) > first)
    return moved - drawn_s
