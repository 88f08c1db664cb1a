"""Streams into files: whole through the death of workers and publishers, and of the server too."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from tests.disks import read_only, small_disk
from tests.live.serving import FFMPEG, Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
RATE = 25
LONGEST_S = 0.1
"""Between two packets of sound, of which some may have come too late for the file."""


def config(folder: Path, *, record: bool = True, min_free: str = "0", split: str = "1h") -> str:
    where = f"{{folder: {folder / 'kept'}, split: {split}, min_free: {min_free}}}"
    return (
        f"pipeline: transcode\nrecording: {where}\n"
        f"streams: {{'*': {{publish: anyone, record: {str(record).lower()}, grace: 10s}}}}\n"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recording")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    one = Server(folder, config=config(folder))
    yield one
    one.stop()


def files(folder: Path, name: str) -> list[Path]:
    found = (folder / "kept" / name).glob("*.mp4")
    return sorted(found, key=lambda path: int(path.stem.rpartition("-")[2]))


def probed(path: Path) -> dict[str, Any]:
    """What Debian's ffprobe says, which is not the libavformat that we read with elsewhere."""
    assert FFMPEG is not None
    command = [str(Path(FFMPEG).with_name("ffprobe")), "-v", "error", "-show_streams"]
    done = subprocess.run(
        [*command, "-count_packets", "-of", "json", str(path)],
        capture_output=True,
        check=True,
        timeout=30,
    )
    return {row["codec_type"]: row for row in json.loads(done.stdout)["streams"]}


def times(path: Path) -> tuple[list[float], list[float]]:
    """Of all pictures, which decode, and of all sound, in seconds."""
    pictures: list[float] = []
    sound: list[float] = []
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.pts is None or packet.is_corrupt:
                continue
            if packet.stream.type == "audio":
                sound.append(float(packet.pts * packet.time_base))
            else:
                pictures += [float(frame.pts * frame.time_base) for frame in packet.decode()]
    return pictures, sound


def unseen(server: Server, name: str) -> int:
    """Pictures that came and were not shown so far: too late, inside a worker that died, or on
    their way."""
    stats = server.stream(name)["stats"]
    return int(stats["frames_in"] - stats["frames_out"] - stats["dropped"].get("starting", 0))


def missing(pictures: list[float]) -> int:
    return round((pictures[-1] - pictures[0]) * RATE) + 1 - len(pictures)


def check_whole(
    path: Path, server: Server | None = None, name: str = ""
) -> tuple[list[float], list[float]]:
    """No more pictures are missing than the stream says; without a server nobody can be asked."""
    pictures, sound = times(path)
    for some in (pictures, sound):
        assert len(some) > 1 and all(a < b for a, b in pairwise(some))
    assert server is None or missing(pictures) <= unseen(server, name), path
    assert max(b - a for a, b in pairwise(sound)) < LONGEST_S, path
    assert abs(pictures[0] - sound[0]) < 0.1
    return pictures, sound


def closed(path: Path) -> bool:
    return b"mehd" in path.read_bytes()[:4096]


def recording(server: Server, name: str) -> dict[str, Any]:
    return server.stream(name).get("recording") or {}


def test_one_file_holds_a_stream_over_its_workers_and_publishers(
    server: Server, folder: Path, publish: Callable[..., Publisher]
) -> None:
    publisher = publish("kept")
    server.until(lambda: server.frames_out("kept") > 50, "motion")
    (path,) = files(folder, "kept")
    growing, _ = check_whole(path, server, "kept")
    assert growing and not closed(path)
    assert recording(server, "kept")["state"] == "recording"
    assert probed(path)["video"]["codec_name"] == "h264"

    os.kill(server.pids()[server.stream("kept")["worker"]], signal.SIGKILL)
    server.until(lambda: server.stream("kept")["took_over_s"], "another worker")
    out = server.frames_out("kept")
    server.until(lambda: server.frames_out("kept") > out + 50, "motion after it")
    check_whole(path, server, "kept")

    publisher.kill()
    server.until(lambda: server.stream("kept")["state"] == "gap", "a gap")
    publish("kept")
    out = server.frames_out("kept")
    server.until(lambda: server.frames_out("kept") > out + 60, "motion of the second publisher")

    row = server.stream("kept")
    assert server.get("/v1/streams/kept", "DELETE")[0] == 204
    server.until(lambda: recording(server, "kept")["state"] == "ended", "end of the file")
    assert files(folder, "kept") == [path] and closed(path)
    assert row["session"][:6] in path.name and row["recording"]["file"] == f"kept/{path.name}"
    pictures, sound = times(path)
    steps = [b - a for a, b in pairwise(pictures)]
    assert min(steps) > 0 and max(steps) < 0.45, max(steps)  # stills stood in for the publisher
    assert max(b - a for a, b in pairwise(sound)) < 0.03
    assert int(probed(path)["video"]["nb_read_packets"]) == len(pictures)
    assert len(pictures) >= server.frames_out("kept") - 1
    assert row["recording_dropped"] == {}
    text = server.get("/metrics")[1]
    assert 'streamgen_recording{of="on"' not in text  # the ended stream's figures left with it


def test_recording_is_turned_on_and_off_while_a_stream_runs(
    server: Server, folder: Path, publish: Callable[..., Publisher]
) -> None:
    file = folder / "streamgen.yaml"

    def reload(**changes: Any) -> None:
        file.write_text(config(folder, **changes))
        read = server.log().count("was read again")
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: server.log().count("was read again") > read, "the new file")

    publish("switched")
    server.until(lambda: recording(server, "switched").get("bytes", 0) > 50_000, "a file")
    reload(record=False)
    assert server.stream("switched")["recording"] is None
    (first,) = files(folder, "switched")
    server.until(lambda: closed(first), "the end of the file")
    size = first.stat().st_size
    reload(min_free="1000000T")
    server.until(lambda: recording(server, "switched").get("state") == "full", "a full disk")
    out = server.frames_out("switched")
    server.until(lambda: server.frames_out("switched") > out + 25, "motion all the same")
    text = server.get("/metrics")[1]
    assert 'streamgen_recording{of="on",stream="switched"} 0.0' in text
    assert 'streamgen_recording_dropped_total{reason="full",stream="switched"}' in text
    reload(split="1s")
    server.until(lambda: recording(server, "switched").get("files", 0) >= 3, "three files")
    assert server.get("/v1/streams/switched", "DELETE")[0] == 204
    server.until(lambda: recording(server, "switched")["state"] == "ended", "the end")
    reload()
    assert first.stat().st_size == size
    whole = [check_whole(path, server, "switched") for path in files(folder, "switched")]
    assert all(closed(path) for path in files(folder, "switched"))
    later = [at for pictures, _ in whole[1:] for at in pictures]
    assert missing(later) <= unseen(server, "switched")  # nothing is lost between files
    assert later[0] > whole[0][0][-1] + 0.5  # and nothing was written while it was off


def test_the_api_records_a_stream_and_stops_whatever_the_configuration_says(
    server: Server, folder: Path, publish: Callable[..., Publisher]
) -> None:
    file = folder / "streamgen.yaml"
    file.write_text(config(folder))
    server.process.send_signal(signal.SIGHUP)
    path = "/v1/streams/asked/recording"
    assert server.get(path, "DELETE")[0] == 204  # before anybody publishes
    publish("asked")
    server.until(lambda: server.frames_out("asked") > 10, "motion")
    assert server.stream("asked")["recording"] is None
    assert server.get(path, "DELETE")[0] == 404
    status, row = server.get(path, "PUT")
    assert (status, row["state"]) == (200, "waiting")
    server.until(lambda: recording(server, "asked").get("bytes", 0) > 50_000, "a file")
    assert server.get(path, "PUT")[1]["files"] == 1  # it goes on as it is
    assert server.get(path, "DELETE")[0] == 204
    assert server.stream("asked")["recording"] is None
    (first,) = files(folder, "asked")
    server.until(lambda: closed(first), "the end of the file")
    check_whole(first, server, "asked")
    assert server.get("/v1/streams/no.name/recording", "PUT")[0] == 404
    assert server.get("/v1/streams/later/recording", "PUT") == (202, {"state": None})


def test_a_disk_that_is_full_is_told_and_the_stream_plays_on(
    server: Server, folder: Path, publish: Callable[..., Publisher]
) -> None:
    publish("full")
    server.until(lambda: recording(server, "full").get("state") == "recording", "a recording")
    edge = server.pids()["edge"]
    before = resource.prlimit(edge, resource.RLIMIT_FSIZE)
    resource.prlimit(edge, resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        row = server.until(
            lambda: (told := recording(server, "full")).get("state") == "full" and told,
            "a full disk",
        )
        assert row["error"] == "File too large"
        out = server.frames_out("full")
        server.until(lambda: server.frames_out("full") > out + 50, "motion all the same")
        assert server.stream("full")["state"] == "live"
    finally:
        resource.prlimit(edge, resource.RLIMIT_FSIZE, before)
    server.until(lambda: recording(server, "full").get("files") == 2, "the next file")
    dropped = server.stream("full")["recording_dropped"]
    assert dropped["full"] > 0 and set(dropped) <= {"full", "late_sound"}
    first, _ = files(folder, "full")
    assert closed(first) and first.stat().st_size <= 300_000
    check_whole(first, server, "full")


def test_a_small_disk_that_fills_and_then_cannot_be_written_costs_the_stream_nothing(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "kept", 150_000) as disk:
        server = Server(tmp_path, config=config(tmp_path))
        publisher = Publisher(server, "small")

        def told(state: str, error: str) -> None:
            row = server.until(
                lambda: (r := recording(server, "small"))["state"] == state and r, state
            )
            assert row["error"] == error
            out = server.frames_out("small")
            server.until(lambda: server.frames_out("small") > out + 40, "motion all the same")

        try:
            server.until(lambda: server.stream("small"), "the stream")
            told("full", "No space left on device")
            (first,) = files(tmp_path, "small")
            assert closed(first)
            check_whole(first, server, "small")
            read_only(disk)
            told("failed", "Read-only file system")
            assert files(tmp_path, "small") == [first]
            row = server.stream("small")
            assert row["state"] == "live" and set(row["recording_dropped"]) >= {"full", "failed"}
            assert "undecodable" not in row["stats"]["dropped"]
        finally:
            publisher.close()
            server.stop()
        assert "Traceback" not in server.log()


def test_a_folder_for_recordings_on_a_read_only_disk_is_refused_at_the_start(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "kept", 250_000) as disk:
        read_only(disk)
        file = tmp_path / "streamgen.yaml"
        file.write_text(config(tmp_path))
        command = [sys.executable, "-m", "streamgen.cli", "serve", "--config", str(file)]
        done = subprocess.run(
            [*command, "--http", "0", "--rtmp", "0"], capture_output=True, text=True, timeout=60
        )
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert f"recording.folder: {disk} cannot be written" in done.stderr


def test_a_file_is_finished_when_the_server_ends(
    tmp_path: Path, publish: Callable[..., Publisher]
) -> None:
    server = Server(tmp_path, config=config(tmp_path))
    publisher = Publisher(server, "last")
    try:
        server.until(lambda: recording(server, "last").get("bytes", 0) > 100_000, "a file")
        out, lost = server.frames_out("last"), unseen(server, "last")
        assert server.stop() == 0
        (path,) = files(tmp_path, "last")
        assert closed(path)
        pictures, _ = check_whole(path)
        assert missing(pictures[:out]) <= lost
        assert "Traceback" not in server.log() and "not finished" not in server.log()
    finally:
        publisher.close()
        server.stop()


def test_an_edge_that_is_killed_leaves_a_file_that_plays(
    server: Server, folder: Path, publish: Callable[..., Publisher]
) -> None:
    """The last test of this server: its successor has other ports."""
    publish("killed")
    server.until(lambda: server.frames_out("killed") > 75, "motion")
    out, lost = server.frames_out("killed"), unseen(server, "killed")
    os.kill(server.pids()["edge"], signal.SIGKILL)
    server.until(lambda: server.log().count("listening: ") == 2, "the edge again", 20)
    (path,) = files(folder, "killed")
    assert not closed(path)
    pictures, _ = check_whole(path)
    assert len(pictures) > out - 25 and missing(pictures[:out]) <= lost
    assert int(probed(path)["video"]["nb_read_packets"]) >= len(pictures)
