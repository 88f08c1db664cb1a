"""References of 64 bytes, and messages that are checked before they are believed."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.graph.isolation import wire
from streamgen.graph.isolation.channel import Channel
from streamgen.graph.isolation.leases import Leases
from streamgen.graph.isolation.lending import Lending
from streamgen.graph.isolation.tags import HOST_TAGS, Tagged, TagTable, WireError, tags_of
from streamgen.graph.isolation.wire import Message, PictureRef, SheetRef
from streamgen.media.frame import Color, Frame, Layout, Matrix, Range
from streamgen.media.port import Port
from streamgen.media.shared import SharedPool, slot_of
from streamgen.testing import picture


def shared(pool: SharedPool, **tags: object) -> Frame:
    return pool.shared(picture(34, 18)).retimed(**tags)


def test_a_reference_has_64_bytes_and_says_all_of_a_picture() -> None:
    source = shared(
        SharedPool(), pts=-(1 << 40), duration=1 << 33, received_ns=1 << 62, epoch=7, keyframe=True
    )
    slot = slot_of(source)
    assert slot is not None
    reference = wire.picture(source, 6 << 32 | 5, slot.buffer.address, 2, 3)
    assert len(reference) == wire.REFERENCE_BYTES == 64
    assert wire.is_picture(reference)
    assert not wire.is_lent(reference)
    assert (wire.lease_of(reference), wire.port_of(reference)) == (6 << 32 | 5, 2)
    said = PictureRef.of(reference)
    planes = said.planes(slot.buffer.address, slot.buffer.size, slot)
    made = said.frame(planes, Tagged.of(tags_of(source)))
    for mine, theirs in zip(made.planes, source.planes, strict=True):
        assert (mine.ptr, mine.shape, mine.pitch) == (theirs.ptr, theirs.shape, theirs.pitch)
    assert repr(replace(made, planes=source.planes)) == repr(source)
    assert (made.duration, made.received_ns, made.epoch) == (1 << 33, 1 << 62, 7)
    assert made.keyframe


def test_tags_come_back_as_they_were() -> None:
    color = Color(Matrix.BT2020, Range.FULL, 9, 16)
    source = picture(4, 2).retimed(
        time_base=Fraction(1001, 30_000), color=color, sar=Fraction(64, 45), rotation=270
    )
    tagged = Tagged.of(tags_of(source))
    assert (tagged.time_base, tagged.color) == (source.time_base, color)
    assert (tagged.sar, tagged.rotation) == (Fraction(64, 45), 270)


def test_tags_cross_once() -> None:
    table = TagTable(HOST_TAGS)
    first, other = picture(4, 2), picture(4, 2).retimed(rotation=90)
    numbers = [table.number(one) for one in (first, first.retimed(pts=5), other, first)]
    assert numbers == [0, 0, 1, 0]
    assert [number for number, _ in table.take_news()] == [0, 1]
    assert table.take_news() == []


@given(st.binary(max_size=300))
def test_bytes_from_nowhere_are_refused_never_believed(data: bytes) -> None:
    try:
        message = wire.unpack(data)
    except WireError:
        return
    for reference in message.references:
        assert len(reference) == 64


@given(st.binary(min_size=64, max_size=64))
def test_a_made_up_picture_never_reaches_beyond_its_buffer(reference: bytes) -> None:
    try:
        planes = PictureRef.of(reference).planes(1 << 20, 4096, None)
    except WireError:
        return
    for plane in planes:
        end = plane.ptr + (plane.shape[0] - 1) * plane.pitch + plane.shape[1] * plane.itemsize
        assert plane.ptr >= 1 << 20
        assert end <= (1 << 20) + 4096


@given(st.binary(min_size=64, max_size=64))
def test_a_made_up_array_never_reaches_beyond_its_buffer(reference: bytes) -> None:
    memory = np.zeros(4096, np.uint8)
    try:
        array = SheetRef.of(reference).within(memory)
    except WireError:
        return
    assert array.nbytes <= 4096


def test_messages_keep_references_leases_and_what_changed() -> None:
    packed = wire.pack(Message.DONE, 77, [bytes(64), b"x" * 64], [1 << 32 | 2, 4], {"size": [2]})
    said = wire.unpack(packed)
    assert (said.kind, said.number, list(said.references)) == (20, 77, [bytes(64), b"x" * 64])
    assert list(said.leases) == [1 << 32 | 2, 4]
    assert said.extra == {"size": [2]}
    with pytest.raises(WireError):
        wire.unpack(packed[:-1])
    with pytest.raises(WireError, match="too long"):
        wire.pack(Message.RUN, 1, extra={"params": "x" * wire.MOST_BYTES})


def test_a_stale_reference_raises_in_the_other_process() -> None:
    pool, leases = SharedPool(), Leases()
    slot = pool.lend(100)
    leases.admit({"slots": [(5, slot.buffer.size, False)]}, [slot.buffer.read_only_fd()])
    key = slot.generation << 32 | 5
    assert leases.open(key).key == key
    assert leases.still_held() == []
    del slot
    with pytest.raises(WireError, match="stale reference"):
        leases.open(key)
    with pytest.raises(WireError, match="not handed over"):
        leases.open(1 << 32 | 6)


def test_only_what_was_lent_is_taken_back() -> None:
    pool = SharedPool()
    lending = Lending(pool)
    source = shared(pool)
    reference = lending.show(0, source)
    lease = wire.lease_of(reference)
    passed = lending.value(reference, "picture", Port(), (34, 18))
    assert isinstance(passed, Frame)
    assert passed.planes is source.planes
    made_up = ((lease >> 32) + 1).to_bytes(4, "little")
    with pytest.raises(WireError, match="does not hold"):
        lending.value(reference[:4] + made_up + reference[8:], "picture", Port(), None)
    lending.settle([lease], [])
    with pytest.raises(WireError, match="does not hold"):
        lending.value(reference, "picture", Port(), None)
    for fd in lending.news({}):
        os.close(fd)


def test_a_lease_lasts_while_another_request_or_the_stage_has_it() -> None:
    pool = SharedPool()
    lending = Lending(pool)
    source = shared(pool)
    lease = wire.lease_of(lending.show(0, source))
    lending.show(0, source)
    lending.settle([lease], [])
    assert len(lending) == 1
    lending.settle([lease], [lease])
    assert len(lending) == 1
    lending.settle([], [])
    assert len(lending) == 0
    for fd in lending.news({}):
        os.close(fd)


def test_a_channel_tells_the_end_of_the_other_side() -> None:
    mine, theirs = Channel.pair()
    mine.send(b"first")
    assert theirs.receive() == b"first"
    mine.send(b"never read")
    theirs.close()
    assert mine.receive() == b""
    with pytest.raises(OSError):
        mine.send(b"more")
    mine.close()


def test_a_layout_with_two_planes_crosses_too() -> None:
    pool = SharedPool()
    out = pool.take(Layout.NV12, 32, 16)
    frame = out.publish(picture(4, 2))
    slot = slot_of(frame)
    assert slot is not None
    said = PictureRef.of(wire.picture(frame, 1 << 32 | 1, slot.buffer.address, 0, 0))
    assert said.layout is Layout.NV12
    assert len(said.planes(slot.buffer.address, slot.buffer.size, slot)) == 2
