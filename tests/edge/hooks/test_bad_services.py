"""A service that is dead, slow, ill or busy, or sends elsewhere, is tried while that is of use."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("h11", reason="h11 is not installed")

from streamgen_edge.hooks.delivery import retry_after_s, told
from streamgen_edge.outbound.client import Client
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.url import Url
from tests.edge.hooks.scene import AT_S, SOON, Scene, bodies, kinds, scene, to
from tests.edge.outbound.servers import (
    HOME,
    Behave,
    answers,
    reset,
    says,
    serving,
    silence,
)
from tests.edge.test_link import until
from tests.edge.webrtc.peers import looped


@pytest.mark.parametrize("status", [301, 302, 303, 304, 400, 401, 403, 404, 410, 422])
@looped
async def test_a_no_is_not_asked_about_again(status: int) -> None:
    async with scene(answers(status, 204, headers="location: /there\r\n")) as (made, service):
        made.begin()
        made.end()
        await until(lambda: made.counted("sent") == 1)
        assert kinds(service) == [("cam", "on_publish"), ("cam", "on_end")]
        assert made.counted("failed") == 1 and made.counted("retried") == 0


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
@looped
async def test_what_may_be_over_soon_is_tried_seven_times(status: int) -> None:
    async with scene(answers(status)) as (made, service):
        made.begin()
        await until(lambda: made.counted("failed") == 1)
        assert [one["attempt"] for one in bodies(service)] == [1, 2, 3, 4, 5, 6, 7]
        assert made.counted("retried") == 6 and made.facts()["left"] == 0


@looped
async def test_a_dead_target_is_tried_again_and_given_up() -> None:
    async with serving(answers(204)) as gone:
        pass
    made = Scene(SOON, HOME)
    made.use(one=gone)
    made.begin()
    await until(lambda: made.counted("failed") == 1)
    assert made.facts()["error"] == "127.0.0.1: connection refused"
    assert made.counted("retried") == 6
    await made.hooks.finished(0.0)


@looped
async def test_one_that_resets_gets_the_event_when_it_is_well_again() -> None:
    async with scene(reset) as (made, service):
        made.begin()
        await until(lambda: made.counted("retried") >= 1)
        service.behave = answers(204)
        await until(lambda: made.counted("sent") == 1)


@pytest.mark.parametrize(
    "behave",
    [
        silence,
        says(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", pause_s=0.02, last_forever=True),
        says(b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.02, last_forever=True),
    ],
    ids=["silent", "trickling", "never done"],
)
@looped
async def test_a_slow_answer_is_waited_for_only_so_long(behave: Behave) -> None:
    async with serving(behave) as service:
        outcome = await told(
            Client(HOME), Url.of(service.url), b"{}", {}, wall_s=AT_S, within_s=0.3
        )
    assert outcome.reason == "127.0.0.1: no answer within 0.3 s" and not outcome.final


@looped
async def test_the_body_of_an_answer_is_not_read() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with scene(says(head, b"10000\r\n" + b"x" * 65536 + b"\r\n", last_forever=True)) as (
        made,
        _,
    ):
        made.begin()
        await until(lambda: made.counted("sent") == 1)


@looped
async def test_a_redirect_is_followed_with_the_message_as_it_is() -> None:
    async with serving(answers(204)) as there:
        moved = f"http://127.0.0.1:{there.port}/moved"
        async with scene(to(moved, status=308)) as (made, here):
            made.begin()
            await until(lambda: made.counted("sent") == 1)
        (first,), (second,) = here.heard, there.heard
    assert second.line == "POST /moved HTTP/1.1" and second.body == first.body
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert second.headers[name] == first.headers[name]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://169.254.169.254/latest", "a cloud's metadata address"),
        ("http://10.1.2.3/", "a private address"),
        ("http://127.0.0.2:8080/", "a loopback address"),
        ("http://[::ffff:127.0.0.2]:8080/", "a loopback address"),
        ("file:///etc/passwd", "not safe"),
        ("http://user:word@127.0.0.1/", "not safe"),
        ("/again", "from place to place"),
    ],
)
@looped
async def test_a_redirect_leads_nowhere_that_is_not_allowed(location: str, reason: str) -> None:
    only = OutboundSettings(allow=("127.0.0.1",))
    async with scene(to(location), outbound=only) as (made, service):
        made.begin()
        await until(lambda: made.counted("failed") == 1)
        error = made.facts()["error"]
        assert reason in error and error.startswith("127.0.0.1: ")
        assert made.counted("retried") == 0
        assert len(service.heard) == (3 if location == "/again" else 1)


def test_https_never_leads_to_http() -> None:
    with pytest.raises(ValueError, match="not safe"):
        Url.of("https://hooks.example/in").led("http://hooks.example/in")
    assert Url.of("https://hooks.example/in").led("/there").shown == "https://hooks.example"


@looped
async def test_a_hook_that_leads_inside_is_not_told() -> None:
    async with scene(answers(204), outbound=OutboundSettings()) as (made, service):
        made.begin()
        await until(lambda: made.counted("failed") == 1)
        assert service.connections == 0 and made.counted("retried") == 0


@looped
async def test_a_service_that_asks_for_peace_has_it() -> None:
    busy = answers(429, headers="retry-after: 60\r\n")
    async with scene(busy) as (made, service):
        made.begin()
        await until(lambda: made.counted("retried") == 1)
        made.begin("other")
        await until(lambda: made.facts()["state"] == "waiting")
        assert made.facts()["next_try_s"] > 50 and made.facts()["left"] == 2
        assert len(service.heard) == 1


@looped
async def test_after_that_it_is_told_everything() -> None:
    async with scene(answers(503, 204, headers="retry-after: 1\r\n")) as (made, service):
        began = time.monotonic()
        made.begin()
        made.begin("other")
        await until(lambda: made.counted("sent") == 2)
        assert time.monotonic() - began >= 1.0
        assert [one["attempt"] for one in bodies(service)] == [1, 2, 1]


@looped
async def test_one_that_wants_to_be_asked_after_the_news_is_old_is_not() -> None:
    async with scene(answers(503, headers="retry-after: 86400\r\n")) as (made, _):
        made.begin()
        await until(lambda: made.counted("failed") == 1)
        assert made.counted("retried") == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None), ("0", 0.0), (" 7 ", 7.0), ("-1", None), ("1e9", None), ("soon", None),
        ("", None), ("9" * 1000, None), ("\u0667", None),
        ("Thu, 25 Feb 2021 15:02:30 GMT", 20.0), ("Thu, 25 Feb 2021 15:02:30 -0000", 20.0),
        ("Thu, 25 Feb 2021 14:00:00 GMT", 0.0), ("Thu, 99 Feb 2021 14:00:00 GMT", None),
    ],
)  # fmt: skip
def test_when_to_ask_again_is_read_in_both_forms(text: str | None, seconds: float | None) -> None:
    assert retry_after_s(text, AT_S) == seconds
