"""A stream in real time over real sockets: rules, players, and how late everything is."""

from __future__ import annotations

import http.client
import itertools
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import pytest

from tests.deliver.live_trace import Playlist, Trace, read

from .conftest import SESSION, Live

PLACES = ("180p", "90p", "audio-0")


class Player:
    """Plays one rendition as the rules ask: blocking reloads, hinted parts, delta updates."""

    def __init__(self, stream: Live, place: str) -> None:
        self.trace = Trace(2)
        self.late: list[float] = []
        """Seconds between a part's publication and its arrival."""
        self.parts: dict[str, bytes] = {}
        self.error: BaseException | None = None
        self._stream = stream
        self._place = place
        self._line = http.client.HTTPConnection("127.0.0.1", stream.port, timeout=8)

    def get(self, name: str) -> bytes:
        path = urlsplit(self._stream.url).path
        self._line.request("GET", f"{path}/{SESSION}/{self._place}/{name}")
        answer = self._line.getresponse()
        body = answer.read()
        assert answer.status == 200, (name, answer.status, body[:200])
        return body

    def close(self) -> None:
        self._line.close()

    def play(self, seconds: float) -> None:
        """Reload for so long; keeps its error for the thread that asks."""
        try:
            self._play(seconds)
        except (AssertionError, OSError, http.client.HTTPException) as error:
            self.error = error

    def _play(self, seconds: float) -> None:
        now = self.trace.poll(self.get("index.m3u8").decode())
        until = time.time() + seconds
        while time.time() < until:
            number, index = self._next(now)
            hint = now.hints[0]["URI"]
            text = self.get(f"index.m3u8?_HLS_msn={number}&_HLS_part={index}&_HLS_skip=YES")
            came = time.time()
            now = self.trace.poll(text.decode(), msn=number, part=index)
            for at in now.segments:
                for part in at.parts:
                    if part["URI"] == hint:
                        self.parts[hint] = self.get(hint)
            there = self._stream.published.get((self._place, number, index))
            if there is not None:
                self.late.append(came - there)

    @staticmethod
    def _next(now: Playlist) -> tuple[int, int]:
        number, index = now.newest
        return (number + 1, 0) if now.segments[-1].complete else (number, index + 1)


def test_the_rules_hold_for_every_rendition_of_a_stream_in_real_time(
    live: Callable[..., Any],
) -> None:
    with live() as stream:
        players = [Player(stream, place) for place in PLACES]
        threads = [threading.Thread(target=player.play, args=(9,)) for player in players]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        for player in players:
            assert player.error is None, player.error
            trace = player.trace
            assert trace.polls > 20
            assert trace.hints_lost == 0
            late = sorted(player.late)
            assert late[len(late) // 2] < 0.1
            done = [n for n, s in trace.segments.items() if f"{n}.1.m4s" in player.parts]
            assert len(done) >= 5
            for number in done[1:-1]:
                named = trace.segments[number].uri
                parts = [v for k, v in player.parts.items() if k.startswith(f"{number}.")]
                assert b"".join(parts) == player.get(named)
            player.close()


def test_pictures_arrive_on_the_clock_that_the_playlist_tells(live: Callable[..., Any]) -> None:
    with live() as stream, closing(Player(stream, "180p")) as player:
        now = read(player.get("index.m3u8").decode())
        assert now.segments[0].date == pytest.approx(stream.began, abs=0.01)
        edge = now.segments[-1].date + now.segments[-1].length
        assert 0 <= time.time() - edge < 0.8


def test_ffmpeg_plays_the_ladder(live: Callable[..., Any], tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    out = tmp_path / "seen.json"
    with live() as stream:
        command = ["ffmpeg", "-v", "error", "-live_start_index", "0"]
        command += ["-i", f"{stream.url}/index.m3u8", "-t", "4", "-map", "0:v:0", "-map", "0:a:0"]
        command += ["-f", "framehash", str(out), "-y"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower(), done.stderr
    rows = [line.split(",") for line in out.read_text().splitlines() if not line.startswith("#")]
    pictures = [int(row[2]) for row in rows if row[0] == "0"]
    assert len(pictures) >= 110
    assert {b - a for a, b in itertools.pairwise(pictures)} == {1}
    sound = [int(row[2]) for row in rows if row[0].strip() == "1"]
    assert len(sound) > 150


def test_pyav_plays_a_rung(live: Callable[..., Any]) -> None:
    with (
        live() as stream,
        av.open(f"{stream.url}/{SESSION}/180p/index.m3u8", timeout=10) as file,
    ):
        times = []
        for frame in file.decode(video=0):
            times.append(frame.time)
            if len(times) == 90:
                break
    steps = {round(30 * (b - a)) for a, b in itertools.pairwise(times)}
    assert steps == {1}


def test_ffprobe_finds_what_the_top_playlist_promises(live: Callable[..., Any]) -> None:
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed")
    with live() as stream:
        command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams"]
        done = subprocess.run(
            [*command, f"{stream.url}/index.m3u8"],
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
    found = json.loads(done.stdout)["streams"]
    assert sorted((s["codec_name"], s.get("width")) for s in found)[-2:] == [
        ("h264", 160),
        ("h264", 320),
    ]
    assert "aac" in {s["codec_name"] for s in found}
