from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamgen_edge.rtmp.chunk_reader import Chunks
from streamgen_edge.rtmp.chunk_writer import chunk_size, chunked
from streamgen_edge.rtmp.limits import KIB, MIB, Limits, ProtocolError
from streamgen_edge.rtmp.messages import ABORT, AUDIO, COMMAND, VIDEO, Message

NOISE = random.Random(7).randbytes(300_000)


def reader(size: int = 128, **limits: int) -> Chunks:
    chunks = Chunks(Limits(**limits), proven=True)
    chunks.size = size
    return chunks


def header(form: int, number: int) -> bytes:
    """Basic header in its shortest form (5.3.1.1)."""
    if number < 64:
        return bytes([form << 6 | number])
    if number < 320:
        return bytes([form << 6, number - 64])
    return bytes([form << 6 | 1]) + (number - 64).to_bytes(2, "little")


def message_header(stamp: int, length: int, kind: int = VIDEO, stream: int = 1) -> bytes:
    return (
        min(stamp, 0xFFFFFF).to_bytes(3, "big")
        + length.to_bytes(3, "big")
        + bytes([kind])
        + stream.to_bytes(4, "little")
    )


def plain(found: list[Message]) -> list[tuple[int, int, bytes]]:
    return [(m.kind, m.timestamp, bytes(m.body)) for m in found]


@pytest.mark.parametrize("size", [1, 7, 128, 129, 4096, 60_000, MIB])
@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 4096, 8192, 250_000])
def test_a_message_comes_back_whole_at_every_chunk_size(size: int, length: int) -> None:
    body = NOISE[:length]
    data = chunked(6, VIDEO, 1, body, size, 40) * 2
    assert plain(reader(size).feed(data)) == [(VIDEO, 40, body)] * 2


@pytest.mark.parametrize("number", [2, 3, 63, 64, 319, 320, 65_599])
def test_all_three_forms_of_the_chunk_stream_id_are_read(number: int) -> None:
    data = header(0, number) + message_header(5, 200) + NOISE[:128]
    data += header(3, number) + NOISE[128:200]
    assert plain(reader().feed(data)) == [(VIDEO, 5, NOISE[:200])]


def test_types_1_2_and_3_add_to_the_time_before_them() -> None:
    data = header(0, 6) + message_header(1000, 1) + b"a"
    data += header(1, 6) + message_header(40, 2)[:7] + b"bb"
    data += header(2, 6) + (20).to_bytes(3, "big") + b"cc"
    data += header(3, 6) + b"dd"
    assert [m.timestamp for m in reader().feed(data)] == [1000, 1040, 1060, 1080]


def test_type_3_after_type_0_adds_the_absolute_time_again() -> None:
    data = header(0, 6) + message_header(33, 1) + b"a" + header(3, 6) + b"b"
    assert [m.timestamp for m in reader().feed(data)] == [33, 66]


@pytest.mark.parametrize("repeated", [True, False], ids=["repeated", "left out"])
@pytest.mark.parametrize("stamp", [0xFFFFFF, 0x1000000, 0xFFFFFFFF])
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_extended_timestamps_are_read_in_both_forms(repeated: bool, stamp: int, step: int) -> None:
    extended = stamp.to_bytes(4, "big")
    body = b"\x00" * 3 + NOISE[:1000]
    data = header(0, 6) + message_header(stamp, len(body)) + extended + body[:128]
    for at in range(128, len(body), 128):
        data += header(3, 6) + (extended if repeated else b"") + body[at : at + 128]
    chunks = reader()
    found = [m for at in range(0, len(data), step) for m in chunks.feed(data[at : at + step])]
    assert plain(found) == [(VIDEO, stamp, body)]


def test_an_extended_delta_goes_round_at_32_bits() -> None:
    data = header(0, 6) + message_header(0xFFFFFF, 1) + b"\xff\xff\xff\xf0" + b"a"
    data += header(2, 6) + (0x20).to_bytes(3, "big") + b"b"
    assert [m.timestamp for m in reader().feed(data)] == [0xFFFFFFF0, 0x10]


def test_sound_between_the_chunks_of_a_picture_is_told_apart() -> None:
    body = NOISE[:1000]
    pieces = [body[at : at + 128] for at in range(0, 1000, 128)]
    data = header(0, 6) + message_header(1, 1000) + pieces[0]
    for number, piece in enumerate(pieces[1:]):
        if number in (2, 3):
            data += chunked(4, AUDIO, 1, b"sound", 128, number)
        data += header(3, 6) + piece
    found = plain(reader().feed(data))
    assert found == [(AUDIO, 2, b"sound"), (AUDIO, 3, b"sound"), (VIDEO, 1, body)]


def test_a_chunk_size_may_change_in_the_middle_of_a_message() -> None:
    data = header(0, 6) + message_header(1, 1000) + NOISE[:128]
    data += chunk_size(300) + header(3, 6) + NOISE[128:428] + header(3, 6) + NOISE[428:728]
    data += header(3, 6) + NOISE[728:1000]
    assert plain(reader().feed(data))[1] == (VIDEO, 1, NOISE[:1000])


def test_an_abort_forgets_the_message_begun() -> None:
    data = header(0, 6) + message_header(1, 1000) + NOISE[:128]
    data += chunked(2, ABORT, 0, (6).to_bytes(4, "big"), 128)
    data += chunked(6, VIDEO, 1, b"new", 128, 2)
    assert plain(reader().feed(data))[1:] == [(VIDEO, 2, b"new")]


def test_what_was_aborted_no_longer_counts_as_unfinished() -> None:
    chunks = reader(partial_bytes=1024)
    for _ in range(50):
        chunks.feed(header(0, 6) + message_header(1, 1000) + NOISE[:128])
        chunks.feed(chunked(2, ABORT, 0, (6).to_bytes(4, "big"), 128))


@settings(max_examples=60, deadline=None)
@example(bodies=[(AUDIO, 63, 1 << 24)], size=1, cuts=[371, 379])
@given(
    bodies=st.lists(
        st.tuples(st.sampled_from([AUDIO, VIDEO]), st.integers(0, 5000), st.integers(0, 2**32 - 1)),
        min_size=1,
        max_size=8,
    ),
    size=st.sampled_from([1, 5, 128, 1000, 4096]),
    cuts=st.lists(st.integers(0, 40_000), max_size=20),
)
def test_how_bytes_are_cut_changes_nothing(
    bodies: list[tuple[int, int, int]], size: int, cuts: list[int]
) -> None:
    sent = [(kind, stamp, NOISE[:length]) for kind, length, stamp in bodies]
    data = b"".join(chunked(k - 4, k, 1, body, size, stamp) for k, stamp, body in sent)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = reader(size)
    found = [m for a, b in pairwise(places) for m in chunks.feed(data[a:b])]
    assert plain(found) == sent


@pytest.mark.parametrize("size", [0, MIB + 1, 2**31 - 1, 2**32 - 1])
def test_a_chunk_size_out_of_bounds_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError, match="chunk size"):
        reader().feed(chunked(2, 1, 0, size.to_bytes(4, "big"), 128))


@pytest.mark.parametrize(
    ("kind", "most"),
    [(VIDEO, 10 * MIB), (AUDIO, MIB), (COMMAND, 64 * KIB), (99, 64 * KIB), (22, 10 * MIB)],
)
def test_a_message_too_long_for_its_type_is_refused_at_its_header(kind: int, most: int) -> None:
    head = header(0, 6) + message_header(0, most + 1, kind)
    with pytest.raises(ProtocolError, match=f"{most} are allowed"):
        reader().feed(head)


def test_before_it_is_proven_a_client_may_send_no_more_than_a_command() -> None:
    chunks = Chunks(Limits())
    with pytest.raises(ProtocolError, match="65536 are allowed"):
        chunks.feed(header(0, 6) + message_header(0, 64 * KIB + 1))


def test_thousands_of_chunk_streams_are_refused() -> None:
    chunks = reader()
    with pytest.raises(ProtocolError, match="chunk streams"):
        for number in range(2, 60_000):
            chunks.feed(header(0, number) + message_header(0, 1000) + NOISE[:128])


def test_lengths_that_are_only_announced_cost_no_memory() -> None:
    chunks = reader()
    tracemalloc.start()
    for number in range(2, 60):
        chunks.feed(header(0, number) + message_header(0, 10 * MIB) + NOISE[:128])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 200_000


def test_unfinished_messages_are_bounded_all_together() -> None:
    chunks = reader(MIB, partial_bytes=4 * MIB)
    with pytest.raises(ProtocolError, match="unfinished"):
        for number in range(2, 60):
            chunks.feed(header(0, number) + message_header(0, 2 * MIB) + bytes(MIB))


def test_a_chunk_stream_may_begin_with_a_delta() -> None:
    data = header(1, 6) + message_header(40, 2)[:7] + b"ab"
    assert plain(reader().feed(data)) == [(VIDEO, 40, b"ab")]


@pytest.mark.parametrize("form", [2, 3])
def test_a_chunk_stream_cannot_begin_without_its_header(form: int) -> None:
    with pytest.raises(ProtocolError, match="without a message header"):
        reader().feed(header(form, 6) + bytes(20))


def test_a_message_cannot_begin_inside_another() -> None:
    data = header(0, 6) + message_header(1, 1000) + NOISE[:128]
    with pytest.raises(ProtocolError, match="inside another"):
        reader().feed(data + header(0, 6) + message_header(2, 10))


def test_endless_tiny_chunks_are_refused() -> None:
    chunks = reader(1)
    one = header(0, 5) + message_header(0, 900_000, AUDIO) + b"x"
    two = header(0, 6) + message_header(0, 900_000) + b"x"
    chunks.feed(one + two)
    with pytest.raises(ProtocolError, match="too small"):
        for _ in range(100):
            chunks.feed((header(3, 5) + b"x" + header(3, 6) + b"x") * 1000)


def test_endless_empty_messages_are_refused() -> None:
    chunks = reader()
    chunks.feed(header(0, 6) + message_header(0, 0))
    with pytest.raises(ProtocolError, match="too small"):
        for _ in range(100):
            chunks.feed(header(3, 6) * 1000)


@pytest.mark.parametrize("kind", [1, ABORT])
def test_a_control_message_that_is_too_short_is_refused(kind: int) -> None:
    with pytest.raises(ProtocolError, match="too short"):
        reader().feed(chunked(2, kind, 0, b"\0\0", 128))
