"""Whatever comes, only `ProtocolError` comes out, and memory stays bounded."""

from __future__ import annotations

import random
import tracemalloc
from contextlib import suppress
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streamgen.media.packet import Packet
from streamgen_edge.rtmp.chunk_reader import Chunks
from streamgen_edge.rtmp.chunk_writer import chunk_size, chunked
from streamgen_edge.rtmp.demux import Demuxer
from streamgen_edge.rtmp.limits import MIB, Limits, ProtocolError
from streamgen_edge.rtmp.messages import AGGREGATE, AUDIO, VIDEO, Message
from streamgen_edge.rtmp.session import State

from . import client
from .client import AAC_CONFIG, AAC_FRAME, CONFIG, IDR, NEXT, audio, new_session, opening, video

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
NOISE = random.Random(3).randbytes(60_000)


@cache
def conversation() -> bytes:
    """All that a publisher says, with pictures of all kinds of sizes."""
    parts = [client.metadata({"width": 320, "encoder": "test"}), video(CONFIG), audio(AAC_CONFIG)]
    for number in range(12):
        size = (5, 100, 1000, 4000)[number % 4]
        body = (b"\x17" if number % 6 == 0 else b"\x27") + b"\x01\0\0\0"
        body += (size + 1).to_bytes(4, "big") + b"\x65" + NOISE[:size]
        at = number * 40 + (1 << 24) - 200
        parts += [video(body, at), audio(AAC_FRAME, at)]
    parts += [chunk_size(4096), video(IDR, 900, size=4096)]
    parts.append(client.command("FCUnpublish", 6, None, "cam", size=4096))
    return b"".join(parts)


def run(data: bytes, cuts: list[int]) -> list[Any]:
    """All that comes of these bytes, cut there; the owner lets everybody in."""
    session = new_session()
    demuxer = Demuxer(most_tracks=8, count=lambda reason: None)
    found: list[Any] = []
    for a, b in pairwise(sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})):
        events, answer = session.feed(data[a:b])
        assert len(answer) < 64_000
        for event in events:
            found += demuxer.feed(event) if isinstance(event, Message) else [event]
        if session.state is State.PENDING:
            session.accept()
    return found


def plain(found: list[Any]) -> list[Any]:
    return [
        (x.track, x.pts, x.dts, x.keyframe, bytes(x.data)) if isinstance(x, Packet) else x
        for x in found
    ]


@FUZZ
@given(cuts=st.lists(st.integers(0, 30_000), max_size=40))
def test_how_a_conversation_is_cut_changes_nothing_that_comes_of_it(cuts: list[int]) -> None:
    start = len(opening())
    whole = run(opening() + conversation(), [start])
    assert len(whole) == 30
    assert plain(run(opening() + conversation(), [start, *(start + cut for cut in cuts)])) == (
        plain(whole)
    )


@FUZZ
@given(
    changes=st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 255)), max_size=12),
    cuts=st.lists(st.integers(0, 30_000), max_size=6),
)
def test_a_damaged_conversation_ends_in_a_protocol_error_or_goes_on(
    changes: list[tuple[int, int]], cuts: list[int]
) -> None:
    data = bytearray(opening() + conversation())
    for at, byte in changes:
        data[3073 + at % (len(data) - 3073)] = byte
    with suppress(ProtocolError):
        run(bytes(data), [len(opening()), *cuts])


@FUZZ
@given(
    removed=st.tuples(st.integers(0, 30_000), st.integers(1, 300)),
    inserted=st.tuples(st.integers(0, 30_000), st.binary(max_size=60)),
)
def test_lost_and_inserted_bytes_end_in_a_protocol_error_or_go_on(
    removed: tuple[int, int], inserted: tuple[int, bytes]
) -> None:
    data = bytearray(opening() + conversation())
    at = 3073 + removed[0] % (len(data) - 3073)
    del data[at : at + removed[1]]
    data[inserted[0] % len(data) : 0] = inserted[1]
    with suppress(ProtocolError):
        run(bytes(data), [len(opening())])


@FUZZ
@given(data=st.binary(max_size=4000), cuts=st.lists(st.integers(0, 4000), max_size=6))
def test_random_bytes_after_the_handshake_give_messages_or_a_protocol_error(
    data: bytes, cuts: list[int]
) -> None:
    chunks = Chunks(Limits(), proven=True)
    with suppress(ProtocolError):
        for a, b in pairwise(sorted({0, len(data), *(c for c in cuts if c < len(data))})):
            chunks.feed(data[a:b])


@FUZZ
@given(
    bodies=st.lists(
        st.tuples(
            st.sampled_from([AUDIO, VIDEO]),
            st.integers(0, 2**32 - 1),
            st.one_of(
                st.binary(max_size=80),
                st.builds(
                    lambda head, tail: head + tail,
                    st.sampled_from(
                        [
                            *(CONFIG, IDR, NEXT, AAC_CONFIG, AAC_FRAME, CONFIG[:16]),
                            *(b"\x90hvc1", b"\x91hvc1", b"\x93hvc1", b"\x90av01\x81", b"\x91av01"),
                            *(b"\x96\x00avc1\x01", b"\x96\x11avc1", b"\x96\x21", b"\x97\x02"),
                            *(b"\x90Opus", b"\x90fLaC", b"\x95\x10mp4a", b"\x95\x20", b"\x9c"),
                        ]
                    ),
                    st.binary(max_size=60),
                ),
            ),
        ),
        max_size=12,
    )
)
@example(bodies=[(VIDEO, 0, CONFIG), (VIDEO, 0, b"\x17\x01\0\0\0\0\0\0\0")])
def test_damaged_media_is_left_out_and_never_ends_anything_but_by_a_protocol_error(
    bodies: list[tuple[int, int, bytes]],
) -> None:
    reasons: list[str] = []
    demuxer = Demuxer(most_tracks=4, count=reasons.append)
    names = set()
    for kind, stamp, body in bodies:
        with suppress(ProtocolError):
            found = demuxer.feed(Message(kind, 1, stamp, bytearray(body)))
            names |= {x.track for x in found if isinstance(x, Packet)}
    assert len(names) <= 4
    assert set(reasons) <= {
        *("damaged", "unsupported", "too_many_tracks", "no_config", "empty", "no_picture"),
        *("wrap", "adts"),
    }


@FUZZ
@given(data=st.binary(max_size=300), stamp=st.integers(0, 2**32 - 1))
def test_a_random_aggregate_is_taken_apart_or_refused(data: bytes, stamp: int) -> None:
    session = client.publishing()
    with suppress(ProtocolError):
        session.feed(chunked(6, AGGREGATE, 1, data, 128, stamp))


def test_the_worst_unfinished_client_holds_little_more_than_its_limit() -> None:
    session = client.publishing(partial_bytes=2 * MIB)
    half = MIB // 2
    session.feed(chunk_size(half))
    tracemalloc.start()
    with pytest.raises(ProtocolError, match="unfinished"):
        for number in range(3, 60):
            head = bytes([number]) + bytes(3) + MIB.to_bytes(3, "big") + b"\x09" + b"\1\0\0\0"
            for part in (head, *[bytes(half // 8)] * 8):
                session.feed(part)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MIB
