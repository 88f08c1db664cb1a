"""Services hear of streams, in order and signed; one that is bad costs nobody anything."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("h11", reason="h11 is not installed")

from streamgen.config import check
from streamgen.errors import ConfigError
from streamgen.telemetry import Metrics, Telemetry
from streamgen_edge.configuring import refuse_unusable
from streamgen_edge.hooks.delivery import retry_after_s, told
from streamgen_edge.hooks.event import EndReason, Kind
from streamgen_edge.hooks.hooks import Hooks
from streamgen_edge.hooks.outbox import MOST
from streamgen_edge.hooks.settings import HookSettings
from streamgen_edge.outbound.client import Client
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.signing import signed
from streamgen_edge.outbound.url import Url
from streamgen_edge.recording.reel import Kept
from streamgen_edge.settings import Server, load_server
from tests.edge.outbound.servers import (
    HOME,
    Behave,
    Heard,
    Service,
    answers,
    reset,
    says,
    serving,
    silence,
)
from tests.edge.test_link import until
from tests.edge.webrtc.peers import looped

SECRET = "whsec_c4nary8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRETS = (SECRET, "c4nary", "behind-the-host")
AT_S = 1_614_265_330
SOON = (0.01,) * 6
LATER = (300.0,) * 6
PUBLISHER = {
    "protocol": "rtmp",
    "address": "192.0.2.7",
    "tracks": [
        {"name": "audio/0", "codec": "aac", "width": 0, "height": 0},
        {"name": "video/0", "codec": "h264", "width": 1280, "height": 720},
    ],
}


@dataclass
class Pictures:
    frames_in: int = 10
    frames_out: int = 9
    dropped: dict[str, int] = field(default_factory=lambda: {"late": 1})


@dataclass
class Session:
    """A session that is over."""

    ids: dict[str, str]
    reason: EndReason = EndReason.PUBLISHER
    error: str = ""
    ledger: Pictures = field(default_factory=Pictures)
    telemetry: Telemetry = field(default_factory=Telemetry)


class Scene:
    """Hooks, and what they say of themselves."""

    def __init__(self, waits_s: Sequence[float], outbound: OutboundSettings) -> None:
        self.telemetry = Telemetry()
        clock = lambda: AT_S * 1_000_000_000 + 250_000_000  # noqa: E731
        self.hooks = Hooks(Client(outbound), self.telemetry, clock, waits_s=waits_s)

    def use(self, **services: Service | str) -> None:
        self.hooks.use({name: hook(one) for name, one in services.items()})

    def begin(self, stream: str = "cam") -> None:
        self.hooks.began({"stream": stream, "session": "abcdef"}, PUBLISHER)

    def end(self, stream: str = "cam", **more: Any) -> None:
        self.hooks.ended(Session({"stream": stream, "session": "abcdef"}, **more))

    def facts(self, name: str = "one") -> dict[str, Any]:
        return next(row for row in self.hooks.facts() if row["name"] == name)

    def counted(self, what: str, name: str = "one") -> int:
        """As metrics and the API have it."""
        number = self.telemetry.counts(f"hook_{what}").get(name, 0)
        assert self.facts(name)[what] == number
        return number


def hook(service: Service | str, **more: Any) -> HookSettings:
    url = service if isinstance(service, str) else service.url
    return HookSettings(url=url, secret=SECRET, **more)


@asynccontextmanager
async def scene(
    *behaves: Behave, waits_s: Sequence[float] = SOON, outbound: OutboundSettings = HOME
) -> AsyncIterator[tuple[Scene, Service]]:
    """Hooks with one service."""
    (behave,) = behaves
    async with serving(behave) as service:
        made = Scene(waits_s, outbound)
        made.use(one=service)
        try:
            yield made, service
        finally:
            await made.hooks.finished(0.0)


def bodies(service: Service) -> list[dict[str, Any]]:
    return [json.loads(heard.body) for heard in service.heard]


def kinds(service: Service) -> list[tuple[str, str]]:
    return [(one["stream"], one["event"]) for one in bodies(service)]


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


@pytest.mark.parametrize("status", [301, 302, 303, 304, 400, 401, 403, 404, 410, 422])
@looped
async def test_a_no_is_not_asked_about_again(status: int) -> None:
    async with scene(answers(status, 204)) as (made, service):
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


def to(*locations: str, status: int = 307) -> Behave:
    """Redirects, one after the other; the last one for ever."""
    rest = list(locations)

    async def behave(
        heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there = rest.pop(0) if len(rest) > 1 else rest[0]
        await answers(status, headers=f"location: {there}\r\n")(heard, reader, writer)

    return behave


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


@pytest.mark.parametrize("behave", [silence, reset, answers(403), answers(500), to("http://[")])
@looped
async def test_no_secret_is_in_logs_metrics_or_the_api(
    behave: Behave, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with scene(behave, waits_s=(0.01,)) as (made, service):
        made.begin()
        await until(lambda: len(service.heard) == 1)
        metrics = Metrics()
        metrics.add("", made.telemetry)
        told_of = json.dumps(made.hooks.facts()) + repr(made.hooks.facts())
        told_of += metrics.text().decode() + repr(hook(service))
    told_of += caplog.text
    assert f"http://127.0.0.1:{service.port}" in told_of
    assert not [secret for secret in SECRETS if secret in told_of]


def test_a_wrong_hook_stops_the_start_and_is_not_repeated() -> None:
    good = {"url": "https://hooks.example/in", "secret": SECRET}
    for wrong, reason in (
        ({"url": "https://hooks.example/in"}, "missing key 'hooks.one.secret'"),
        ({**good, "url": "https://a:c4nary@hooks.example"}, "hooks.one.url: no names"),
        ({**good, "secret": "c4nary"}, "hooks.one.secret: a secret is 24 to 64"),
        ({**good, "events": ["c4nary"]}, "hooks.one.events"),
        ({**good, "events": []}, "hooks.one.events"),
    ):
        with pytest.raises(ConfigError) as caught:
            check(Server, {"hooks": {"one": wrong}})
        assert reason in str(caught.value) and "c4nary" not in str(caught.value)
    for hooks in ({"a b": good}, {f"n{number}": good for number in range(17)}):
        with pytest.raises(ConfigError):
            check(Server, {"hooks": hooks})
    assert check(Server, {"hooks": {"one": good}}).hooks["one"].events == tuple(Kind)


def test_a_hook_inside_is_refused_before_anything_happens() -> None:
    server = Server.model_validate(
        {"hooks": {"one": {"url": "http://10.0.0.7/c4nary", "secret": SECRET}}}
    )
    with pytest.raises(ConfigError, match=r"hooks\.one: 10\.0\.0\.7 is a private address"):
        refuse_unusable(server)


def test_a_secret_may_come_from_the_environment_alone() -> None:
    server = load_server(
        None,
        {
            "STREAMGEN_HOOKS__ONE__URL": "https://hooks.example/in",
            "STREAMGEN_HOOKS__ONE__SECRET": SECRET,
        },
    )
    assert server.hooks["one"].secret == SECRET
