"""Packets cross a link unharmed, and nothing but packets does."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.media.envelope import HEADER_BYTES, Kind, LinkError, opened, seal
from streamgen.media.packet import Packet

TICKS = st.integers(-(1 << 61), 1 << 61)
U32 = st.integers(0, (1 << 32) - 1)
PACKETS = st.builds(
    Packet,
    data=st.binary(max_size=64),
    pts=st.none() | TICKS,
    dts=st.none() | TICKS,
    duration=st.integers(0, 1 << 40),
    time_base=st.builds(Fraction, st.integers(1, 1 << 20), st.integers(1, 1 << 30)),
    keyframe=st.booleans(),
    track=st.just(""),
    epoch=U32,
    discard=st.booleans(),
    replayed=st.booleans(),
)


@given(PACKETS, U32, U32, st.integers(0, 65535), st.sampled_from(Kind), st.integers(0, 1 << 63))
def test_what_is_sealed_is_what_is_opened(
    packet: Packet, stream: int, term: int, track: int, kind: Kind, at: int
) -> None:
    header = seal(packet, stream=stream, term=term, track=track, kind=kind, received_ns=at)
    assert len(header) == HEADER_BYTES
    found = opened(header, packet.data)
    assert found.packet == packet
    assert (found.stream, found.term, found.track) == (stream, term, track)
    assert (found.kind, found.received_ns) == (kind, at)


@given(st.binary(max_size=2 * HEADER_BYTES))
def test_any_other_bytes_are_a_link_error_or_a_packet(header: bytes) -> None:
    try:
        found = opened(header, b"")
    except LinkError:
        return
    assert found.packet.time_base > 0


@given(PACKETS, st.integers(0, HEADER_BYTES - 1), st.integers(0, 255))
def test_a_damaged_header_gives_a_link_error_or_another_packet(
    packet: Packet, at: int, value: int
) -> None:
    header = bytearray(seal(packet, stream=1, term=1, track=0))
    header[at] = value
    with contextlib.suppress(LinkError):
        assert opened(header, packet.data).packet.duration >= 0


@pytest.mark.parametrize(
    "changes",
    [{"track": 1 << 16}, {"stream": -1}, {"term": 1 << 32}, {"received_ns": -1}],
)
def test_what_does_not_fit_is_refused_before_it_is_sent(changes: dict[str, int]) -> None:
    packet = Packet(b"", 0, 0, 0, Fraction(1, 90_000), True, "")
    with pytest.raises(LinkError):
        seal(packet, **({"stream": 1, "term": 1, "track": 0} | changes))


def test_an_impossibly_large_payload_is_refused() -> None:
    packet = Packet(b"", 0, 0, 0, Fraction(1, 90_000), True, "")
    with pytest.raises(LinkError):
        opened(seal(packet, stream=1, term=1, track=0), memoryview(bytes((32 << 20) + 1)))
