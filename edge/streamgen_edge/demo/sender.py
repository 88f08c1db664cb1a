"""The demo's publisher, in a process of its own, as FFmpeg holds the GIL while it connects.

    python -m streamgen_edge.demo.sender TAPE RTMP_URL SECONDS

Sends a tape in real time, again and again. A line on standard output is the time
(`time.monotonic`) when the next picture was given to FFmpeg's RTMP client. No line: no picture.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av


def packets(tape: Path) -> tuple[list[Any], Fraction]:
    """Templates and packets by decoding time, and the pictures' whole length in seconds."""
    container: Any = av.open(str(tape))
    streams = [*container.streams.video[:1], *container.streams.audio[:1]]
    found = [packet for packet in container.demux(streams) if packet.size]
    found.sort(key=lambda packet: packet.dts * packet.time_base)
    pictures = [packet for packet in found if packet.stream.type == "video"]
    rate = Fraction(streams[0].average_rate)
    return found, Fraction(len(pictures)) / rate


def turns(found: list[Any], length_s: Fraction) -> Iterator[tuple[Any, Any, float]]:
    """For ever: a packet's stream on the tape, a copy of it, and the second that it is due."""
    turn = 0
    while True:
        for packet in found:
            shift = round(turn * length_s / packet.time_base)
            copy = av.Packet(bytes(packet))
            copy.pts, copy.dts = packet.pts + shift, packet.dts + shift
            copy.time_base, copy.is_keyframe = packet.time_base, packet.is_keyframe
            yield packet.stream, copy, float(copy.dts * copy.time_base)
        turn += 1


def send(tape: Path, url: str, seconds: float) -> None:
    found, length_s = packets(tape)
    with av.open(url, "w", format="flv", options={"flush_packets": "1"}) as out:
        streams = {p.stream.index: p.stream for p in found}
        outs = {index: out.add_stream_from_template(one) for index, one in streams.items()}
        began: float | None = None
        last = dict.fromkeys(outs, -(1 << 60))
        for stream, packet, due_s in turns(found, length_s):
            if due_s >= seconds:
                return
            if packet.dts <= last[stream.index]:
                continue  # sound that reaches into the next turn
            last[stream.index] = packet.dts
            began = time.monotonic() - due_s if began is None else began
            time.sleep(max(0.0, began + due_s - time.monotonic()))
            packet.stream = outs[stream.index]
            if stream.type == "video":
                print(f"{time.monotonic():.6f}", flush=True)
            out.mux(packet)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    tape, url, seconds = sys.argv[1:]
    send(Path(tape), url, float(seconds))


if __name__ == "__main__":
    main()
