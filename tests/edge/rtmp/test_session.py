from __future__ import annotations

import itertools
from typing import Any

import pytest

from streamgen_edge.rtmp import amf0, amf3
from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.chunk_writer import chunked, user_control
from streamgen_edge.rtmp.limits import ProtocolError
from streamgen_edge.rtmp.messages import (
    ACKNOWLEDGEMENT,
    AGGREGATE,
    AUDIO,
    CHUNK_SIZE,
    COMMAND,
    COMMAND_AMF3,
    DATA,
    PEER_BANDWIDTH,
    SHARED_OBJECT,
    USER_CONTROL,
    VIDEO,
    WINDOW_SIZE,
    Message,
)
from streamgen_edge.rtmp.session import Closing, Session, State, Unpublish

from .client import (
    HANDSHAKE,
    IDR,
    S0_S1_S2,
    codes,
    command,
    connect,
    fed,
    messages,
    new_session,
    opening,
    publish,
    publishing,
    said,
    video,
)


def test_a_publisher_is_asked_about_before_anything_is_taken() -> None:
    session = new_session()
    (event,) = fed(session, opening("cam?token=s3cret"))
    assert event == Publish("live", "cam", "s3cret", "192.0.2.1", "test/1")
    assert session.state is State.PENDING
    session.accept()
    (media,) = fed(session, video(IDR, 40))
    assert isinstance(media, Message)
    assert (media.kind, media.timestamp, bytes(media.body)) == (VIDEO, 40, IDR)


def test_the_conversation_is_the_same_byte_by_byte() -> None:
    session = new_session()
    events = [e for byte in opening() for e in session.feed(bytes([byte]))[0]]
    assert [type(event) for event in events] == [Publish]


def test_connect_is_answered_as_flash_servers_do() -> None:
    session = new_session()
    _, answer = session.feed(HANDSHAKE + connect())
    found = messages(answer[S0_S1_S2:])
    assert [m.kind for m in found[:3]] == [WINDOW_SIZE, PEER_BANDWIDTH, CHUNK_SIZE]
    name, number, _, info = amf0.decode(found[3].body)
    assert (name, number, info["code"]) == ("_result", 1.0, "NetConnection.Connect.Success")
    assert "fourCcList" not in info


def test_each_command_before_publish_has_its_answer() -> None:
    session = new_session()
    session.feed(HANDSHAKE + connect())
    assert said(session.feed(command("releaseStream", 2, None, "cam"))[1]) == [
        ["_result", 2.0, None]
    ]
    fc_published = said(session.feed(command("FCPublish", 3, None, "cam?token=x"))[1])
    assert [c[0] for c in fc_published] == ["onFCPublish", "_result"]
    assert fc_published[0][-1]["description"] == "cam"
    assert said(session.feed(command("createStream", 4, None))[1]) == [["_result", 4.0, None, 1.0]]
    assert said(session.feed(command("_checkbw", 5, None))[1])[0][0] == "_result"
    assert said(session.feed(command("getStreamLength", 6, None))[1])[0][-1] == 0
    assert said(session.feed(command("whatIsThis", 7, None))[1])[0][0] == "_error"
    assert session.feed(command("whatIsThis", 0, None))[1] == b""


def test_acceptance_begins_the_stream_and_says_so_on_it() -> None:
    session = new_session()
    session.feed(opening())
    begun, status = messages(client_chunk_size() + session.accept())[1:]
    assert (begun.kind, bytes(begun.body)) == (USER_CONTROL, bytes(5) + b"\x01")
    assert status.stream == 1
    assert amf0.decode(status.body)[-1]["code"] == "NetStream.Publish.Start"


def client_chunk_size() -> bytes:
    return chunked(2, CHUNK_SIZE, 0, (4096).to_bytes(4, "big"), 128)


def test_refusal_is_an_error_with_the_owner_s_words() -> None:
    session = new_session()
    session.feed(opening())
    (status,) = said(session.refuse("wrong key"))
    assert status[-1] == {
        "level": "error",
        "code": "NetStream.Publish.Denied",
        "description": "wrong key",
    }
    assert session.state is State.ENDED


@pytest.mark.parametrize("kind", [AUDIO, VIDEO, AGGREGATE, 18, 15])
@pytest.mark.parametrize("said_before", [0, 1, 2], ids=["nothing", "connect", "publish"])
def test_media_before_publishing_was_accepted_ends_the_connection(
    kind: int, said_before: int
) -> None:
    session = new_session()
    session.feed((HANDSHAKE, HANDSHAKE + connect(), opening())[said_before])
    with pytest.raises(ProtocolError, match="before publishing was accepted"):
        session.feed(chunked(6, kind, 1, IDR, 128))


def test_large_pictures_are_taken_from_acceptance_on() -> None:
    (event,) = fed(publishing(), video(IDR + bytes(1_000_000)))
    assert isinstance(event, Message) and len(event.body) == len(IDR) + 1_000_000


def test_media_on_another_stream_ends_the_connection() -> None:
    with pytest.raises(ProtocolError, match="not published"):
        publishing().feed(video(IDR, stream=2))


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([HANDSHAKE, publish()], "before connect"),
        ([HANDSHAKE, connect(), connect()], "connect, twice"),
        ([HANDSHAKE, connect(), publish()], "not created"),
        ([opening(), publish("other")], "publish, twice"),
        ([opening(), publish(stream=9)], "publish, twice"),
    ],
)
def test_commands_out_of_turn_end_the_connection(parts: list[bytes], reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        fed(new_session(), *parts)


def test_endless_streams_and_commands_are_refused() -> None:
    session = new_session()
    session.feed(HANDSHAKE + connect())
    with pytest.raises(ProtocolError, match="32 streams"):
        for number in range(100):
            session.feed(command("createStream", number, None))
    session = new_session()
    session.feed(HANDSHAKE + connect())
    with pytest.raises(ProtocolError, match="512 commands"):
        for number in range(1, 2000):
            session.feed(command("createStream", number, None))
            session.feed(command("deleteStream", 0, None, number))


def test_bytes_before_acceptance_are_bounded() -> None:
    session = new_session()
    session.feed(opening())
    with pytest.raises(ProtocolError, match="too many bytes"):
        for _ in range(1000):
            session.feed(chunked(3, SHARED_OBJECT, 0, bytes(1000), 128))


@pytest.mark.parametrize(
    "end",
    [
        command("FCUnpublish", 6, None, "cam"),
        command("deleteStream", 7, None, 1),
        command("closeStream", 0, None, stream=1),
    ],
    ids=["FCUnpublish", "deleteStream", "closeStream"],
)
def test_the_publisher_s_own_end_is_told_once(end: bytes) -> None:
    session = publishing()
    assert fed(session, end) == [Unpublish()]
    # What was under way is not held against it, nor is saying it twice.
    assert fed(session, video(IDR), command("deleteStream", 8, None, 1)) == []


def test_a_client_may_publish_again_after_its_end() -> None:
    session = publishing()
    fed(session, command("FCUnpublish", 6, None, "cam"), command("createStream", 7, None))
    (event,) = fed(session, publish("other", 2))
    assert isinstance(event, Publish) and event.stream == "other"
    session.accept()
    assert len(fed(session, video(IDR, stream=2))) == 1


def test_deleting_another_stream_ends_nothing() -> None:
    session = new_session()
    session.feed(opening() + command("createStream", 9, None))
    session.accept()
    assert fed(session, command("deleteStream", 0, None, 2)) == []
    assert session.state is State.PUBLISHING


@pytest.mark.parametrize("name", ["play", "play2"])
def test_who_wants_to_play_is_told_where_to_watch(name: str) -> None:
    session = new_session()
    session.feed(HANDSHAKE + connect() + command("createStream", 4, None))
    events, answer = session.feed(command(name, 5, None, "cam", stream=1))
    assert [type(event) for event in events] == [Closing]
    (status,) = said(answer)
    assert status[-1]["code"] == "NetStream.Play.Failed" and "WHEP" in status[-1]["description"]


def test_enhanced_clients_are_told_the_codecs_and_capabilities() -> None:
    session, many = new_session(), {"*": 1}
    asked: dict[str, Any] = {"fourCcList": ["hvc1", "av01", "xyz0"], "capsEx": 15}
    _, answer = session.feed(
        HANDSHAKE + connect(**asked, videoFourCcInfoMap=many, audioFourCcInfoMap=many)
    )
    info = said(answer[S0_S1_S2:])[0][-1]
    assert info["fourCcList"] == ["hvc1", "av01"] and info["capsEx"] == 15
    assert info["videoFourCcInfoMap"]["hvc1"] == 4 and info["audioFourCcInfoMap"]["Opus"] == 4


def test_only_a_client_that_knows_how_is_asked_to_reconnect() -> None:
    session = new_session()
    session.feed(HANDSHAKE + connect(capsEx=1))
    (status,) = said(session.reconnect("rtmp://other/live"))
    assert status[-1]["code"] == "NetConnection.Connect.ReconnectRequest"
    assert status[-1]["tcUrl"] == "rtmp://other/live"
    for caps in ({}, {"capsEx": 2}, {"capsEx": "x"}, {"capsEx": float("nan")}):
        session = new_session()
        session.feed(HANDSHAKE + connect(**caps))
        assert session.reconnect(None) == b""


def test_commands_may_come_as_amf3() -> None:
    session = new_session()
    body = b"\0" + amf0.encode(["connect", 1, {"app": "live"}])
    session.feed(HANDSHAKE + chunked(3, COMMAND_AMF3, 0, body, 128))
    assert session.state is State.CONNECTED
    whole = amf3.encode(["createStream", 2.0, None])
    _, answer = session.feed(chunked(3, COMMAND_AMF3, 0, whole, 128))
    assert said(answer) == [["_result", 2.0, None, 1.0]]


def test_a_ping_is_answered_with_its_own_number() -> None:
    _, answer = publishing().feed(user_control(6, 0xDEADBEEF))
    assert bytes(messages(answer)[0].body) == b"\x00\x07\xde\xad\xbe\xef"


def test_pings_at_once_are_bounded_and_a_ping_each_second_is_not() -> None:
    session = publishing(pings=10)
    for _ in range(10):
        session.feed(user_control(6, 1))
    for _ in range(1000):
        session.forgive(1)
        assert len(messages(session.feed(user_control(6, 1))[1])) == 1
    with pytest.raises(ProtocolError, match="more than 10 pings"):
        session.feed(user_control(6, 1))


def test_values_before_acceptance_are_bounded_all_together() -> None:
    session, body = new_session(), amf0.encode(["onBWDone", 0]) + b"\x05" * 1000
    session.feed(HANDSHAKE + connect())
    with pytest.raises(ProtocolError, match="too many values"):
        for _ in range(5):
            session.feed(chunked(3, COMMAND, 0, body, 128))


def test_metadata_of_many_values_may_come_now_and_then_only() -> None:
    session, body = publishing(values=2000), amf0.encode(["onMetaData"]) + b"\x05" * 900
    for _ in range(20):
        session.feed(chunked(5, DATA, 1, body, 128))
        session.forgive(1)
    with pytest.raises(ProtocolError, match="too many values"):
        for _ in range(3):
            session.feed(chunked(5, DATA, 1, body, 128))


def test_received_bytes_are_acknowledged_at_the_client_s_window() -> None:
    session = publishing()
    session.feed(chunked(2, WINDOW_SIZE, 0, (10_000).to_bytes(4, "big"), 128))
    counts = []
    for number in range(100):
        for message in messages(session.feed(video(IDR + bytes(485), number))[1]):
            assert message.kind == ACKNOWLEDGEMENT
            counts.append(int.from_bytes(message.body, "big"))
    assert len(counts) in (4, 5, 6) and counts[-1] <= session.received
    assert all(10_000 <= b - a < 11_000 for a, b in itertools.pairwise(counts))


def test_acknowledgements_go_round_at_32_bits() -> None:
    session = publishing()
    session.received += (1 << 32) - session.received
    (message,) = messages(session.feed(video(IDR))[1])
    assert int.from_bytes(message.body, "big") == session.received - (1 << 32) == len(video(IDR))


@pytest.mark.parametrize("window", [0, 1])
def test_a_mad_window_gives_at_most_one_acknowledgement_per_read(window: int) -> None:
    session = publishing()
    session.feed(chunked(2, WINDOW_SIZE, 0, window.to_bytes(4, "big"), 128))
    _, answer = session.feed(video(IDR) * 50)
    assert len(messages(answer)) <= 1


def test_a_storm_of_bandwidth_messages_is_refused() -> None:
    session = publishing()
    with pytest.raises(ProtocolError, match="512 commands"):
        for _ in range(1000):
            session.feed(chunked(2, PEER_BANDWIDTH, 0, b"\0\0\1\0\2", 128))


def test_a_stream_deleted_in_the_middle_of_a_picture_is_over() -> None:
    session = publishing()
    picture = video(IDR + bytes(1000))
    at = 12 + 128
    found = fed(session, picture[:at], command("deleteStream", 7, None, 1), picture[at:])
    assert found == [Unpublish()]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0, 1e300, "x", None])
def test_transaction_ids_of_any_kind_are_survived(number: Any) -> None:
    session = new_session()
    session.feed(HANDSHAKE + connect())
    session.feed(command("createStream", number, None))
    assert session.state is State.CONNECTED


def test_unknown_messages_and_shared_objects_are_passed_over() -> None:
    session = publishing()
    parts = [chunked(3, kind, 1, b"\1\2\3", 128) for kind in (16, 19, 21, 99)]
    assert fed(session, *parts, video(IDR))[0].kind == VIDEO  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [3, 4, 5, 6])
def test_empty_control_messages_are_survived(kind: int) -> None:
    session = publishing()
    session.feed(chunked(2, kind, 0, b"", 128))
    assert len(fed(session, video(IDR))) == 1


def test_the_last_word_fits_how_far_the_client_came() -> None:
    assert new_session().end("x") == b""
    session: Session = new_session()
    session.feed(HANDSHAKE + connect())
    assert codes(said(session.end("x"))) == ["NetConnection.Connect.Closed"]
    session = publishing()
    assert codes(said(session.end("taken over"))) == ["NetStream.Publish.Failed"]
    assert session.end("again") == b""
