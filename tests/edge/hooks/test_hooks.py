"""Services hear of streams, in order and signed, and no stream waits for them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

pytest.importorskip("h11", reason="h11 is not installed")

from streamgen_edge.hooks.event import EndReason
from streamgen_edge.hooks.hooks import MOST_ERROR
from streamgen_edge.hooks.outbox import MOST
from streamgen_edge.outbound.signing import signed
from streamgen_edge.recording.reel import Kept
from tests.edge.hooks.scene import AT_S, LATER, SECRET, bodies, hook, kinds, scene
from tests.edge.outbound.servers import (
    Behave,
    Heard,
    answers,
    reset,
    serving,
    silence,
)
from tests.edge.test_link import until
from tests.edge.webrtc.peers import looped


@looped
async def test_a_service_hears_of_a_stream_from_its_begin_to_its_end() -> None:
    async with scene(answers(204)) as (made, service):
        made.begin()
        made.hooks.kept(Kept("cam", "abcdef", "cam/20260101T000000Z-abcdef-1.mp4", 1000, 2.5))
        made.end(reason=EndReason.FAILED, error="it broke")
        await until(lambda: made.counted("sent") == 3)
        assert made.facts()["state"] == "idle" and made.facts()["left"] == 0
        publish, record, end = bodies(service)
        heard = service.heard[0]
    same = {"time": "2021-02-25T15:02:10.250Z", "attempt": 1, "stream": "cam", "session": "abcdef"}
    ids = [one.pop("id") for one in (publish, record, end)]
    assert len(set(ids)) == 3
    assert publish == {
        "event": "on_publish",
        **same,
        "protocol": "rtmp",
        "codec": "h264",
        "width": 1280,
        "height": 720,
        "sound": "aac",
    }
    path = "cam/20260101T000000Z-abcdef-1.mp4"
    assert record == {
        "event": "on_record", **same, "path": path, "bytes": 1000, "duration_s": 2.5
    }  # fmt: skip
    assert end.pop("duration_s") >= 0
    nothing: dict[str, int] = {}
    assert end == {
        "event": "on_end",
        **same,
        "reason": "failed",
        "error": "it broke",
        "frames_in": 10,
        "frames_out": 9,
        "dropped": {"late": 1},
        **dict.fromkeys(("takeovers", "stalls", "left_out", "unused", "refused"), nothing),
    }
    assert heard.line == "POST /ask?secret=behind-the-host HTTP/1.1"
    assert heard.headers["content-type"] == "application/json"
    seal = signed(SECRET, ids[0], AT_S, heard.body)
    assert {name: heard.headers[name] for name in seal} == seal


@looped
async def test_the_end_of_a_session_that_never_began_is_not_spoken_of() -> None:
    async with scene(answers(204)) as (made, service):
        made.end("never")
        made.begin()
        await until(lambda: made.counted("sent") == 1)
        assert kinds(service) == [("cam", "on_publish")]


@looped
async def test_a_long_story_of_what_went_wrong_is_cut() -> None:
    async with scene(answers(204)) as (made, service):
        made.begin()
        made.end(error="x" * 100_000)
        await until(lambda: made.counted("sent") == 2)
        assert bodies(service)[1]["error"] == "x" * MOST_ERROR


@looped
async def test_a_service_hears_only_what_it_asked_for() -> None:
    async with scene(answers(204)) as (made, service), serving(answers(204)) as all_of_it:
        made.hooks.use({"one": hook(service, events=["on_end"]), "two": hook(all_of_it)})
        made.begin()
        made.end()
        await until(lambda: made.counted("sent", "two") == 2 and made.counted("sent") == 1)
        assert kinds(service) == [("cam", "on_end")]
        ours, theirs = bodies(service)[0]["id"], bodies(all_of_it)[1]["id"]
        assert ours == theirs


@looped
async def test_one_that_fails_for_a_while_hears_all_in_order_and_each_try_is_numbered() -> None:
    async with scene(answers(500, 408, 500, 204)) as (made, service):
        made.begin()
        made.end()
        await until(lambda: made.counted("sent") == 2)
        assert [(b["event"], b["attempt"]) for b in bodies(service)] == [
            ("on_publish", 1), ("on_publish", 2), ("on_publish", 3), ("on_publish", 4),
            ("on_end", 1),
        ]  # fmt: skip
        assert len({heard.headers["webhook-id"] for heard in service.heard}) == 2
        for heard in service.heard:
            seal = signed(SECRET, heard.headers["webhook-id"], AT_S, heard.body)
            assert heard.headers["webhook-signature"] == seal["webhook-signature"]
        assert made.counted("retried") == 3 and made.counted("failed") == 0
        assert made.facts()["error"] is None


@looped
async def test_an_event_that_waits_holds_up_its_own_stream_only() -> None:
    async def behave(
        heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        bad = json.loads(heard.body)["stream"] == "bad"
        await answers(500 if bad else 204)(heard, reader, writer)

    async with scene(behave, waits_s=LATER) as (made, service):
        for stream in ("bad", "good"):
            made.begin(stream)
        for stream in ("bad", "good"):
            made.end(stream)
        await until(lambda: made.counted("sent") == 2)
        assert kinds(service) == [
            ("bad", "on_publish"), ("good", "on_publish"), ("good", "on_end"),
        ]  # fmt: skip
        await until(lambda: made.facts()["state"] == "waiting")
        assert made.facts()["left"] == 2 and made.facts()["next_try_s"] > 100
        assert made.telemetry.gauges()["hook_left", "one"] == 2


@looped
async def test_a_silent_service_costs_the_oldest_news_and_nobody_waits_for_it() -> None:
    async with scene(silence) as (made, service):
        made.begin("first")
        await until(lambda: len(service.heard) == 1)
        for number in range(MOST + 5):
            made.begin(f"n{number}")  # does not wait: no other task runs here
        assert made.counted("dropped") == 5 and made.facts()["left"] == MOST + 1
        assert made.facts()["state"] == "sending"


@looped
async def test_at_the_end_what_is_left_is_told_though_it_waited(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene(answers(500), waits_s=LATER) as (made, service):
        made.begin()
        await until(lambda: made.counted("retried") == 1)
        service.behave = answers(204)
        made.end()
        await made.hooks.finished(5.0)
        assert kinds(service)[1:] == [("cam", "on_publish"), ("cam", "on_end")]
    assert "not told" not in caplog.text


@pytest.mark.parametrize("behave", [silence, answers(500), reset], ids=["silent", "ill", "resets"])
@looped
async def test_at_the_end_a_bad_service_is_left_in_time_and_the_log_says_with_how_much(
    behave: Behave, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(behave, waits_s=LATER) as (made, service):
        made.begin()
        await until(lambda: len(service.heard) == 1)
        for number in range(3):
            made.begin(f"n{number}")
        began = time.monotonic()
        await made.hooks.finished(0.5)
        assert time.monotonic() - began < 5
        assert made.hooks.facts() == []
    assert "hook one ends, events not told: 4" in caplog.text
    assert made.telemetry.counts("hook_dropped") == {"one": 4}
    assert made.telemetry.gauges()["hook_left", "one"] == 0


@looped
async def test_at_the_end_a_service_that_fails_is_asked_no_more() -> None:
    async with scene(answers(500), waits_s=LATER) as (made, service):
        for number in range(3):
            made.begin(f"n{number}")
        await until(lambda: made.counted("retried") == 3)
        await made.hooks.finished(5.0)
        assert len(service.heard) == 4


@looped
async def test_hooks_come_and_go_and_what_waits_goes_where_the_new_file_says() -> None:
    async with (
        scene(answers(500), waits_s=LATER) as (made, former),
        serving(answers(204)) as latter,
        serving(answers(204)) as second,
    ):
        made.begin()
        await until(lambda: made.counted("retried") == 1)
        made.use(one=latter, two=second)
        made.end()
        await until(lambda: made.counted("sent", "two") == 1)
        assert kinds(second) == [("cam", "on_end")]
        made.use(one=latter)
        assert [row["name"] for row in made.hooks.facts()] == ["one"]
        assert len(former.heard) == 1
        await made.hooks.finished(5.0)
        assert kinds(latter) == [("cam", "on_publish"), ("cam", "on_end")]
        assert len(second.heard) == 1


@looped
async def test_a_hook_that_is_taken_away_says_how_much_it_did_not_tell(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene(silence) as (made, service):
        made.begin()
        await until(lambda: len(service.heard) == 1)
        made.end()
        made.use()
        assert "hook one ends, events not told: 2" in caplog.text


@looped
async def test_a_sender_that_breaks_is_reported_and_the_others_go_on() -> None:
    broken: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, about: broken.append(about))
    async with scene(answers(204)) as (made, _):
        made.hooks.began({"stream": "cam", "session": "abcdef"}, {"protocol": object()})
        await until(lambda: broken)
        assert "hook one broke" in broken[0]["message"]
