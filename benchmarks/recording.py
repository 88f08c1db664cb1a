"""What recording a stream costs: CPU of server and workers per picture, with it and without.

    python benchmarks/recording.py [--pairs 5] [--seconds 6] [--size 1280x720]

One server and one stream; SIGHUP turns recording on and off between the halves of a pair, whose
order changes from pair to pair. Prints one JSON line. What is asked: the median of the pairs is
+3 % at most, and no picture is left out of the file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from scene import ended, program

from streamgen_edge.demo.own_server import OwnServer

NAME = "recorded"
TICKS = os.sysconf("SC_CLK_TCK")
SETTLE_S = 1.5


def configure(file: Path, *, record: bool) -> None:
    file.write_text(
        f"pipeline: transcode\nrecording: {{folder: {file.parent / 'kept'}, min_free: 0}}\n"
        f"streams: {{'*': {{publish: anyone, record: {str(record).lower()}}}}}\n"
    )


def cpu_s(server: OwnServer) -> float:
    """Of all of the server's children so far."""
    total = 0
    for pid in server.pids().values():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def ms_per_picture(server: OwnServer, file: Path, seconds: float, *, record: bool) -> float:
    configure(file, record=record)
    server.process.send_signal(signal.SIGHUP)
    server.until(lambda: (server.stream(NAME)["recording"] is not None) == record, "the wish")
    time.sleep(SETTLE_S)
    cpu, pictures = cpu_s(server), server.frames_out(NAME)
    time.sleep(seconds)
    return (cpu_s(server) - cpu) * 1e3 / (server.frames_out(NAME) - pictures)


def measured(folder: Path, pairs: int, seconds: float, size: str) -> dict[str, object]:
    file = folder / "streamgen.yaml"
    configure(file, record=False)
    with OwnServer(folder / "serve.log", "--config", str(file)) as server:
        command = [*program("publishing"), server.publish_url(NAME), "--size", size]
        command += ["--rate", "30", "--seconds", "600"]
        here = Path(__file__).parent
        publisher = subprocess.Popen(command, cwd=here)
        try:
            server.until(lambda: server.frames_out(NAME) > 90, "pictures", 30)
            rows: list[tuple[float, float]] = []
            for number in range(pairs):
                found: dict[bool, float] = {}
                for record in (False, True) if number % 2 else (True, False):
                    found[record] = ms_per_picture(server, file, seconds, record=record)
                rows.append((found[False], found[True]))
            row = server.stream(NAME)
        finally:
            ended(publisher)
    more = [with_ / without - 1 for without, with_ in rows]
    return {
        "size": size,
        "ms_per_picture": [[round(value, 3) for value in one] for one in rows],
        "more_percent": round(100 * statistics.median(more), 2),
        "dropped": row["stats"]["dropped"],
        "left_out": row["recording_dropped"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--size", default="1280x720")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(Path(folder), asked.pairs, asked.seconds, asked.size)))


if __name__ == "__main__":
    main()
