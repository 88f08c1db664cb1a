"""A call that does not come back costs a stream some seconds, and its worker the life."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = [needs_ffmpeg, pytest.mark.timeout(150)]
ROOT = Path(__file__).resolve().parents[2]
PIPELINE = {
    "stages": ["trap"],
    "ladder": [{"height": 90, "bitrate": "150k"}],
    "live": {"latency_budget": "1s", "when_late": ["reuse"]},
}


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is put here is stepped into once."""
    return tmp_path_factory.mktemp("trap")


@pytest.fixture(scope="module")
def server(trap: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    info = folder / "site" / "trap_stages-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trap-stages\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[streamgen.stages]\ntrap = tests.live.stages:Trap\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "site"), str(ROOT)]))
        patch.setenv("TRAP", str(trap))
        one = Server(folder, "--pipeline", "transcode")
        yield one
        one.stop()


def test_a_stream_moves_from_a_worker_that_is_stuck_which_ends_and_says_why(
    server: Server, trap: Path
) -> None:
    name, named = "stuck", "encoder h264 of rung 90p"
    pipeline = {"name": name, **PIPELINE}
    assert server.get(f"/v1/streams/{name}", "PUT", {"pipeline": pipeline})[0] in (200, 202)
    publisher = Publisher(server, name, size="160x90", rate=15, gop=15, seconds=120)
    try:
        server.until(lambda: server.frames_out(name) > 20, "motion")
        first = server.stream(name)["worker"]
        pid = server.pids()[first]
        (trap / "encoder").touch()
        row = server.until(
            lambda: (row := server.stream(name))["took_over_s"] and row, "takeover", 60
        )
        assert row["worker"] != first
        assert row["stuck"] == [f"{named} has not come back for 30 s"]
        out = server.frames_out(name)
        server.until(lambda: server.frames_out(name) > out + 20, "motion again")
        server.until(lambda: server.pids()[first] != pid, "a worker in its place")
        assert f"{first} ({pid}) died: stuck" in server.log()
        assert f"{named} has not come back for 30 s: this worker ends" in server.log()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.http}/metrics", timeout=10) as told:
            metrics = told.read().decode()
        assert 'streamgen_workers_stuck_total{reason="encoder",stream=""} 1.0' in metrics
    finally:
        publisher.close()
