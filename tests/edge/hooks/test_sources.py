"""Where the news comes from: streams that end, and files that are closed on other threads."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from streamgen.telemetry import Telemetry
from streamgen_edge.hooks.event import EndReason
from streamgen_edge.recording.recording import Recordings
from streamgen_edge.recording.reel import Kept
from tests.edge.recording.test_recording import PACKETS, SECONDS, Viewed, packager, settings
from tests.edge.test_link import FakeWorker, until
from tests.edge.test_stream import Ends, run, seated


@pytest.mark.parametrize("reason", [*EndReason])
def test_a_stream_says_why_it_ended(tmp_path: Path, reason: EndReason) -> None:
    async def test(ends: Ends, worker: FakeWorker) -> None:
        stream = ends.stream
        began: list[str] = []
        stream.viewing.began = lambda: began.append(stream.session)
        ends.picture(0, key=True)
        await seated(worker)
        await until(lambda: began)
        match reason:
            case EndReason.PUBLISHER:
                stream.leave(ends, explicit=True)
            case EndReason.LOST:
                stream.leave(ends, explicit=False)
            case EndReason.ASKED:
                stream.end()
            case EndReason.FAILED:
                stream.vacated("it broke")
            case EndReason.SERVER | EndReason.MOVED:
                stream.end(reason)
        await until(lambda: stream.over)
        stream.end()  # the first reason stays
        assert stream.reason is reason and began == [stream.session]

    run(tmp_path, test, "one")


def test_every_file_of_a_recording_is_told_of_on_the_loop(tmp_path: Path) -> None:
    told: list[tuple[Kept, int]] = []

    async def main() -> None:
        recordings = Recordings(lambda file: told.append((file, threading.get_ident())))
        viewed = Viewed()
        recordings.apply("live-1", viewed, Telemetry(), settings(tmp_path, split="4s"))
        assert viewed.recording is not None
        made = packager()
        viewed.recording.follow(made)
        for packet in PACKETS:
            made.write(packet)
        made.end()
        assert await recordings.finished(10.0)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert {thread for _, thread in told} == {threading.get_ident()}
    files = [file for file, _ in told]
    assert len(files) == 3 and {(f.stream, f.session) for f in files} == {("live-1", "s3cret")}
    assert [file.bytes for file in files] == [(tmp_path / f.path).stat().st_size for f in files]
    assert sum(file.seconds for file in files) == pytest.approx(SECONDS, abs=0.2)
