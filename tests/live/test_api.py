"""The API against a running stream."""

from __future__ import annotations

import re
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
TINTED = {"name": "tinted", "stages": [{"style": {"model": "starry", "strength": 1.0}}]}


def test_parameters_change_at_a_frame_and_its_time_is_told(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    publish("knobs")
    server.until(lambda: server.frames_out("knobs") > 10, "motion")
    status, row = server.get("/v1/streams/knobs", "PUT", {"pipeline": TINTED})
    assert status == 200 and row["pipeline"]["ladder"]  # the ladder stays as it was
    server.until(lambda: not server.stream("knobs")["changing"], "the other pipeline", 40)
    out = server.frames_out("knobs")
    server.until(lambda: server.frames_out("knobs") > out + 10, "painted motion", 40)
    assert "worker_lost" not in server.stream("knobs")["stats"]["dropped"]  # no worker died
    change = {"node": "style", "values": {"strength": 0.25}}
    status, answer = server.get("/v1/streams/knobs/params", "PATCH", change)
    assert status == 200
    assert answer["pts"] > 0 and answer["time_base"] == [1, 90_000]
    row = server.stream("knobs")
    assert row["params"] == {"style": {"strength": 0.25}}
    assert row["version"] == answer["version"]
    wrong = {"node": "style", "values": {"strength": 7}}
    status, problem = server.get("/v1/streams/knobs/params", "PATCH", wrong)
    assert status == 422 and "style.strength" in problem["detail"]
    assert server.stream("knobs")["params"] == {"style": {"strength": 0.25}}


def test_a_stream_can_be_ended(server: Server, publish: Callable[..., Publisher]) -> None:
    one = publish("cut-off")
    server.until(lambda: server.frames_out("cut-off") > 10, "motion")
    assert server.get("/v1/streams/cut-off", "DELETE")[0] == 204
    server.until(lambda: server.stream("cut-off")["state"] == "ended", "end")
    one.process.wait(10)


def test_errors_are_problems(server: Server) -> None:
    status, problem = server.get("/v1/streams/nobody")
    assert (status, problem["status"]) == (404, 404)
    status, problem = server.get("/v1/streams/nobody/params", "PATCH", {"nod": "x"})
    assert status == 422 and "nod" in problem["detail"]
    assert server.get("/hls/nobody/index.m3u8")[0] == 404


def test_the_catalogue_and_health_are_there(server: Server) -> None:
    assert {"starry", "transcode"} <= {row["name"] for row in server.get("/v1/pipelines")[1]}
    assert "starry" in {row["name"] for row in server.get("/v1/models")[1]}
    assert server.get("/healthz") == (200, {"status": "ok"})
    assert server.get("/readyz") == (200, {"status": "ok"})
    assert "streamgen" in server.get("/metrics")[1]
    assert "/v1/streams/{name}/params" in server.get("/openapi.json")[1]["paths"]


def test_metrics_are_named_by_convention_and_bounded(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    one = publish("measured")
    server.until(lambda: server.frames_out("measured") > 30, "motion")
    assert server.get("/hls/measured/index.m3u8")[0] == 200  # somebody watches
    _, text = server.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {"streamgen_step_seconds", "streamgen_workers"} <= set(families)
    ours = [s for s in families["streamgen_viewers"].samples if s.labels["stream"] == "measured"]
    assert {s.labels["of"]: s.value for s in ours} == {"webrtc": 0, "hls": 1}
    assert families["streamgen_workers"].samples[0].value == 2
    for name, family in families.items():
        assert re.fullmatch(r"streamgen_[a-z0-9_]+", name)
        assert family.documentation
        for sample in family.samples:
            assert set(sample.labels) <= {"stream", "step", "reason", "of", "le"}
            assert all(re.fullmatch(r"[\w./:+-]{0,64}", value) for value in sample.labels.values())
            if family.type == "counter":
                assert sample.name.endswith("_total")
    streams = {s.labels["stream"] for f in families.values() for s in f.samples}
    assert "measured" in streams
    one.close()
    server.until(lambda: server.stream("measured").get("state") == "ended", "end", 30)
    assert 'stream="measured"' not in server.get("/metrics")[1]
