"""What we need of aiortc, aioice and pylibsrtp beyond their public names, and nothing else.

aiortc does SDP, ICE and DTLS; media goes our own ways: `line.SecureLine` sends, and `Endpoint`s
get what comes, in the place of its senders and receivers. `tests/edge/webrtc/test_stack.py` fails
when an upgrade moves one of these names.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, cast

from aioice import ice, stun
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtpHeaderExtensionParameters,
    RTCRtpReceiveParameters,
    RTCRtpSendParameters,
)
from aiortc.rtcrtptransceiver import RTCRtpTransceiver

from streamgen.deliver.congestion.feedback import is_feedback, messages
from streamgen.deliver.congestion.sent import Sent
from streamgen.deliver.webrtc import Numbers
from streamgen_edge.webrtc.network import Network

STUN_S = 2.0
"""A STUN server that has not answered by then is done without."""
CONSENT_S = 2.0
CONSENT_FAILURES = 3
"""With half a second for each answer a silent peer is noticed within 9 s (RFC 7675, 5.1)."""
TRANSPORT_NUMBERS = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
P224 = bytes.fromhex("06052b81040021")
"""Object identifier of the curve secp224r1, as it stands in a certificate."""
P256_HINT = (
    "the publisher's certificate uses the curve secp224r1, which OpenSSL refuses; give it a P-256 "
    "certificate (FFmpeg: -cert_file and -key_file, made with openssl req -x509 -newkey ec "
    "-pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -subj /CN=whip)"
)


class Endpoint(Protocol):
    """What the transport gives RTP and RTCP to."""

    _ssrc: int

    async def _handle_rtcp_packet(self, packet: Any) -> None: ...

    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None: ...

    def _handle_disconnect(self) -> None: ...


def new_certificate() -> RTCCertificate:
    return RTCCertificate.generateCertificate()


def open_peer(network: Network, certificate: RTCCertificate) -> RTCPeerConnection:
    """A peer connection with no other servers than the configured ones, all media in one bundle."""
    servers = [RTCIceServer(urls=list(network.stun))] if network.stun else []
    peer = RTCPeerConnection(
        RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
    )
    # Its own was made with it; one for all saves a signature per viewer.
    peer._RTCPeerConnection__certificates = [certificate]  # type: ignore[attr-defined]
    return peer


def use_network(peer: RTCPeerConnection, network: Network, *, consent_s: float = CONSENT_S) -> None:
    """Gather only what the network gives; before the local description is set."""
    for transceiver in peer.getTransceivers():
        connection: Any = transceiver.receiver.transport.transport._connection

        async def gather(
            component: int, addresses: list[str], *, of: Any = connection
        ) -> list[Candidate]:
            return await _gather(of, network, component)

        async def consent(of: Any = connection) -> None:
            await _watch_consent(of, consent_s)

        connection.get_component_candidates = gather
        connection.query_consent = consent


class Datagrams(ice.StunProtocol):
    """What comes by UDP, from whoever.

    Of strangers only STUN is read: the stack shakes hands with whoever says hello first, and keeps
    all that comes before. It ends the connection for a datagram without a byte, and of STUN it
    raises more than it catches.
    """

    def __init__(self, connection: ice.Connection) -> None:
        super().__init__(connection)
        self.heard_at: tuple[Any, ...] | None = None
        """Where the peer's last datagram came from."""
        self._checked: set[tuple[Any, ...]] = set()

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        address = addr[:2]
        if self._is_peer(address):
            self.heard_at = address
        elif not _is_stun(data):
            return
        if data:
            with suppress(struct.error, IndexError, KeyError):
                super().datagram_received(data, addr)

    def _is_peer(self, address: tuple[Any, ...]) -> bool:
        """Whether ICE checks this address, or has done so (RFC 8445, 7.3.1)."""
        if address not in self._checked:
            if all(pair.remote_addr != address for pair in self.receiver._check_list):
                return False
            self._checked.add(address)
        return True


def _is_stun(data: bytes | str) -> bool:
    try:
        stun.parse_message(cast(bytes, data))
    except (ValueError, struct.error, IndexError):
        return False
    return True


async def _gather(connection: Any, network: Network, component: int) -> list[Candidate]:
    """Host candidates, and what a configured STUN server sees of them (RFC 8445, 5.1.1)."""
    loop = asyncio.get_running_loop()
    found: list[Candidate] = []
    for address in network.listen:
        sock = network.bind(address)
        _, protocol = await loop.create_datagram_endpoint(lambda: Datagrams(connection), sock=sock)
        protocol.plain_socket = sock  # type: ignore[attr-defined]
        host, port = sock.getsockname()[:2]
        protocol.local_candidate = Candidate(
            foundation=candidate_foundation("host", "udp", host),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host"),
            host=host,
            port=port,
            type="host",
        )
        connection._protocols.append(protocol)
        found.append(protocol.local_candidate)
        if connection.stun_server and ":" not in host:
            try:
                seen = ice.server_reflexive_candidate(protocol, connection.stun_server)
                found.append((await asyncio.wait_for(seen, STUN_S))[0])
            except (TimeoutError, OSError, stun.TransactionError):
                continue
    return found


def heard(peer: RTCPeerConnection) -> bool:
    """Whether anything has come from the other side yet, by whatever way."""
    connection: Any = peer.getTransceivers()[0].receiver.transport.transport._connection
    return any(protocol.heard_at is not None for protocol in connection._protocols)


async def _watch_consent(connection: Any, every_s: float) -> None:
    """Close the connection when the peer has answered nothing for some seconds (RFC 7675)."""
    failures = 0
    spread = random.Random(connection._tie_breaker)
    while failures < CONSENT_FAILURES:
        await asyncio.sleep(every_s * (0.8 + 0.4 * spread.random()))
        for pair in list(connection._nominated.values()):
            request = connection.build_request(pair, nominate=False)
            key = connection.remote_password.encode()
            try:
                await pair.protocol.request(
                    request, pair.remote_addr, integrity_key=key, retransmissions=0
                )
                failures = 0
            except stun.TransactionError:
                failures += 1
                _follow(connection, pair)
    connection._query_consent_task = None
    await connection.close()


def _follow(connection: Any, silent: Any) -> None:
    """The peer does not answer where it was. Where it was heard last, and has answered, is its
    address now: a NAT has given it another port, say, and it has not noticed."""
    for pair in connection._check_list:
        there = pair.protocol is silent.protocol and pair.remote_addr == pair.protocol.heard_at
        if there and pair is not silent and pair.state is ice.CandidatePair.State.SUCCEEDED:
            connection._nominated[pair.component] = pair


def on_sending(
    transceiver: RTCRtpTransceiver,
    begin: Callable[[RTCRtpSendParameters, RTCDtlsTransport], None],
) -> None:
    """Have `begin` called when media may be sent, instead of aiortc's sender."""
    half = transceiver.sender
    _begin_with(half, "send", lambda p: begin(p, _forgiving(half.transport)))


def on_receiving(
    transceiver: RTCRtpTransceiver,
    begin: Callable[[RTCRtpReceiveParameters, RTCDtlsTransport], None],
) -> None:
    """Have `begin` called when media may come, instead of aiortc's receiver."""
    half = transceiver.receiver
    _begin_with(half, "receive", lambda p: begin(p, _forgiving(half.transport)))


def _forgiving(dtls: RTCDtlsTransport) -> RTCDtlsTransport:
    """RTP and RTCP that cannot be read are passed over: the stack's readers raise more than it
    catches, and would end the connection."""
    control, media = dtls._handle_rtcp_data, dtls._handle_rtp_data

    async def forgiving_control(data: bytes) -> None:
        with suppress(struct.error, IndexError):
            await control(data)

    async def forgiving_media(data: bytes, arrival_time_ms: int) -> None:
        with suppress(struct.error):
            await media(data, arrival_time_ms)

    dtls._handle_rtcp_data = forgiving_control  # type: ignore[method-assign]
    dtls._handle_rtp_data = forgiving_media  # type: ignore[method-assign]
    return dtls


def _begin_with(half: Any, name: str, begin: Callable[[Any], None]) -> None:
    begun = False

    async def once(parameters: Any) -> None:
        nonlocal begun
        if not begun:
            begun = True
            begin(parameters)

    setattr(half, name, once)


def register_sender(dtls: RTCDtlsTransport, one: Any, parameters: RTCRtpSendParameters) -> None:
    dtls._register_rtp_sender(one, parameters)


def register_receiver(
    dtls: RTCDtlsTransport, one: Any, parameters: RTCRtpReceiveParameters
) -> None:
    dtls._register_rtp_receiver(one, parameters)


def count_packets(transceiver: RTCRtpTransceiver, extension_id: int) -> None:
    """Have our answer say that packets of this line are numbered across the transport, and that
    feedback on these numbers is welcome; the stack knows nothing of either."""
    extension = RTCRtpHeaderExtensionParameters(id=extension_id, uri=TRANSPORT_NUMBERS)
    transceiver._headerExtensions.append(extension)
    for codec in transceiver._codecs:
        if codec.name.lower() != "rtx":
            codec.rtcpFeedback.append(RTCRtcpFeedback(type="transport-cc"))


def on_transport_feedback(dtls: RTCDtlsTransport, heard: Callable[[bytes], None]) -> None:
    """Have `heard` called with transport-wide feedback, which the stack would take for a wish for
    retransmissions."""
    control = dtls._handle_rtcp_data

    async def parted(data: bytes) -> None:
        rest = b""
        for message in messages(data):
            if is_feedback(message):
                heard(message)
            else:
                rest += message
        if rest:
            await control(rest)

    dtls._handle_rtcp_data = parted  # type: ignore[method-assign]


def agreed(transceiver: RTCRtpTransceiver) -> list[Any]:
    """The codecs both sides take, the one in use first."""
    return list(transceiver._codecs)


def own_ssrc(transceiver: RTCRtpTransceiver) -> int:
    """SSRC of what we send, as the session's description says it."""
    return int(transceiver.sender._ssrc)


def own_numbers(
    transceiver: RTCRtpTransceiver, parameters: RTCRtpSendParameters, sent: Sent | None = None
) -> Numbers:
    """Of our media and of its retransmissions, as the session's description says them."""
    kind = int(parameters.codecs[0].payloadType or 0)
    rtx = next((c for c in parameters.codecs if c.parameters.get("apt") == kind), None)
    # In the lower half, so that the first wrap is far from the first packets (RFC 3711, 3.3.1).
    first, again = secrets.randbits(15), secrets.randbits(15)
    repaired = None
    if rtx is not None:
        repaired = transceiver.sender._rtx_ssrc, int(rtx.payloadType or 0), again
    return Numbers(own_ssrc(transceiver), kind, first, repaired, sent=sent)


async def add_candidate(peer: RTCPeerConnection, candidate: Any) -> None:
    """One more candidate of the client (trickle)."""
    transport = peer.getTransceivers()[0].receiver.transport.transport
    await transport.addRemoteCandidate(candidate)


def watch_certificate(peer: RTCPeerConnection, seen: Callable[[], None]) -> None:
    """Have `seen` called when the peer's certificate is on a curve that OpenSSL has not."""
    transport: Any = peer.getTransceivers()[0].receiver.transport.transport
    receive: Callable[[], Awaitable[bytes]] = transport._recv
    left = 12

    async def watched() -> bytes:
        nonlocal left
        data = await receive()
        left -= 1
        if P224 in data:
            seen()
        if left <= 0:
            transport._recv = receive
        return data

    transport._recv = watched
