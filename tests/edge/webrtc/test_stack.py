"""The names of aiortc, aioice and pylibsrtp that we use beyond the public ones are where they were.

A failure here means that an upgrade moved something: mend `streamgen_edge/webrtc/stack.py`.
"""

from __future__ import annotations

import inspect
from typing import Any

import pylibsrtp
import pytest
from aioice import ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcdtlstransport import RTCDtlsTransport, RtpRouter
from aiortc.rtcicetransport import RTCIceGatherer, RTCIceTransport
from aiortc.rtcrtpreceiver import RTCRtpReceiver, StreamStatistics
from aiortc.rtcrtpsender import RTCRtpSender

from streamgen_edge.webrtc import line, stack
from tests.edge.webrtc.peers import looped


def source(of: Any) -> str:
    return inspect.getsource(of)


@looped
async def test_a_peer_has_the_attributes_that_we_set() -> None:
    peer: Any = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    assert len(peer._RTCPeerConnection__certificates) == 1
    line = peer.addTransceiver("video")
    connection = line.receiver.transport.transport._connection
    for name in ("get_component_candidates", "query_consent", "build_request", "close"):
        assert inspect.iscoroutinefunction(getattr(connection, name)) or name == "build_request"
    assert connection._nominated == {} and connection._protocols == []
    assert isinstance(connection._tie_breaker, int)
    assert isinstance(line.sender._ssrc, int) and isinstance(line.sender._rtx_ssrc, int)
    assert line._codecs == []
    assert line.receiver.transport._tx_srtp is None
    await peer.close()


def test_the_stack_looks_our_names_up_when_it_calls() -> None:
    connect = source(RTCPeerConnection._RTCPeerConnection__connect)  # type: ignore[attr-defined]
    assert "transceiver.sender.send(" in connect and "transceiver.receiver.receive(" in connect
    create = source(RTCPeerConnection._RTCPeerConnection__createDtlsTransport)  # type: ignore[attr-defined]
    assert "self.__certificates" in create
    gather = source(ice.Connection.gather_candidates)
    assert "self.get_component_candidates(component=component, addresses=addresses)" in gather
    assert "self.query_consent()" in source(ice.Connection.connect)
    assert "self._check_list.append(pair)" in source(ice.Connection.check_incoming)
    assert "self.receiver = receiver" in source(ice.StunProtocol.__init__)
    assert "active_pair = self._nominated.get(component)" in source(ice.Connection.sendto)
    assert "self.transport._recv()" in source(RTCDtlsTransport._recv_next)
    assert "self._handle_rtcp_data(data)" in source(RTCDtlsTransport._recv_next)
    assert "self._recv = self._connection.recv" in source(RTCIceTransport.__init__)
    assert "iceServers is None" in source(RTCIceGatherer.__init__)


def test_endpoints_are_called_as_ours_are_written() -> None:
    rtp = source(RTCDtlsTransport._handle_rtp_data)
    assert "await receiver._handle_rtp_packet(packet, arrival_time_ms=arrival_time_ms)" in rtp
    rtcp = source(RTCDtlsTransport._handle_rtcp_data)
    assert "await recipient._handle_rtcp_packet(packet)" in rtcp
    assert "receiver._handle_disconnect()" in inspect.getsource(RTCDtlsTransport)
    assert "ssrc=sender._ssrc" in source(RTCDtlsTransport._register_rtp_sender)
    assert list(inspect.signature(RtpRouter.register_receiver).parameters)[1:] == [
        "receiver",
        "ssrcs",
        "payload_types",
        "mid",
    ]
    for half, name in ((RTCRtpSender, "stop"), (RTCRtpReceiver, "stop")):
        assert "if self.__started:" in source(getattr(half, name))
    assert hasattr(StreamStatistics, "packets_lost")


def test_srtp_protects_in_place() -> None:
    policy = pylibsrtp.Policy(
        key=b"\0" * 30,
        ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND,
        srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    )
    ours, theirs = pylibsrtp.Session(policy), pylibsrtp.Session(policy)
    packet = bytes.fromhex("80600001000000010000000a") + b"payload"
    line._view[: len(packet)] = packet
    line._length[0] = len(packet)
    assert line._protect(ours._srtp[0], line._slots[0], line._length) == 0
    assert bytes(line._view[: line._length[0]]) == theirs.protect(packet)


@looped
async def test_the_stack_s_own_sender_and_receiver_stay_out(monkeypatch: Any) -> None:
    for half in (RTCRtpSender, RTCRtpReceiver):
        for name in ("_run_rtp", "_run_rtcp"):
            if hasattr(half, name):
                monkeypatch.setattr(half, name, lambda *_: pytest.fail("aiortc's own loop ran"))
    peer, other = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    begun: list[str] = []
    try:
        other.addTransceiver("video", direction="sendrecv")
        await other.setLocalDescription(await other.createOffer())
        offer = RTCSessionDescription(other.localDescription.sdp, "offer")
        line = peer.addTransceiver("video", direction="sendrecv")
        await peer.setRemoteDescription(offer)
        stack.on_sending(line, lambda *_: begun.append("send"))
        stack.on_receiving(line, lambda *_: begun.append("receive"))
        await line.sender.send(None)  # type: ignore[arg-type]
        await line.sender.send(None)  # type: ignore[arg-type]
        await line.receiver.receive(None)  # type: ignore[arg-type]
        assert begun == ["send", "receive"]
    finally:
        await peer.close()
        await other.close()
