"""What is remembered of streams that are not there yet."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from streamgen.control.api.calling import called
from streamgen.telemetry import Metrics
from streamgen_edge.api import api
from streamgen_edge.link import Link
from streamgen_edge.publishing import MOST_CHOSEN, Streams
from streamgen_edge.push.settings import PushSettings
from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.publisher import Looped, Publisher, Refused
from streamgen_edge.settings import Server, StreamSettings
from tests.edge.test_allowance import Line
from tests.edge.webrtc.peers import looped


@looped
async def test_a_chosen_pipeline_is_used_once_and_the_oldest_choice_makes_room() -> None:
    server, settings = Server(pipeline="starry"), StreamSettings()
    with TemporaryDirectory() as folder:
        async with Link(Path(folder)) as link:
            streams = Streams(server, link, Metrics(), lambda: 0)
            for number in range(MOST_CHOSEN + 1):
                streams.choose(f"n{number}", {"name": "chosen", "stages": []})
            assert streams._opened("n0", settings).pipeline["name"] == "starry"
            stream = streams._opened("n1", settings)
            assert stream.pipeline["name"] == "chosen"
            stream.end()
            assert streams._opened("n1", settings).pipeline["name"] == "starry"


@looped
async def test_ended_streams_are_forgotten_though_nobody_asks_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgen_edge.publishing.KEPT_S", 0.2)
    monkeypatch.setattr("streamgen_edge.publishing.MOST_ENDED", 3)
    with TemporaryDirectory() as folder:
        async with Link(Path(folder)) as link:
            streams = Streams(Server(), link, Metrics(), lambda: 0)
            for number in range(5):
                streams._opened(f"n{number}", StreamSettings()).end()
            assert list(streams._ended) == ["n2", "n3", "n4"]
            for _ in range(1000):
                if not streams._ended:
                    break
                await asyncio.sleep(0.02)
            assert not streams._ended


@looped
async def test_who_publishes_by_whip_hears_at_once_that_there_is_no_room_for_a_new_stream() -> None:
    asked: list[tuple[str, str]] = []

    async def admit(name: str, pipeline: dict[str, Any]) -> None:
        asked.append((name, pipeline["name"]))
        raise Refused("no room", later=True, wait_s=7)

    with TemporaryDirectory() as folder:
        async with Link(Path(folder)) as link:
            streams = Streams(Server(pipeline="starry"), link, Metrics(), lambda: 0)
            streams.admit = admit

            async def publish(app: str, name: str) -> None:
                request = Publish(app, name, None, "::1", "test")
                await streams.publish(Publisher(request, Line(), Limits()))

            streams.choose("cam", {"name": "chosen", "stages": []})
            with pytest.raises(Refused, match="no room"):
                await publish("whip", "cam")
            assert asked == [("cam", "chosen")] and streams.find("cam") is None
            await publish("live", "cam")  # its pictures will tell how large they are
            stream = streams.find("cam")
            assert stream is not None and stream.pipeline["name"] == "chosen"
            await publish("whip", "cam")  # it has a place, or waits for one
            assert len(asked) == 1
            stream.end()


@looped
async def test_a_pipeline_for_which_there_is_no_room_is_refused_and_nothing_changes() -> None:
    asked: list[dict[str, Any]] = []

    async def admit(name: str, pipeline: dict[str, Any]) -> None:
        asked.append(pipeline)
        if pipeline["name"] == "large":
            raise Refused("no room for the stream", later=True, wait_s=8)

    with TemporaryDirectory() as folder:
        async with Link(Path(folder)) as link:
            streams = Streams(Server(pipeline="starry"), link, Metrics(), lambda: 0)
            rest = api(streams, Metrics(), lambda: None, lambda: 0)
            stream = streams._opened("cam", StreamSettings())
            streams.admit = admit

            async def put(name: str) -> tuple[int, str, str]:
                body = json.dumps({"pipeline": {"name": name, "stages": []}}).encode()
                kind = [("content-type", "application/json")]
                status, headers, text = await called(rest, "PUT", "/v1/streams/cam", kind, body)
                return status, dict(headers).get("retry-after", ""), text

            status, again_s, text = await put("large")
            assert (status, again_s, json.loads(text)["detail"]) == (
                503,
                "8",
                "no room for the stream",
            )
            assert stream.pipeline["name"] == "starry" and stream.version == 0
            assert asked[-1]["ladder"] == stream.pipeline["ladder"]  # it stays as it is
            assert (await put("small"))[0] == 200 and stream.pipeline["name"] == "small"
            stream.end()


@looped
async def test_a_stream_that_ends_while_room_for_another_pipeline_is_sought_is_left_alone() -> None:
    """Its name may have another session by then."""
    with TemporaryDirectory() as folder:
        async with Link(Path(folder)) as link:
            streams = Streams(Server(pipeline="starry"), link, Metrics(), lambda: 0)
            stream = streams._opened("cam", StreamSettings())

            async def admit(name: str, pipeline: dict[str, Any]) -> None:
                stream.end()

            streams.admit = admit
            with pytest.raises(Refused, match="ends") as refused:
                await streams.change(stream, {"name": "small", "stages": []})
            assert refused.value.wait_s == 1
            assert stream.pipeline["name"] == "starry" and stream.version == 0


@looped
async def test_a_stream_that_comes_back_is_refused_and_targets_hear_of_another_origin() -> None:
    target = PushSettings(url="rtmp://192.0.2.1/a/b", id="there")
    with TemporaryDirectory() as folder:
        async with Link(Path(folder)) as link:
            streams = Streams(Server(), link, Metrics(), lambda: 0)

            async def publish(*via: str) -> None:
                request = Publish("live", "cam", None, "::1", "test", via)
                await streams.publish(Publisher(request, Line(), Limits()))

            own, other = streams.pushes.marks.of("cam"), streams.pushes.marks.of("other")
            with pytest.raises(Looped):
                await publish(other, own)
            assert streams.find("cam") is None
            streams.ask_push("cam", "there", target)
            await publish()
            stream = streams.find("cam")
            assert stream is not None
            pushes = stream.viewing.pushes
            assert pushes is not None
            (first,) = pushes._all.values()
            await publish(other)
            (second,) = pushes._all.values()
            assert first.over and not second.over and second.settings == target
            await publish(other)
            assert [*pushes._all.values()] == [second]
            stream.end()
