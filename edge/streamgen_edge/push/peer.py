"""`PeerPush`: one WebRTC connection to a WHIP server, as its publisher. Everything is encoded."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from operator import itemgetter

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError, OperationError
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpSendParameters
from aiortc.rtcrtptransceiver import RTCRtpTransceiver

from streamgen.deliver.media_clock import MediaClock
from streamgen.deliver.rtp import goodbye
from streamgen.deliver.webrtc import RtpSender, RtpTrack
from streamgen.media.packet import Packet
from streamgen_edge.push.target import Failure
from streamgen_edge.webrtc import stack
from streamgen_edge.webrtc.line import SecureLine
from streamgen_edge.webrtc.network import UDP_BUFFER, Network
from streamgen_edge.webrtc.whep import Feedback, preferred

CONNECTS_S = 10.0
HEARS_S = 2.0
"""A target whose media side says nothing at all in so long is asked anew: the checks of one session
become ever more seldom, and one that is back would wait for the next."""
CONSENT_S = 0.5
"""A silent target is noticed within 3 s."""
ASK_S = 1.05
"""Key frames are asked for no more often, as with viewers."""
REPORT_S = 1.0
# The stack reads answers as if they came from a friend.
_UNREADABLE = (
    *(ValueError, LookupError, AssertionError, AttributeError, TypeError, RuntimeError),
    *(InvalidStateError, OperationError),
)
SILENT = "the target is silent"
RATES_HZ = {"video": 90_000, "audio": 48_000}


class Outward(Network):
    """Any port of the address that the way to a host begins at: nobody comes to us uncalled."""

    def __init__(self, host: str, port: int) -> None:
        """Raises `OSError` where there is no way."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))  # sends nothing
            own = str(probe.getsockname()[0])
        super().__init__((own,), wall_s=time.time)

    def bind(self, address: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((address, 0))
        sock.setblocking(False)
        for kind in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, kind, UDP_BUFFER)
        return sock


class GatheringLine(SecureLine):
    """What comes together leaves together: in fewer system calls, which are most of the cost."""

    def __init__(self, dtls: RTCDtlsTransport) -> None:
        super().__init__(dtls)
        self._held: list[tuple[bytes, bytes]] | None = None

    def send(self, packets: list[tuple[bytes, bytes]]) -> bool:
        if self._held is None:
            return super().send(packets)
        self._held += packets
        return True

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """What there is no room for is lost, and sent again when the target misses it."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held:
                self.send(held)


class PeerPush:
    """What of `sender.Sending` goes over the connection itself."""

    def __init__(self, network: Network, kinds: Sequence[str], ask: Callable[[], None]) -> None:
        """`ask` is called where the target cannot go on without a key frame."""
        self.pictures = 0
        self.left = asyncio.Event()
        """The connection has ended."""
        self._network = network
        self._kinds = kinds
        self._on_ask = ask
        self._asked_at = float("-inf")
        self._peer: RTCPeerConnection = stack.open_peer(network, stack.new_certificate())
        self._line: GatheringLine | None = None
        self._cname = b""
        self._senders: dict[str, RtpSender] = {}
        self._ssrcs: list[int] = []
        self._connected = asyncio.Event()
        loop = asyncio.get_running_loop()
        clock = MediaClock(time.monotonic_ns, time.time_ns)
        self._tracks = {
            kind: RtpTrack(
                video=kind == "video",
                rate_hz=RATES_HZ[kind],
                origin=secrets.randbits(32),
                clock=clock,
                later=loop.call_later,
                ask=self._ask if kind == "video" else _nothing,
            )
            for kind in kinds
        }
        self._tick = loop.call_later(REPORT_S, self._report)

    @property
    def bytes(self) -> int:
        return sum(sender.octets for sender in self._senders.values())

    async def offer(self) -> str:
        """Our side: what we send, and from where."""
        for kind in self._kinds:
            line = self._peer.addTransceiver(kind, direction="sendonly")
            codecs = ("H264", "rtx") if kind == "video" else ("opus",)
            line.setCodecPreferences(preferred(kind, *codecs))
            stack.on_sending(line, self._beginner(line))
        self._peer.on("connectionstatechange", self._changed)
        description = await self._peer.createOffer()
        stack.use_network(self._peer, self._network, consent_s=CONSENT_S)
        await self._peer.setLocalDescription(description)
        return str(self._peer.localDescription.sdp)

    async def connect(self, answer: str) -> None:
        """The target's side. Returns when media can be sent; raises `Failure`."""
        try:
            async with asyncio.timeout(CONNECTS_S):
                await self._peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
                waits = [asyncio.create_task(e.wait()) for e in (self._connected, self.left)]
                try:
                    first = asyncio.FIRST_COMPLETED
                    done, _ = await asyncio.wait(waits, timeout=HEARS_S, return_when=first)
                    if not done and not stack.heard(self._peer):
                        raise Failure(SILENT)
                    await asyncio.wait(waits, return_when=first)
                finally:
                    for wait in waits:
                        wait.cancel()
        except TimeoutError:
            raise Failure("no WebRTC connection to the target comes about") from None
        except _UNREADABLE:
            raise Failure("the target's answer cannot be used", refused=True) from None
        if "video" not in self._senders:
            raise Failure("the target takes no H.264", refused=True)

    def _changed(self) -> None:
        if self._peer.connectionState == "connected":
            self._connected.set()
        elif self._peer.connectionState in ("failed", "closed"):
            self.left.set()

    def _beginner(
        self, line: RTCRtpTransceiver
    ) -> Callable[[RTCRtpSendParameters, RTCDtlsTransport], None]:
        return lambda parameters, dtls: self._begin(line, parameters, dtls)

    def _begin(
        self, line: RTCRtpTransceiver, parameters: RTCRtpSendParameters, dtls: RTCDtlsTransport
    ) -> None:
        """The way is open: send."""
        if self._line is None:
            self._line = GatheringLine(dtls)
        self._cname = (parameters.rtcp.cname or "").encode()
        numbers = stack.own_numbers(line, parameters)
        sender = self._senders[line.kind] = RtpSender(self._line, numbers)
        track = self._tracks[line.kind]
        stack.register_sender(dtls, Feedback(numbers.ssrc, sender, track.ask), parameters)
        self._ssrcs.append(numbers.ssrc)
        sender.play(track)

    def _ask(self) -> None:
        now = time.monotonic()
        if now - self._asked_at > ASK_S:
            self._asked_at = now
            self._on_ask()

    def _report(self) -> None:
        for sender in self._senders.values():
            sender.report(self._cname)
        self._tick = asyncio.get_running_loop().call_later(REPORT_S, self._report)

    def send(self, packets: Sequence[Packet]) -> None:
        # Sound first: packets of which none is larger than the one before it fit into one call.
        kinds = [("video" if one.track.startswith("video/") else "audio", one) for one in packets]
        kinds.sort(key=itemgetter(0))
        with nullcontext() if self._line is None else self._line.gathered():
            for kind, packet in kinds:
                if kind in self._tracks:
                    self._tracks[kind].put(packet)
                    self.pictures += kind == "video"

    async def lost(self) -> Failure:
        await self.left.wait()
        return Failure(SILENT)

    async def close(self) -> None:
        self.stop()
        await self._peer.close()

    def stop(self) -> None:
        """Send no more."""
        self._tick.cancel()
        for sender in self._senders.values():
            sender.stop()
        if self._line is not None:
            for ssrc in self._ssrcs:
                self._line.control(goodbye(ssrc))
            self._line = None


def _nothing() -> None:
    """Sound has no key frames."""
