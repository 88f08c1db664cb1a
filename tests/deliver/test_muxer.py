"""The muxer, which libavformat calls back for what it writes."""

from __future__ import annotations

import signal

import pytest

from streamgen.deliver.muxer import Muxer

from .conftest import encode_audio


class Unlucky:
    """An interrupt comes in the middle of each write once armed."""

    def __init__(self) -> None:
        self.armed = False
        self.size = 0

    def write(self, data: bytes) -> int:
        if self.armed:
            signal.raise_signal(signal.SIGINT)
        self.size += len(data)
        return len(data)


def test_an_interrupt_in_a_write_is_raised_and_nothing_is_lost() -> None:
    sizes = []
    for armed in (False, True):
        sink, sound = Unlucky(), encode_audio(seconds=0.1)
        muxer = Muxer(sink, "mpegts", options={"flush_packets": "1"}, name="there")
        assert muxer.add(sound.track)
        sink.armed = armed
        interrupts = 0
        for packet in sound.packets:
            try:
                muxer.write(packet)
            except KeyboardInterrupt:
                interrupts += 1
        assert (interrupts > 0) is armed
        if armed:
            with pytest.raises(KeyboardInterrupt):
                muxer.close()
        else:
            muxer.close()
        sizes.append(sink.size)
    assert sizes[0] == sizes[1]
