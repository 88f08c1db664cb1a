"""Addresses of targets: what they say, and that nothing secret of them is told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from streamgen_edge.push.settings import PushSettings, named
from streamgen_edge.push.target import publishing, target_of

SECRET = "s3cret"


@pytest.mark.parametrize(
    "url, app, key",
    [
        (f"rtmp://a.example/live2/{SECRET}", "live2", SECRET),
        (f"rtmps://a.example:443/rtmp/{SECRET}?s_bl=1&a=b/c", "rtmp", f"{SECRET}?s_bl=1&a=b/c"),
        (f"rtmp://a.example/app/_definst_/{SECRET}", "app/_definst_", SECRET),
        (f"rtmp://[2001:db8::1]:1936/live/{SECRET}/", "live", SECRET),
    ],
)
def test_an_address_holds_application_and_key(url: str, app: str, key: str) -> None:
    target = target_of(url)
    assert publishing(target) == (app, key)
    assert SECRET not in target.shown + repr(target) + repr(PushSettings(url=url))


@pytest.mark.parametrize(
    "url",
    [
        f"rtmp://a.example/{SECRET}",
        f"rtmp://a.example/{SECRET}/?x={SECRET}/",
        f"srt://a.example/live/{SECRET}",
        f"gst:srtsink uri=srt://a.example/live/{SECRET}",
        f"file:///live/{SECRET}",
        f"rtmp:///live/{SECRET}",
        f"rtmp://u:{SECRET}@a.example/live/x",
        f"rtmp://a.example:{SECRET}/live/x",
        f"rtmp://a.example/live/{SECRET}\r\nx",
        f"rtmp://a.example/live/{SECRET} x",
        f"https://a.example/{SECRET}#x",
    ],
)
def test_what_is_no_target_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        target_of(url)
    assert SECRET not in str(refused.value)
    with pytest.raises(ValidationError) as problem:
        PushSettings(url=url)
    assert SECRET not in problem.value.errors()[0]["msg"]


def test_pushes_are_called_by_their_host_and_a_number() -> None:
    some = [PushSettings(url=f"rtmp://a.example/live/{n}") for n in range(3)]
    other = PushSettings(url="rtmp://a.example/live/x", id="a.example-2")
    assert list(named([*some, other])) == ["a.example-2", "a.example", "a.example-3", "a.example-4"]
    with pytest.raises(ValueError, match="stands twice"):
        named([other, other.model_copy(update={"rung": "480p"})])
