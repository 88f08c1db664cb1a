"""While a publisher is away its last picture is shown again."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from streamgen.decode.repeating import NoDecoder, Repeating
from streamgen.media.frame import Frame
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen.testing.clips import picture

BASE = Fraction(1, 90_000)


class Holding:
    """A decoder that keeps one picture back, as reordering does."""

    def __init__(self) -> None:
        self.held: Frame | None = None

    def decode(self, packet: Packet) -> Sequence[Frame]:
        out, self.held = (
            self.held,
            picture(16, 16).retimed(pts=packet.pts, time_base=packet.time_base),
        )
        return [] if out is None else [out]

    def flush(self) -> Sequence[Frame]:
        out, self.held = self.held, None
        return [] if out is None else [out]


def packet(pts: int, data: bytes = b"x", epoch: int = 0, *, key: bool = False) -> Packet:
    return Packet(data, pts, pts, 3600, BASE, key, "video/0", epoch)


def test_an_empty_packet_shows_the_last_picture_at_its_own_time() -> None:
    telemetry = Telemetry()
    decoder = Repeating(Holding(), telemetry)
    assert decoder.decode(packet(0)) == []
    (first,) = decoder.decode(packet(3600))
    held, again = decoder.decode(packet(18_000, b"", epoch=2, key=True))
    assert (first.pts, held.pts) == (0, 3600)
    assert (again.pts, again.duration, again.epoch) == (18_000, 3600, 2)
    assert again.planes is held.planes
    (once_more,) = decoder.decode(packet(36_000, b""))
    assert once_more.pts == 36_000
    assert telemetry.counts("repeated") == {"gap": 2}


def test_where_no_key_frame_follows_the_decoder_goes_on_where_it_was() -> None:
    telemetry = Telemetry()
    decoder = Repeating(Holding(), telemetry)
    decoder.decode(packet(0))
    decoder.decode(packet(3600))
    (again,) = decoder.decode(packet(18_000, b""))
    assert again.still and again.pts == 18_000
    assert decoder.decode(packet(21_600)) == []  # what was held back is too late
    (shown,) = decoder.decode(packet(25_200))
    assert (shown.pts, shown.still) == (21_600, False)
    assert telemetry.counts("dropped") == {"behind_still": 1}


def test_a_stream_without_pictures_shows_what_it_is_given() -> None:
    first = picture(16, 16)
    (still,) = Repeating(NoDecoder(), Telemetry(), first=first).decode(packet(9000, b""))
    assert still.planes is first.planes and still.pts == 9000


def test_without_any_picture_yet_the_gap_is_counted_as_dropped() -> None:
    telemetry = Telemetry()
    assert Repeating(Holding(), telemetry).decode(packet(0, b"")) == []
    assert telemetry.counts("dropped") == {"no_picture": 1}
