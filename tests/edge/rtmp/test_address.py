from __future__ import annotations

from typing import Any

import pytest

from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.session import Closing

from . import client
from .client import (
    HANDSHAKE,
    S0_S1_S2,
    codes,
    connect,
    fed,
    new_session,
    opening,
    said,
)


def opened(name: str = "cam", app: str = "live", url: str = client.URL) -> Publish:
    (event,) = fed(new_session(), opening(name, app, url))
    assert isinstance(event, Publish)
    return event


@pytest.mark.parametrize(
    ("name", "app", "url"),
    [
        ("cam?token=a%20b", "live", client.URL),
        ("cam?x=1&token=a+b", "live", client.URL),
        ("cam", "live?token=a b", client.URL),
        ("cam", "live/?token=a%20b", client.URL),
        ("/cam", "/live", client.URL + "?token=a%20b"),
        ("cam?token=a b", "live?token=wrong", client.URL + "?token=wrong"),
    ],
)
def test_the_token_is_found_wherever_encoders_put_it(name: str, app: str, url: str) -> None:
    event = opened(name, app, url)
    assert (event.app, event.stream, event.token) == ("live", "cam", "a b")


@pytest.mark.parametrize(
    "name",
    [
        *("cam", "cam?", "cam?tok=1", "cam?token", "cam?" + "&" * 100 + "token=1"),
        *("cam?" + "x" * 9000 + "&token=1", "cam?token=" + "%"),
    ],
)
def test_a_query_without_a_usable_token_has_none(name: str) -> None:
    assert opened(name, url="rtmp://[").token in (None, "%")


def test_no_event_shows_its_token() -> None:
    assert "s3cret" not in repr(opened("cam?token=s3cret"))


@pytest.mark.parametrize(
    "name",
    [
        *("", "x" * 4096, "../etc/passwd", "a/b", "a\0b", "a\nb", "a%2fb", "ca\u0301m", "a b"),
        *("?token=1", "'; drop", "cam\r\nHost: x", "x" * 65),
        *("c\0a\0m\0", "\ufeffcam", "c\ud7ffm", "cam\u2028", "..", "cam;reboot", "$(id)"),
    ],
)
def test_names_that_are_no_stream_names_are_refused_with_the_rule(name: str) -> None:
    session = new_session()
    events, answer = session.feed(opening(name))
    (closing,) = events
    assert isinstance(closing, Closing) and "letters, digits" in closing.reason
    assert name[:9] not in closing.reason or not name.strip()
    assert codes(said(answer[S0_S1_S2:], 128))[-1] == "NetStream.Publish.Denied"


@pytest.mark.parametrize("app", ["", "other", "live/more", "../live", 7, None])
def test_another_application_is_refused_with_the_right_address(app: Any) -> None:
    session = new_session()
    events, answer = session.feed(HANDSHAKE + connect(app))
    assert [type(event) for event in events] == [Closing]
    (error,) = said(answer[S0_S1_S2:])
    assert error[0] == "_error" and error[-1]["code"] == "NetConnection.Connect.InvalidApp"
    assert error[-1]["description"] == "publish to rtmp://host/live/STREAM"
