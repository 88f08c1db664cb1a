"""Sound without pictures, pictures that come late, and both together to the millisecond."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.live import high_efficiency
from tests.live.encoders import TONE, Encoder, coded, moving
from tests.live.playlists import Seen, renditions
from tests.live.raw import Outcome, published
from tests.live.serving import Publisher, Server

Send = Callable[..., Publisher]


@pytest.fixture
def send(server: Server) -> Iterator[Send]:
    some: list[Publisher] = []

    def start(name: str, *arguments: str) -> Publisher:
        some.append(Encoder(server, name, *arguments))
        return some[-1]

    yield start
    for one in some:
        one.close()


def played(server: Server, name: str, pictures: int) -> tuple[list[Any], list[Any]]:
    """The next pictures of a stream, and the sound beside them, as an HLS player gets them."""
    seen: list[Any] = []
    heard: list[Any] = []
    with av.open(f"http://127.0.0.1:{server.http}/hls/{name}/index.m3u8") as player:
        for frame in player.decode(player.streams.video[0], player.streams.audio[0]):
            (seen if isinstance(frame, av.VideoFrame) else heard).append(frame)
            if len(seen) == pictures:
                break
    return seen, heard


def spread(frame: Any) -> float:
    return float(frame.to_ndarray()[: frame.height].std())


def test_a_stream_of_sound_only_plays_with_a_plain_picture_and_pictures_may_come_later(
    server: Server, send: Send
) -> None:
    # Pictures are announced, and come seven seconds after the sound.
    send("radio", *TONE, "-itsoffset", "7.5", *moving("320x240", 25), *coded("h264", 25))
    server.until(lambda: len(renditions(server, "radio")) >= 2, "playlists")
    before = server.stream("radio")
    assert before["state"] == "live" and "radio" in server.stream("radio")["hls"]
    assert before["publisher"]["keyframes"] == 0
    places = renditions(server, "radio")
    seen = {place: Seen() for place in places}

    def look() -> bool:
        for place, one in seen.items():
            one.look(server.get(place)[1])
        return False

    pictures, heard = played(server, "radio", 7)
    assert {(p.width, p.height) for p in pictures} == {(426, 240)}
    assert all(spread(p) < 2 for p in pictures)
    steps = {Fraction(b.pts - a.pts) * a.time_base for a, b in itertools.pairwise(pictures)}
    assert steps == {Fraction(333, 2000)}  # two fill a part
    assert max(float(abs(h.to_ndarray()).max()) for h in heard) > 0.05
    server.until(lambda: look() or server.stream("radio")["takeovers"].get("codec"), "pictures")
    out = server.frames_out("radio")
    server.until(lambda: look() or server.frames_out("radio") > out + 90, "motion")
    row = server.stream("radio")
    assert row["session"] == before["session"] and row["tracks"] == before["tracks"]
    later, _ = played(server, "radio", 10)
    assert {(p.width, p.height) for p in later} == {(426, 240)}
    assert all(spread(p) > 20 for p in later)
    edge = later[-1].to_ndarray()[:240, :20]
    assert edge.mean() < 24  # 4:3 between bars
    for place, one in seen.items():
        assert one.holes == [] and one.changed == [], place


def test_a_stream_opens_with_two_half_segments(server: Server, send: Send) -> None:
    send("opening", *moving("320x180", 25), *TONE, *coded("h264", 25))
    server.until(lambda: len(renditions(server, "opening")) >= 2, "playlists")
    server.until(lambda: server.frames_out("opening") > 75, "three seconds")
    for place in renditions(server, "opening"):
        text = server.get(place)[1]
        assert "#EXT-X-MEDIA-SEQUENCE:0\n" in text
        lengths = [float(one) for one in re.findall(r"#EXTINF:([\d.]+)", text)][:3]
        assert all(abs(a - b) < 0.1 for a, b in zip(lengths, (0.5, 0.5, 1.0), strict=True)), text


def flashes(path: Path, seconds: int) -> None:
    """Each second one white picture, and a beep that begins with it."""
    with av.open(str(path), "w", format="flv") as file:
        video: Any = file.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        video.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "25"}
        audio: Any = file.add_stream("aac", rate=48_000, layout="mono")
        beep = np.sin(np.arange(1920) * 2 * np.pi * 1000 / 48_000)
        sound = np.zeros(48_000, np.float32)
        sound[24_000 : 24_000 + len(beep)] = 0.8 * beep
        for second in range(seconds):
            for number in range(25):
                luma = 235 if number == 12 else 32
                frame = av.VideoFrame.from_ndarray(
                    np.vstack([np.full((180, 320), luma), np.full((90, 320), 128)]).astype("uint8"),
                    "yuv420p",
                )
                frame.pts, frame.time_base = second * 25 + number, Fraction(1, 25)
                file.mux(video.encode(frame))
            # The flash of picture 12 is at 0.48 s.
            samples = np.roll(sound, -960).reshape(1, -1)
            piece = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            piece.sample_rate, piece.pts = 48_000, second * 48_000
            piece.time_base = Fraction(1, 48_000)
            file.mux(audio.encode(piece))
        file.mux(video.encode(None))
        file.mux(audio.encode(None))


def test_a_flash_and_its_beep_stay_together(server: Server, send: Send, tmp_path: Path) -> None:
    clip = tmp_path / "clip.flv"
    flashes(clip, 20)
    send("clap", "-re", "-i", str(clip), "-c", "copy")
    server.until(lambda: server.frames_out("clap") > 75, "three seconds")
    pictures, heard = played(server, "clap", 130)
    lumas = [(float(p.pts * p.time_base), p.to_ndarray()[:180].mean() > 128) for p in pictures]
    seen = [b[0] for a, b in itertools.pairwise(lumas) if b[1] and not a[1]]
    begins = float(heard[0].pts * heard[0].time_base)
    sound = np.concatenate([np.abs(h.to_ndarray()).max(axis=0) for h in heard])
    loud = np.flatnonzero(sound > 0.2) / 48_000 + begins
    onsets = [loud[0], *(b for a, b in itertools.pairwise(loud) if b - a > 0.3)]
    pairs = [(at, min(onsets, key=lambda one, at=at: abs(one - at))) for at in seen[1:-1]]
    offsets_ms = [1000 * (beep - flash) for flash, beep in pairs]
    print("sound after picture, ms", [round(one, 1) for one in offsets_ms])
    assert len(offsets_ms) >= 2 and max(map(abs, offsets_ms)) <= 40
    stats = server.stream("clap")["stats"]
    assert 0 <= stats["audio"]["av_offset_ms"] <= 15
    metrics = server.get("/metrics")[1]
    assert re.search(r'streamgen_av_offset_ms\{of="sound",stream="clap"\} [\d.]+', metrics)
    assert re.search(r'streamgen_sound_ahead_ms\{of="sound",stream="clap"\} -?[\d.]+', metrics)


def ended(server: Server, name: str) -> dict[str, Any] | None:
    row = server.stream(name)
    return row if row["state"] == "ended" else None


def test_he_aac_is_heard_at_its_own_rate_and_beside_its_picture(server: Server) -> None:
    """However its record tells that half of it is 24 kHz, and half of it replicated above."""
    names = {f"he-{n}": what for n, what in enumerate(high_efficiency.CONFIGS)}

    async def all_sent() -> list[Outcome]:
        claps = [(name, high_efficiency.clap(what)) for name, what in names.items()]
        return await asyncio.gather(*(published(server.rtmp, *clap) for clap in claps))

    assert all(outcome.let_in and not outcome.closed for outcome in asyncio.run(all_sent()))
    for name, what in names.items():
        row = server.until(lambda name=name: ended(server, name), "end")
        assert row["stats"]["lost"] == {}, what
        pictures, heard = played(server, name, row["stats"]["frames_out"])
        assert {(h.sample_rate, h.layout.name) for h in heard} == {(48_000, "stereo")}
        sound = np.concatenate([h.to_ndarray()[0] for h in heard])
        begins = float(heard[0].pts * heard[0].time_base)
        beeps = [begins + at for at in high_efficiency.onsets(sound)]
        lumas = [(float(p.pts * p.time_base), p.to_ndarray()[:72].mean() > 128) for p in pictures]
        flashes = [b[0] for a, b in itertools.pairwise(lumas) if b[1] and not a[1]]
        assert len(flashes) >= 3 and len(beeps) >= 3, what
        pairs = [(at, min(beeps, key=lambda one, at=at: abs(one - at))) for at in flashes]
        offsets_ms = [1000 * (beep - flash) for flash, beep in pairs]
        assert max(map(abs, offsets_ms)) <= 40, what
        spectrum = np.abs(np.fft.rfft(sound))
        above = np.fft.rfftfreq(len(sound), 1 / 48_000) > 12_500
        assert spectrum[above].sum() > 0.05 * spectrum.sum(), what
