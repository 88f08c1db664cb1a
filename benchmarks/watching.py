"""A viewer that reads barcodes, in a process of its own; one line of JSON for each picture.

    python benchmarks/watching.py http://127.0.0.1:8080/whep/me?rung=240p --seconds 20
    python benchmarks/watching.py http://127.0.0.1:8080/hls/me/index.m3u8 --seconds 20

A line is [when it was there (CLOCK_MONOTONIC, s), number (null: unreadable), age in ms, its time in
the output (s)]; the last line says how the viewer fared. By HLS it reads the lowest rung, each part
as soon as a player could.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
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


async def watch_whep(url: str, seconds: float) -> dict[str, Any]:
    viewer = WhepViewer(lambda frame, timestamp, at: say(frame, at, timestamp / 90_000))
    await viewer.start(url)
    await asyncio.sleep(seconds)
    await viewer.close()
    return {"first_s": viewer.first_s, "skipped": viewer.skipped}


def watch_hls(url: str, seconds: float) -> dict[str, Any]:
    decoder = PartDecoder()

    def heard(part: Any, data: bytes, init: bytes, at_s: float) -> None:
        for frame, time_s in decoder.pictures(data, init):
            say(frame, at_s, time_s)

    reader = HlsReader(url, heard, lowest=True)
    reader.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until and not reader.error:
        time.sleep(0.1)
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
    asked = parser.parse_args()
    if "/hls/" in asked.url:
        facts = watch_hls(asked.url, asked.seconds)
    else:
        facts = asyncio.run(watch_whep(asked.url, asked.seconds))
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
