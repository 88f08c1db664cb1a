"""Live streams on a disk: playable at every moment, cut where they may be, never waited for."""

from __future__ import annotations

import asyncio
import errno
import resource
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from streamgen.deliver.grid import NS
from streamgen.deliver.live import LivePackager, LiveSettings, LiveStart
from streamgen.deliver.movie import MovieFile
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.recording.recording import MOST_BYTES, Recording, Recordings
from streamgen_edge.recording.reel import Cut, Label, Reel, State
from streamgen_edge.recording.settings import RecordingSettings
from tests.deliver.live_packets import live_audio, live_video, mixed

SECONDS = 10
RATE = 30
START = LiveStart("s3cret", 1_700_000_000 * NS)
VIDEO, PICTURES = live_video(seconds=SECONDS)
SOUND, TONE = live_audio(seconds=SECONDS)
PACKETS = mixed(PICTURES, TONE)


def packager(telemetry: Telemetry | None = None) -> LivePackager:
    return LivePackager(
        START, [VIDEO, SOUND], telemetry=telemetry or Telemetry(), settings=LiveSettings()
    )


def settings(folder: Path, **more: Any) -> RecordingSettings:
    return RecordingSettings(**{"folder": folder, "min_free": 0, **more})


def ended(recording: Recording) -> None:
    recording.end()
    until(lambda: not recording.running)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def recorded(
    folder: Path, *, packets: Sequence[Packet] = PACKETS, create: Any = MovieFile, **more: Any
) -> tuple[Recording, Telemetry]:
    telemetry = Telemetry()
    recording = Recording("live-1", settings(folder, **more), telemetry, create=create)
    made = packager()
    recording.follow(made)
    for packet in packets:
        made.write(packet)
    made.end()
    ended(recording)
    return recording, telemetry


def times(path: Path) -> tuple[list[int], list[int]]:
    """Of all pictures and of all sound, as a player computes them; everything decodes."""
    found: tuple[list[int], list[int]] = ([], [])
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.pts is not None and not packet.is_corrupt:  # the last, of a file cut off
                found[packet.stream.type == "audio"].append(packet.pts)
                packet.decode()
    return found


def steps(some: list[int]) -> set[int]:
    return {b - a for a, b in pairwise(some)}


def files(folder: Path) -> list[Path]:
    found = (folder / "live-1").glob("*.mp4")
    return sorted(found, key=lambda path: int(path.stem.rpartition("-")[2]))


def test_a_stream_is_one_file_with_every_picture_at_its_time(tmp_path: Path) -> None:
    recording, _ = recorded(tmp_path)
    (path,) = files(tmp_path)
    assert path.name == "20231114T221320Z-s3cret-1.mp4"
    pictures, sound = times(path)
    assert pictures == [packet.pts for packet in PICTURES]
    assert steps(sound) == {1024} and len(sound) >= len(TONE) - 1
    facts = recording.facts()
    assert facts["state"] == "ended" and facts["file"] == f"live-1/{path.name}"
    assert facts["bytes"] == path.stat().st_size and facts["files"] == 1


def test_the_length_is_said_once_the_file_is_finished(tmp_path: Path) -> None:
    recorded(tmp_path)
    (path,) = files(tmp_path)
    data = path.read_bytes()
    at = data.index(b"mehd")
    ticks = int.from_bytes(data[at + 8 : at + 16], "big")
    assert abs(ticks / 90_000 - SECONDS) < 0.1


def test_a_growing_file_plays_up_to_its_last_fragment(tmp_path: Path) -> None:
    recording, made = Recording("live-1", settings(tmp_path), Telemetry()), packager()
    recording.follow(made)
    for packet in PACKETS[: len(PACKETS) // 2]:
        made.write(packet)
    until(lambda: recording.facts()["behind_bytes"] == 0 and recording.facts()["bytes"] > 0)
    (path,) = files(tmp_path)
    pictures, sound = times(path)
    assert steps(pictures) == {3000} and steps(sound) == {1024}
    assert pictures[-1] > 90_000 * (SECONDS / 2 - 1)
    ended(recording)


@pytest.mark.parametrize("bytes_kept", [0.3, 0.7, 0.95])
def test_a_file_that_was_cut_off_plays_up_to_there(tmp_path: Path, bytes_kept: float) -> None:
    recorded(tmp_path)
    (path,) = files(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * bytes_kept)])
    pictures, _ = times(path)
    assert steps(pictures) == {3000}
    assert len(pictures) > len(PICTURES) * (bytes_kept - 0.2)


@pytest.mark.parametrize("split", ["2s", "100k"])
def test_files_follow_each_other_at_key_frames_without_hole_or_double(
    tmp_path: Path, split: str
) -> None:
    recorded(tmp_path, split=split)
    paths = files(tmp_path)
    assert len(paths) > 2
    parts = [times(path) for path in paths]
    assert [at for pictures, _ in parts for at in pictures] == [p.pts for p in PICTURES]
    whole = [at for _, sound in parts for at in sound]
    assert steps(whole) == {1024}
    for path, (pictures, sound) in zip(paths, parts, strict=True):
        with av.open(str(path)) as file:
            assert next(file.demux(video=0)).is_keyframe
        assert abs(pictures[0] / 90_000 - sound[0] / 48_000) < 0.05
    if split == "2s":
        assert all(len(pictures) / RATE <= 3 for pictures, _ in parts)
    else:
        assert all(path.stat().st_size <= 110_000 for path in paths)


def test_recording_can_begin_in_mid_stream_and_go_on_counting(tmp_path: Path) -> None:
    made, telemetry = packager(), Telemetry()
    half = len(PACKETS) // 2
    for packet in PACKETS[:half]:
        made.write(packet)
    one = Recording("live-1", settings(tmp_path), telemetry)
    one.follow(made)
    for packet in PACKETS[half : half * 3 // 2]:
        made.write(packet)
    ended(one)
    other = Recording("live-1", settings(tmp_path), telemetry)
    other.follow(made)
    for packet in PACKETS[half * 3 // 2 :]:
        made.write(packet)
    ended(other)
    first, second = (times(path)[0] for path in files(tmp_path))
    assert first[0] % 90_000 == 0 and first[0] > 90_000 * 4
    assert first[-1] < second[0] and steps(first) == steps(second) == {3000}


class Blocked(MovieFile):
    """A disk that hangs as long as the test wants."""

    moving = threading.Event()

    def append(self, track: int, fragment: bytes) -> None:
        assert self.moving.wait(30)
        super().append(track, fragment)


def test_a_disk_that_hangs_costs_pictures_of_the_file_and_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgen_edge.recording.recording.MOST_BYTES", 60_000)
    Blocked.moving.clear()
    telemetry = Telemetry()
    recording = Recording("live-1", settings(tmp_path), telemetry, create=Blocked)
    made = packager()
    recording.follow(made)
    for packet in PACKETS[: len(PACKETS) // 5]:
        made.write(packet)
    until(lambda: recording.facts()["files"] == 1)
    worst, most = 0.0, 0
    for packet in PACKETS[len(PACKETS) // 5 : len(PACKETS) * 2 // 3]:
        began = time.perf_counter()
        made.write(packet)
        worst = max(worst, time.perf_counter() - began)
        most = max(most, recording.facts()["behind_bytes"])
    assert most <= 60_000 < MOST_BYTES
    assert worst < 0.05
    slow = telemetry.counts("recording_dropped")["slow"]
    assert slow > RATE
    window = made.renditions["90p"].window
    assert window.position()[0] >= SECONDS // 2  # the stream itself went on
    Blocked.moving.set()
    until(lambda: recording.facts()["behind_bytes"] == 0)
    for packet in PACKETS[len(PACKETS) * 2 // 3 :]:
        made.write(packet)
        time.sleep(0.0005)
    made.end()
    ended(recording)
    (path,) = files(tmp_path)
    pictures, _ = times(path)
    lost = telemetry.counts("recording_dropped")["slow"]
    assert len(pictures) + lost == len(PICTURES)
    holes = [b for a, b in pairwise(pictures) if b - a != 3000]
    keys = {packet.pts for packet in PICTURES if packet.keyframe}
    assert holes and set(holes) <= keys
    assert pictures == sorted(pictures)


class Full(MovieFile):
    """Takes so much and no more, until there is room."""

    room = 40_000

    def append(self, track: int, fragment: bytes) -> None:
        if self.size_bytes + len(fragment) > Full.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(track, fragment)


def test_a_full_disk_is_said_and_recording_goes_on_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgen_edge.recording.reel.RETRY_S", 0.3)
    monkeypatch.setattr(Full, "room", 40_000)
    telemetry = Telemetry()
    recording = Recording("live-1", settings(tmp_path), telemetry, create=Full)
    made = packager()
    recording.follow(made)
    third = len(PACKETS) // 3
    for packet in PACKETS[:third]:
        made.write(packet)
    until(lambda: recording.facts()["state"] == "full")
    assert recording.facts()["error"] == "No space left on device"
    assert ("recording", "on") in telemetry.gauges()
    monkeypatch.setattr(Full, "room", 1 << 30)
    time.sleep(0.35)
    for packet in PACKETS[third:]:
        made.write(packet)
    until(lambda: recording.facts()["state"] == "recording")
    made.end()
    ended(recording)
    parts = [times(path)[0] for path in files(tmp_path)]
    assert all(steps(part) <= {3000} for part in parts) and len(parts) > 1
    dropped = telemetry.counts("recording_dropped")["full"]
    assert sum(map(len, parts)) + dropped == len(PICTURES)


def test_nothing_is_written_where_the_disk_has_less_than_must_stay_free(tmp_path: Path) -> None:
    recording, telemetry = recorded(tmp_path, min_free="1000000T")
    assert files(tmp_path) == []
    assert telemetry.counts("recording_dropped") == {"full": len(PICTURES)}
    assert telemetry.gauges()[("recording", "on")] == 0.0
    assert recording.facts()["files"] == 0


def test_a_folder_that_cannot_be_made_fails_the_recording_and_nothing_else(
    tmp_path: Path,
) -> None:
    (tmp_path / "taken").write_text("a file")
    _, telemetry = recorded(tmp_path / "taken")
    assert telemetry.counts("recording_dropped") == {"failed": len(PICTURES)}


def test_a_write_that_failed_in_the_middle_leaves_no_half_fragment(tmp_path: Path) -> None:
    recorded(tmp_path)
    (whole,) = files(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size // 2, before[1]))
    try:
        recorded(tmp_path / "half")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (half,) = files(tmp_path / "half")
    media, kept = (data[data.index(b"moof") :] for data in map(Path.read_bytes, (whole, half)))
    assert media.startswith(kept)
    assert half.stat().st_size < whole.stat().st_size // 2
    pictures, _ = times(half)
    assert steps(pictures) == {3000} and len(pictures) > len(PICTURES) // 4


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", "a\0", "x" * 65, "/etc"])
def test_what_is_no_name_of_a_stream_becomes_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a stream's name"):
        Recording(name, settings(tmp_path), Telemetry())


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "a.mp4"
    path.symlink_to(target)
    with pytest.raises(FileExistsError):
        MovieFile(path, [packager_header()])
    assert not target.exists()


def test_sound_ahead_of_the_pictures_goes_into_their_file(tmp_path: Path) -> None:
    """The packager hands sound over a third of a second before or after the pictures."""
    late = mixed(PICTURES, [packet for packet in TONE if packet.time_s < SECONDS])
    ahead = sorted(late, key=lambda p: p.time_s - (0.9 if p.track == SOUND.name else 0))
    recorded(tmp_path, packets=ahead, split="3s")
    for path in files(tmp_path):
        pictures, sound = times(path)
        assert abs(pictures[0] / 90_000 - sound[0] / 48_000) < 0.05


def test_sound_without_pictures_is_not_kept_back_for_ever(tmp_path: Path) -> None:
    telemetry = Telemetry()
    label = Label("live-1", "s", 0)
    made: list[tuple[int, bytes]] = []

    class File(MovieFile):
        def append(self, track: int, fragment: bytes) -> None:
            made.append((track, fragment))

    reel = Reel(label, settings(tmp_path), telemetry, sound=None, create=File)
    header = packager_header()
    reel.write(Cut(1, 0, True, True, 0, NS, header, b"\0" * 96))
    for number in range(1, 40):
        at = number * NS
        reel.write(Cut(2, number, True, True, at, at + NS, header, b"%96d" % number))
    assert [int(data) for track, data in made if track == 2] == list(range(1, 24))
    reel.close()
    assert [int(data) for track, data in made if track == 2] == list(range(1, 40))
    assert reel.state is State.ENDED


def packager_header() -> bytes:
    made = packager()
    for packet in PACKETS[:60]:
        made.write(packet)
    return next(iter(made.renditions["90p"].window.headers.values()))


class Viewed:
    """What `Recordings` needs of a stream."""

    def __init__(self) -> None:
        self.recording: Recording | None = None

    def record(self, recording: Recording | None) -> None:
        if self.recording is not None:
            self.recording.end()
        self.recording = recording


def test_a_changed_wish_ends_the_former_recording_and_the_same_one_does_not(
    tmp_path: Path,
) -> None:
    all_of_them, viewed, telemetry = Recordings(), Viewed(), Telemetry()
    wanted = settings(tmp_path)
    all_of_them.apply("live-1", viewed, telemetry, wanted)
    first = viewed.recording
    assert first is not None
    all_of_them.apply("live-1", viewed, telemetry, settings(tmp_path))
    assert viewed.recording is first
    all_of_them.apply("live-1", viewed, telemetry, settings(tmp_path, split="2h"))
    assert viewed.recording is not first and not first.running
    all_of_them.apply("live-1", viewed, telemetry, None)
    assert viewed.recording is None
    assert asyncio.run(all_of_them.finished(1.0))


def test_the_end_of_the_server_waits_for_a_hanging_disk_only_so_long(tmp_path: Path) -> None:
    Blocked.moving.clear()
    recordings, viewed = Recordings(), Viewed()
    recordings.apply("live-1", viewed, Telemetry(), settings(tmp_path))
    recording = viewed.recording
    assert recording is not None
    recording._create = Blocked
    made = packager()
    recording.follow(made)
    for packet in PACKETS:
        made.write(packet)
    began = time.monotonic()
    assert not asyncio.run(recordings.finished(0.3))
    assert 0.2 < time.monotonic() - began < 2.0
    Blocked.moving.set()
    assert asyncio.run(recordings.finished(10.0))
