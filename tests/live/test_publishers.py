"""Publishers come, go, come back and take over; the stream's time goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.live.playlists import Seen, renditions
from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg


def test_a_lost_publisher_that_comes_back_resumes_its_session(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    first = publish("back", size="320x180")
    places = server.until(lambda: renditions(server, "back"), "playlists")
    server.until(lambda: server.frames_out("back") > 40, "motion")
    session = server.stream("back")["session"]
    seen = {place: Seen() for place in places}

    def look() -> None:
        for place, one in seen.items():
            status, text = server.get(place)
            assert status == 200
            one.look(text)

    look()
    first.kill()
    server.until(lambda: server.stream("back")["state"] == "gap", "gap")
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        look()
        time.sleep(0.1)
    assert server.stream("back")["filled"]["picture"] >= 5
    publish("back", size="256x144", rate=30)  # another size and rate
    came = time.monotonic()
    server.until(lambda: server.stream("back")["state"] == "live", "motion")
    assert time.monotonic() - came < 6.0
    out = server.frames_out("back")
    server.until(lambda: server.frames_out("back") > out + 60, "motion that goes on")
    look()
    assert server.stream("back")["session"] == session
    for place, one in seen.items():
        assert one.holes == [] and one.changed == [], place
        lengths = [length for _, length in one.segments.values()]
        assert max(lengths) < 1.6, place


def test_a_publisher_that_ends_its_stream_ends_it_for_all(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    one = publish("over", seconds=3)
    places = server.until(lambda: renditions(server, "over"), "playlists")
    one.process.wait(20)
    server.until(lambda: server.stream("over")["state"] == "ended", "end", 5)
    for place in places:
        assert server.get(place)[1].endswith("#EXT-X-ENDLIST\n")


def test_the_newest_publisher_takes_over(server: Server, publish: Callable[..., Publisher]) -> None:
    first = publish("newest")
    server.until(lambda: server.frames_out("newest") > 10, "motion")
    session = server.stream("newest")["session"]
    publish("newest")
    server.until(lambda: first.process.poll() is not None, "end of the first publisher")
    out = server.frames_out("newest")
    server.until(lambda: server.frames_out("newest") > out + 25, "motion")
    assert server.stream("newest")["session"] == session
    assert server.stream("newest")["corrected"].get("jump_back") is None
