"""A browser whose way narrows gets a lower rung, and the top one when it is wide again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.edge.webrtc.serving import Served
from tests.edge.webrtc.studio import Rung, Studio
from tests.edge.webrtc.test_browser import PLAY

pytestmark = pytest.mark.browser


def test_chromium_follows_its_way_down_and_up_and_who_asked_for_a_rung_keeps_it(
    page: Any, browser: Any
) -> None:
    ladder = Rung(360, 1_500_000), Rung(180, 200_000)
    with Served(lambda: [Studio(*ladder, gop=25)]) as served:
        address = f"http://127.0.0.1:{served.port}/"
        fixed = browser.new_page()
        for one, name, asked in ((page, "auto", ""), (fixed, "fixed", "?rung=360p")):
            one.goto(address)
            path = f"/through/{name}/whep/show{asked}"
            status, place = one.evaluate(PLAY, [path, ["video", "audio"]])
            assert status == 201, place
            one.wait_for_function("v.videoWidth == 640", timeout=15_000, polling=50)
        page.wait_for_timeout(4000)  # until the rates of the rungs are known
        for proxy in served.proxies.values():
            proxy.down.rate_bps = 600_000
        page.wait_for_function("v.videoWidth == 320", timeout=12_000, polling=50)
        for proxy in served.proxies.values():
            proxy.down.rate_bps = None
        page.wait_for_function("v.videoWidth == 640", timeout=60_000, polling=50)
        viewings = [session.media for session in served.app.sessions.values()]
        facts = [viewing.adapting.facts() for viewing in viewings]
        assert {one["by"] for one in facts} == {"transport-cc"}
        assert [one["adapts"] for one in facts] == [True, False]
        assert facts[0]["switches"]["full"] >= 1 and facts[0]["switches"]["room"] >= 1
        assert not facts[1]["switches"] and viewings[1].rung == "video/360p"
        fixed.close()
