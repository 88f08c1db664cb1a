"""A process of viewers that hangs, beside others that go on."""

from __future__ import annotations

import os
import signal

import pytest

from streamgen.telemetry import Telemetry
from streamgen_edge.egress import egress as module
from streamgen_edge.egress.spread import Spread
from streamgen_edge.webrtc.app import WebRtcApp
from tests.edge.rtmp.peer import until
from tests.edge.webrtc.peers import Watching, looped, posting
from tests.edge.webrtc.serving import network
from tests.edge.webrtc.studio import Hub, Rung, Studio

SILENT_S = 1.5


def test_a_process_that_hangs_is_killed_and_its_viewers_places_are_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert module.SILENT_S == 10.0
    monkeypatch.setattr(module, "SILENT_S", SILENT_S)
    monkeypatch.setattr(module, "QUIET_S", SILENT_S / 2)

    @looped
    async def run() -> None:
        show = Studio(Rung(180, 300_000), gop=25, sound=False)
        app = WebRtcApp(Hub(show), network())
        telemetry = Telemetry()
        spread = Spread(app, {}, most=1, full=0.0, telemetry=telemetry)
        (hung,) = spread.processes
        viewers = []
        try:
            here = await Watching("video").start(posting(app), "/whep/show")
            viewers.append(here)
            await until(lambda: hung.ready)
            for _ in range(2):
                there = await Watching("video").start(posting(spread), "/whep/show")
                viewers.append(there)
                await there.frames(3)
            assert spread.elsewhere("show") == 2 and app.crowd.number == 3
            assert len(show.feed) == 2  # the edge's own, and one for all of the process
            assert hung.pid is not None
            os.kill(hung.pid, signal.SIGSTOP)
            await until(lambda: not hung.ready)
            late = await Watching("video").start(posting(spread), "/whep/show")
            viewers.append(late)
            await late.frames(3)
            assert app.watching("show") == 2  # it was not sent to where nobody answers
            await until(lambda: hung not in spread.processes)
            with pytest.raises(ProcessLookupError):
                os.kill(hung.pid, 0)
            assert spread.elsewhere("show") == 0 and app.crowd.number == 2
            assert spread.watching("show") == app.watching("show") == 2
            assert len(show.feed) == 1
            await here.frames(20)
            await until(lambda: any(one.ready for one in spread.processes))
            again = await Watching("video").start(posting(spread), "/whep/show")
            viewers.append(again)
            await again.frames(3)
            assert spread.elsewhere("show") == 1
        finally:
            for one in viewers:
                await one.peer.close()
            await spread.close()
            show.stop()

    run()
