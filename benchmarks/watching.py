"""A viewer that reads barcodes, in a process of its own; one line of JSON for each picture.

Its `main` takes the address of a WHEP endpoint or of a multivariant playlist.

A line is [when it was there (CLOCK_MONOTONIC, s), number (null: unreadable), age in ms, its time in
the output (s)]; the last line, also after SIGTERM, says how the viewer fared (with
`--joins`, the seconds until each first picture). By HLS it reads the lowest rung, each part
as soon as a player could.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from barcode import Mark, read

from streamgen_edge.demo.hls_reader import HlsReader, PartDecoder
from streamgen_edge.demo.whep_viewer import WhepViewer


def mark_of(frame: VideoFrame) -> Mark | None:
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
    return read(rows[:, : frame.width])


def say(frame: VideoFrame, at_s: float, time_s: float) -> None:
    mark = mark_of(frame)
    row: list[Any] = [round(at_s, 4), None, None, round(time_s, 4)]
    if mark is not None:
        row[1:3] = mark.number, round(mark.age_ms(at_s * 1000), 1)
    print(json.dumps(row), flush=True)


def wait(over: Callable[[], bool]) -> None:
    while not over():
        time.sleep(0.1)


async def watch_whep(url: str, over: Callable[[], bool]) -> dict[str, Any]:
    viewer = WhepViewer(lambda frame, timestamp, at: say(frame, at, timestamp / 90_000))
    await viewer.start(url)
    await asyncio.to_thread(wait, over)
    await viewer.close()
    return {"first_s": viewer.first_s, "skipped": viewer.skipped}


async def join(url: str, times: int) -> dict[str, Any]:
    """Come, see a picture, and leave; again and again, anywhere between two key frames."""
    chance = random.Random(times)
    took = []
    for _ in range(times):
        viewer = WhepViewer(lambda *_: None)
        await viewer.start(url)
        for _ in range(500):
            if viewer.first_s is not None:
                break
            await asyncio.sleep(0.02)
        await viewer.close()
        took.append(viewer.first_s)
        await asyncio.sleep(chance.uniform(0.2, 1.2))
    return {"joins_s": took}


def watch_hls(url: str, over: Callable[[], bool]) -> dict[str, Any]:
    decoder = PartDecoder()

    def heard(part: Any, data: bytes, init: bytes, at_s: float) -> None:
        for frame, time_s in decoder.pictures(data, init):
            say(frame, at_s, time_s)

    reader = HlsReader(url, heard, lowest=True)
    reader.start()
    wait(lambda: over() or bool(reader.error))
    reader.stop()
    return {
        "first_s": reader.first_s,
        "error": reader.error,
        "segments": len(reader.listed),
        "holes": reader.holes,
        "changed": reader.changed,
        "hold_back_s": reader.hold_back_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--joins", type=int, default=0, help="only come and leave, so often")
    asked = parser.parse_args()
    end_s = time.monotonic() + asked.seconds
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())

    def over() -> bool:
        return told.is_set() or time.monotonic() > end_s

    if asked.joins:
        facts = asyncio.run(join(asked.url, asked.joins))
    elif "/hls/" in asked.url:
        facts = watch_hls(asked.url, over)
    else:
        facts = asyncio.run(watch_whep(asked.url, over))
    print(json.dumps(facts), flush=True)
