"""What a stream shows now is decoded elsewhere, rarely, and never for long."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Sequence

import av
import numpy as np
import pytest

from streamgen.deliver.grid import NS
from streamgen.deliver.live import LivePackager, LiveSettings, LiveStart
from streamgen.errors import StreamGenError
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.picture import NoPicture, Pictures, last_key_frame
from streamgen_edge.picturing import jpeg
from tests.deliver.live_packets import live_video

TRACK, PICTURES = live_video(seconds=4)


def packager(packets: Sequence[Packet] = PICTURES) -> LivePackager:
    start = LiveStart("s3cret", 1_700_000_000 * NS)
    made = LivePackager(start, [TRACK], telemetry=Telemetry(), settings=LiveSettings())
    for packet in packets:
        made.write(packet)
    return made


def images(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return [np.asarray(frame, dtype=np.int16) for frame in frames]


def test_the_picture_is_the_last_segment_s_key_frame_that_viewers_have() -> None:
    made = packager()
    picture = asyncio.run(Pictures().jpeg(made))
    assert picture.startswith(b"\xff\xd8")
    whole = made.renditions["90p"].window
    data = whole.headers[whole.pieces[0].header]
    data += b"".join(part.data for piece in whole.pieces for part in piece.parts)
    (shown,) = images(picture)
    errors = [float(np.abs(shown - one).mean()) for one in images(data)]
    assert errors.index(min(errors)) == 3 * 30 and PICTURES[3 * 30].keyframe
    assert min(errors) < 4


def test_asking_again_within_a_second_starts_no_process() -> None:
    pictures, made = Pictures(), packager()

    async def twice() -> tuple[bytes, bytes, float]:
        first = await pictures.jpeg(made)
        began = time.monotonic()
        return first, await pictures.jpeg(made), time.monotonic() - began

    first, second, took = asyncio.run(twice())
    assert first is second and took < 0.01


def test_one_picture_is_made_at_a_time() -> None:
    pictures, made = Pictures(), packager()

    async def both() -> list[bytes | BaseException]:
        return await asyncio.gather(
            pictures.jpeg(made), pictures.jpeg(made), return_exceptions=True
        )

    first, second = asyncio.run(both())
    assert isinstance(first, bytes)
    assert isinstance(second, NoPicture) and second.status == 429


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import time; time.sleep(60)", "too long"),
        ("raise SystemExit(1)", "could not be decoded"),
        ("import os; os.abort()", "could not be decoded"),
    ],
)
def test_a_decoder_that_hangs_or_dies_is_an_answer(
    program: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgen_edge.picture.WITHIN_S", 0.5)
    pictures = Pictures((sys.executable, "-c", program))
    for _ in range(2):  # and the next one is tried all the same
        with pytest.raises(NoPicture, match=said):
            asyncio.run(pictures.jpeg(packager()))


def test_before_the_first_key_frame_there_is_none() -> None:
    made = packager([])
    assert last_key_frame(made) is None
    with pytest.raises(NoPicture, match="no picture yet"):
        asyncio.run(Pictures().jpeg(made))


@pytest.mark.parametrize("data", [b"", b"junk" * 100, last_key_frame(packager()) or b""])
def test_what_cannot_be_decoded_is_an_error(data: bytes) -> None:
    with pytest.raises(StreamGenError, match="no picture"):
        jpeg(data[: len(data) // 3])
