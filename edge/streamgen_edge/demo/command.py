"""`streamgen demo`: publish a clip in real time to a server of its own, watch it, say how fast.

A child `streamgen serve` on free ports of loopback; a tape of the clip goes there by RTMP, and
comes back by WHEP (lowest rung) and low-latency HLS (highest rung) at once. All ends with it.

Latency counts from the moment when FFmpeg's RTMP client was given a picture until a viewer has it:
by WHEP decoded, by HLS the part that holds it, before the hold-back that a player adds.
`likeness` says which picture it is.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import typer
from av.video.frame import VideoFrame

from streamgen.cli.contact import Moment, draw, upright, write_png
from streamgen.errors import OutputError, StreamGenError
from streamgen.media.orientation import orientation_of
from streamgen.pipeline import load_pipeline
from streamgen_edge.demo.figures import painted, quantile
from streamgen_edge.demo.hls_reader import HlsReader, PartDecoder
from streamgen_edge.demo.likeness import Came, latencies_ms, numbers
from streamgen_edge.demo.own_server import OwnServer
from streamgen_edge.demo.tape import Tape, record, thumb
from streamgen_edge.demo.whep_viewer import WhepViewer

STREAM = "demo"
MOST_TAPE_S = 10.0
BEGINS_WITHIN_S = 60.0
ENDS_WITHIN_S = 10.0
PAIRS = 4
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def demo(
    clip: Path = typer.Argument(..., help="A video; repeated where it is short."),
    output: Path = typer.Option(Path("demo"), "-o", "--output", help="Folder for what is made."),
    pipeline: str = typer.Option("starry", help="A built-in pipeline or a YAML file."),
    seconds: float = typer.Option(20.0, min=3.0, max=600.0, help="How long to publish."),
) -> None:
    """Publish a clip to a server of its own, watch it by WHEP and HLS, and say how fast it was."""
    name = load_pipeline(pipeline).name
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror}") from error
    with tempfile.TemporaryDirectory(prefix="streamgen-demo-") as place:
        folder = Path(place)
        with OwnServer(folder / "serve.log", "--pipeline", pipeline) as server:
            tape = record(clip, folder / "tape.mp4", MOST_TAPE_S)
            seen = asyncio.run(watch(server, tape, seconds))
        say(seen, tape, clip.name)
        keep(seen, tape, output, name)


@dataclass(slots=True, eq=False)
class Seen:
    """What both viewers got, and what the server says."""

    sent_s: list[float] = field(default_factory=list)
    whep: list[Came] = field(default_factory=list)
    whep_first_s: float = 0.0
    whep_rung: str = ""
    parts: list[tuple[float, bytes]] = field(default_factory=list)
    """When it came, and the bytes."""
    init: bytes = b""
    hls_first_s: float = 0.0
    hold_back_s: float = 0.0
    stats: dict[str, Any] = field(default_factory=dict)
    shown: list[tuple[Came, VideoFrame]] = field(default_factory=list)
    """The pictures in `parts`."""


@contextmanager
def published(server: OwnServer, tape: Tape, seconds: float, sent_s: list[float]) -> Iterator[Any]:
    """The publisher's process; `sent_s` grows while it sends."""
    command = [sys.executable, "-m", "streamgen_edge.demo.sender", str(tape.path)]
    command += [server.publish_url(STREAM), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    out = process.stdout

    def read() -> None:
        for line in out:
            sent_s.append(float(line))

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(ENDS_WITHIN_S)
        reading.join(ENDS_WITHIN_S)
        out.close()


async def watch(server: OwnServer, tape: Tape, seconds: float) -> Seen:
    """Publish, and watch until the publisher has sent all. Raises `StreamGenError`."""
    seen = Seen()
    with published(server, tape, seconds, seen.sent_s) as publisher:

        def plays() -> bool:
            return publisher.poll() is not None or server.frames_out(STREAM) > 0

        await asyncio.to_thread(server.until, plays, "pictures", BEGINS_WITHIN_S)
        tracks = server.stream(STREAM).get("tracks", [])
        rungs = [one.removeprefix("video/") for one in tracks if one.startswith("video/")]
        if not rungs:
            raise StreamGenError(f"nothing was published: {server.last_line()}")
        seen.whep_rung = rungs[-1]

        def heard(part: Any, data: bytes, init: bytes, at_s: float) -> None:
            seen.init = init
            seen.parts.append((at_s, data))

        reader = HlsReader(server.url(f"/hls/{STREAM}/index.m3u8"), heard)
        viewer = WhepViewer(
            lambda frame, timestamp, at_s: seen.whep.append(
                Came(at_s, timestamp / 90_000, thumb(frame))
            )
        )
        reader.start()
        try:
            await viewer.start(server.url(f"/whep/{STREAM}?rung={rungs[-1]}"))
            await asyncio.to_thread(publisher.wait, seconds + ENDS_WITHIN_S)
            seen.stats = await asyncio.to_thread(_settled, server)
        finally:
            await viewer.close()
            await asyncio.to_thread(reader.stop)
    if not seen.whep or not seen.parts:
        raise StreamGenError(f"a viewer saw nothing: {reader.error or server.last_line()}")
    seen.whep_first_s = viewer.first_s or 0.0
    seen.hls_first_s, seen.hold_back_s = reader.first_s or 0.0, reader.hold_back_s
    return seen


def _settled(server: OwnServer) -> dict[str, Any]:
    """The stream's statistics when nothing is on its way any more."""

    def over() -> dict[str, Any]:
        row = server.stream(STREAM)
        return row if row.get("state") == "ended" else {}

    return dict(server.until(over, "end of the stream", ENDS_WITHIN_S)["stats"])


def say(seen: Seen, tape: Tape, name: str) -> None:
    """Print what came, and how fast."""
    sent = seen.sent_s
    size, length_s = f"{tape.width}x{tape.height}", sent[-1] - sent[0]
    typer.echo(f"live: {name}, {size} at {tape.rate} fps, {length_s:.0f} s in real time by RTMP")
    late = _late(seen.whep, tape, sent)
    typer.echo(f"  WHEP    {seen.whep_rung:>5}  first picture {seen.whep_first_s:.2f} s, {late}")
    decoder = PartDecoder()
    came = []
    for at_s, data in seen.parts:
        for frame, time_s in decoder.pictures(data, seen.init):
            one = Came(at_s, time_s, thumb(frame))
            came.append(one)
            seen.shown.append((one, frame))
    late = _late(came, tape, sent)
    top = f"{min(seen.shown[0][1].width, seen.shown[0][1].height)}p"
    typer.echo(f"  LL-HLS  {top:>5}  first part {seen.hls_first_s:.2f} s, {late}, ", nl=False)
    typer.echo(f"to which players add {seen.hold_back_s:.1f} s")
    fate = painted(seen.stats)
    dropped = ", ".join(f"{count} {why}" for why, count in fate["dropped"].items()) or "none"
    typer.echo(
        f"  server  {fate['frames_in']} pictures in, {fate['frames_out']} out: "
        f"{fate['painted_percent']:.1f} % painted, {fate['reused']} shown twice, "
        f"{fate['passed_through']} passed through, dropped: {dropped}"
    )


def _late(came: Sequence[Came], tape: Tape, sent_s: Sequence[float]) -> str:
    shown = numbers(came, tape, sent_s)
    found = [] if shown is None else latencies_ms(came, shown, sent_s)
    if not found:
        return "latency unknown: the clip's pictures are too much alike"
    return f"latency p50 {quantile(found, 0.5):.0f} ms, p95 {quantile(found, 0.95):.0f} ms"


def keep(seen: Seen, tape: Tape, folder: Path, name: str) -> None:
    """Write what the top rung's viewer got, and a before/after contact sheet of it."""
    video, sheet = folder / "live.mp4", folder / "contact.png"
    try:
        video.write_bytes(b"".join([seen.init, *(data for _, data in seen.parts)]))
    except OSError as error:
        raise OutputError(f"cannot write {video}: {error.strerror}") from error
    came = [one for one, _ in seen.shown]
    shown = numbers(came, tape, seen.sent_s) or range(len(came))
    most = min(len(came), len(tape.thumbs))  # what comes later is the same again
    wanted = [most * (2 * at + 1) // (2 * PAIRS + 2) for at in range(PAIRS + 1)]
    befores = _tape_pictures(tape, [shown[at] % len(tape.thumbs) for at in wanted])
    size = (tape.width, tape.height)
    began_s = came[0].time_s
    moments = [
        Moment(
            came[at].time_s - began_s,
            *(upright(one, size, orientation_of(one)) for one in (before, seen.shown[at][1])),
        )
        for at, before in zip(wanted, befores, strict=True)
    ]
    picture = draw(moments, title=f"{name} live")
    write_png(picture, sheet)
    after = seen.shown[0][1]
    typer.echo(f"wrote {video} ({after.width}x{after.height}, as it came) and {sheet}")


def _tape_pictures(tape: Tape, wanted: Sequence[int]) -> list[VideoFrame]:
    with av.open(str(tape.path)) as container:
        found = {
            number: frame
            for number, frame in enumerate(container.decode(video=0))
            if number in set(wanted)
        }
    return [found[number] for number in wanted]
