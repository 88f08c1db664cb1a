"""Another service says who may publish and play; where it does not, nobody comes in."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from typing import Any

import pytest

pytest.importorskip("h11", reason="h11 is not installed")

from streamgen_edge.auth.access import LATER, NEEDED, REFUSED, Access
from streamgen_edge.auth.asking import Asking, Scope, Undecided
from streamgen_edge.auth.callback import Callback
from streamgen_edge.auth.jwks import Jwks, keys_at
from streamgen_edge.auth.settings import Auth, CallbackSettings
from streamgen_edge.outbound.client import Client
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.signing import signed
from streamgen_edge.outbound.url import Url
from streamgen_edge.settings import Server
from tests.edge.outbound.servers import HOME, Heard, Service, answers, reset, says, serving, silence
from tests.edge.test_auth import ONE, document, public
from tests.edge.webrtc.peers import looped

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CANARY = "canary-token-7"
PLAY = Asking(Scope.PLAY, "cam", CANARY, "hls", "192.0.2.7")
PUBLISH = Asking(Scope.PUBLISH, "cam", CANARY, "rtmp", "192.0.2.7")


class Telemetry:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, name: str, reason: str = "", number: int = 1) -> None:
        self.counts[reason] += number


class Asked:
    """A callback to one service, and an access that asks it."""

    def __init__(self, service: Service, outbound: OutboundSettings = HOME, **more: Any) -> None:
        self.now_s = 100.0
        self.telemetry = Telemetry()
        settings = CallbackSettings(url=service.url, **more)
        self.callback = Callback(
            settings,
            Client(outbound),
            self.telemetry,
            clock_s=lambda: self.now_s,
            wall_s=lambda: 1_614_265_330,
        )
        self.access = Access(Auth(publish_keys={"one": "a key"}), None, self.callback)

    async def status(self, asking: Asking) -> int | None:
        return await self.access.status(asking, ("one",))


def test_the_signature_is_that_of_the_standard() -> None:
    id = "msg_p5jXN8AQM9LWM0D4loKWxJek"
    headers = signed(SECRET, id, 1_614_265_330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@looped
async def test_the_service_is_asked_what_is_needed_to_say_so_and_the_question_is_signed() -> None:
    async with serving(answers(204)) as service:
        asked = Asked(service, secret=SECRET)
        assert await asked.status(PUBLISH) is None
        (heard,) = service.heard
    assert json.loads(heard.body) == {
        "action": "publish",
        "stream": "cam",
        "protocol": "rtmp",
        "address": "192.0.2.7",
        "token": CANARY,
    }
    id = heard.headers["webhook-id"]
    again = signed(SECRET, id, 1_614_265_330, heard.body)
    assert heard.headers["webhook-signature"] == again["webhook-signature"]


@looped
async def test_keys_come_first_and_the_api_is_never_asked_about() -> None:
    async with serving(answers(204)) as service:
        asked = Asked(service)
        assert await asked.status(Asking(Scope.PUBLISH, "cam", "a key", "rtmp")) is None
        assert await asked.status(Asking(Scope.ADMIN, "", CANARY)) == REFUSED
        assert not service.heard
        assert not asked.access.guards_api


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (200, None), (204, None), (299, None), (401, REFUSED), (403, REFUSED),
        (302, LATER), (400, LATER), (404, LATER), (429, LATER), (500, LATER), (503, LATER),
    ],
)  # fmt: skip
@looped
async def test_only_a_yes_is_one(status: int, says: int | None) -> None:
    async with serving(answers(status)) as service:
        asked = Asked(service)
        assert await asked.status(PLAY) == says
        nobody = Asking(Scope.PLAY, "cam", None, "hls", "192.0.2.7")
        assert await asked.status(nobody) == (NEEDED if says == REFUSED else says)


@pytest.mark.parametrize("behave", [silence, reset, says(b"220 hello\r\n"), says(b"")])
@looped
async def test_no_answer_lets_nobody_in_and_the_log_hears_no_token(
    behave: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(behave) as service:
        asked = Asked(service)
        began = time.monotonic()
        assert await asked.status(PUBLISH) == LATER
        assert time.monotonic() - began < 10
        assert await Asked(service, OutboundSettings()).status(PUBLISH) == LATER
    assert asked.telemetry.counts == {"failed": 1}
    said = [r.getMessage() for r in caplog.records if "auth.callback" in r.getMessage()]
    assert len(said) == 2 and "127.0.0.1" in said[0] and "loopback" in said[1]
    assert CANARY not in caplog.text and "behind-the-host" not in caplog.text


@looped
async def test_a_viewer_is_not_asked_about_again_for_a_while_and_a_publisher_always() -> None:
    async with serving(answers(200)) as service:
        asked = Asked(service, keep="5s")
        for _ in range(3):
            assert await asked.status(PLAY) is None
        assert len(service.heard) == 1
        for _ in range(2):
            assert await asked.status(PUBLISH) is None
        assert len(service.heard) == 3
        service.behave = answers(403)
        asked.now_s += 5.1
        assert await asked.status(PLAY) == REFUSED
        other = Asking(Scope.PLAY, "cam", CANARY, "hls", "192.0.2.8")
        assert await asked.status(other) == REFUSED  # another address is another question


@looped
async def test_one_question_is_on_its_way_once() -> None:
    async with serving(answers(200)) as service:
        asked = Asked(service, keep="0s")
        assert await asyncio.gather(*[asked.status(PLAY) for _ in range(20)]) == [None] * 20
        assert len(service.heard) == 1


@looped
async def test_a_flood_of_one_address_does_not_shut_the_others_out() -> None:
    async def slow(heard: Heard, reader: Any, writer: Any) -> None:
        if b"192.0.2.66" in heard.body:
            await reader.read()  # until the other has enough
        else:
            await answers(204)(heard, reader, writer)

    async with serving(slow) as service:
        asked = Asked(service)
        flood = [
            asyncio.create_task(
                asked.status(Asking(Scope.PLAY, "cam", f"random-{number}", "hls", "192.0.2.66"))
            )
            for number in range(2000)
        ]
        while service.connections < 8:  # noqa: ASYNC110 - the flood is on its way
            await asyncio.sleep(0.01)
        others = [Asking(Scope.PLAY, "cam", CANARY, "hls", f"192.0.2.{one}") for one in range(40)]
        assert await asyncio.gather(*map(asked.status, others)) == [None] * 40
        assert service.connections <= 8 + 40
        assert not any(task.done() and task.result() is None for task in flood)
        assert set(await asyncio.gather(*flood)) == {LATER}
    assert not asked.callback._origins


def test_a_stream_that_leaves_play_out_is_not_open_beside_a_callback() -> None:
    auth = {"callback": "https://may.example/"}
    server = Server.model_validate({"auth": auth, "streams": {"a": {}, "b": {"play": "anyone"}}})
    a, b = server.stream("a"), server.stream("b")
    assert a is not None and a.play == () and b is not None and b.play == "anyone"
    nameless = Server.model_validate({"auth": auth}).stream("any")
    assert nameless is not None and nameless.publish == nameless.play == ()


@looped
async def test_keys_come_from_a_url_and_stay_while_it_fails() -> None:
    good = answers(200, body=document(public(ONE, "one")))
    async with serving(good) as service:
        now_s = [1000.0]
        keys = Jwks(keys_at(Url.of(service.url), Client(HOME)), lambda: now_s[0])
        assert await asyncio.gather(*[keys.find("one", "ES256") for _ in range(9)])
        assert len(service.heard) == 1
        for bad in (answers(500), answers(302), answers(200, body=b"x" * 300_000), reset):
            service.behave = bad
            now_s[0] += 400
            assert await keys.find("one", "ES256")
        assert len(service.heard) == 5
        now_s[0] += 90_000
        with pytest.raises(Undecided):
            await keys.find("one", "ES256")
        service.behave = good
        now_s[0] += 20
        assert await keys.find("one", "ES256")
