from __future__ import annotations

import asyncio
import logging

import pytest

from streamgen_edge.rtmp.notices import Notices

from .peer import run, until


def test_a_flood_is_a_line_at_once_and_then_a_number(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def test() -> None:
        notices = Notices(every_s=0.05)
        for number in range(1000):
            notices.say("flood", f"number {number}")
            notices.say("other", f"other {number}", most=2)
        assert caplog.messages == ["number 0", "other 0", "other 1"]
        await until(lambda: len(caplog.messages) == 5)
        assert "rtmp: 999 more within 0.05 s: flood" in caplog.messages
        assert "rtmp: 998 more within 0.05 s: other" in caplog.messages
        notices.say("flood", "again")
        assert caplog.messages[-1] == "again"
        notices.close()

    run(test)


def test_a_single_line_is_followed_by_none_and_a_stop_says_what_was_held(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    async def test() -> None:
        notices = Notices(every_s=0.01)
        notices.say("once", "alone")
        await asyncio.sleep(0.05)
        notices.say("quiet", "one", level=logging.DEBUG)
        notices.say("quiet", "two", level=logging.DEBUG)
        notices.close()

    run(test)
    said = [(r.levelname, r.getMessage()) for r in caplog.records if "asyncio" not in r.name]
    assert said == [
        ("INFO", "alone"),
        ("DEBUG", "one"),
        ("DEBUG", "rtmp: 1 more within 0.01 s: quiet"),
    ]
