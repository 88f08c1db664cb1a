"""WebRTC's sending half: a track is made into RTP payloads once, however many play it.

`RtpTrack` cuts a track's packets into payloads, keeps the last of them in a ring and sends each
piece on to its viewers, spread over some milliseconds. `RtpSender` numbers the pieces for one
viewer, and finds them again when the viewer misses one. The peer connection is a `Line`: it only
encrypts and sends. All on one event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from streamgen.deliver.congestion.rate import Rate
from streamgen.deliver.congestion.sent import Sent
from streamgen.deliver.media_clock import MediaClock
from streamgen.deliver.rtp import (
    MARKER,
    MASK32,
    PADDING,
    h264_payloads,
    pack_header,
    padding,
    sender_report,
)
from streamgen.deliver.wishes import MOST_ASKED, Wishes
from streamgen.media.packet import Packet

RING = 4096
"""Pieces kept for retransmission: 9 s at 4 Mbit/s, 1 s at 40."""
FRESH_NS = 300_000_000
"""A joiner gets the present GOP only when it is younger than this; it would play behind else."""
SLOT_S = 0.004
SLOTS = 5
"""A picture leaves within so many slots, in bursts of at least `BURST` pieces."""
BURST = 10
CATCH_UP = 24
"""Pieces of the cached GOP that a joiner gets in one slot."""
SPANS = 64
AGAIN = 64
"""Packets that are sent once more to fill a probe; the newest first."""
HEADER = 40
"""Bytes of each packet beside its payload: RTP with an extension, SRTP's tag, UDP's head."""
_PLAIN, _COUNTED = 0x80, 0x90

Piece = tuple[bytes, int, int]
"""Payload, RTP timestamp, and the marker bit in its place."""


class Line(Protocol):
    """One viewer's way out, encrypted; neither call waits."""

    def send(self, packets: list[tuple[bytes, bytes]]) -> bool:
        """RTP packets as header and payload. False: there was no room; some may be lost."""
        ...

    def control(self, packet: bytes) -> None:
        """One RTCP compound."""
        ...


Later = Callable[[float, Callable[[], None]], Any]
"""`loop.call_later`."""


class RtpTrack:
    """One track as RTP pieces, for all its viewers."""

    def __init__(
        self,
        *,
        video: bool,
        rate_hz: int,
        origin: int,
        clock: MediaClock,
        later: Later,
        ask: Callable[[], None],
    ) -> None:
        """`origin` is what time zero is called in RTP; rungs that viewers change between share it.
        `ask` is called for each wish for a key frame."""
        self.video = video
        self.rate_hz = rate_hz
        self.origin = origin
        self.clock = clock
        self.later = later
        self.ask = ask
        self.sent = 0
        """Index of the first piece that viewers have not been sent."""
        self.rate = Rate()
        self._viewers: list[RtpSender] = []
        self._ring: list[Piece] = [(b"", 0, 0)] * RING
        self._count = 0
        self._due: deque[tuple[int, int, bool]] = deque()
        self._due_pieces = 0
        self._pacing = False
        self._key = -1
        self._key_ns = 0

    def __len__(self) -> int:
        return len(self._viewers)

    def put(self, packet: Packet) -> None:
        """One packet of the track; a picture is Annex B without B-frames, its parameter sets in
        every key frame."""
        payloads = h264_payloads(bytes(packet.data)) if self.video else [bytes(packet.data)]
        if not payloads or packet.pts is None:
            return
        base = packet.time_base
        self.clock.begin(packet.pts, base)
        ticks = packet.pts * base.numerator * self.rate_hz // base.denominator  # no Fraction: fast
        timestamp = (self.origin + ticks) & MASK32
        first = self._count
        ring = self._ring
        for at, payload in enumerate(payloads, first):
            ring[at % RING] = (payload, timestamp, 0)
        self._count = first + len(payloads)
        if self.video:
            ring[(self._count - 1) % RING] = (payloads[-1], timestamp, MARKER)
        octets = sum(map(len, payloads)) + HEADER * len(payloads)
        self.rate.add(octets, self.clock.now_ns())
        if packet.keyframe and self.video:
            self._key, self._key_ns = first, self.clock.now_ns()
        self._due.append((first, len(payloads), packet.keyframe))
        self._due_pieces += len(payloads)
        if not self._pacing:
            self._slot()

    def _slot(self) -> None:
        """Send what belongs into this slot, and come again while there is more."""
        room = max(BURST, -(-self._due_pieces // SLOTS))
        while room > 0 and self._due:
            first, number, key = self._due.popleft()
            if key:
                for viewer in tuple(self._viewers):
                    viewer.at_key(self, first)
            now = min(number, room)
            if number > now:
                self._due.appendleft((first + now, number - now, False))
            pieces = self.pieces(first, now)
            for viewer in tuple(self._viewers):
                viewer.take(self, first, pieces)
            self.sent = first + now
            self._due_pieces -= now
            room -= now
        self._pacing = bool(self._due)
        if self._pacing:
            self.later(SLOT_S, self._slot)

    def pieces(self, first: int, number: int) -> list[Piece]:
        ring = self._ring
        begin = first % RING
        if begin + number <= RING:
            return ring[begin : begin + number]
        return [ring[at % RING] for at in range(first, first + number)]

    def has(self, index: int) -> bool:
        return max(0, self._count - RING) <= index < self._count

    def fresh_key(self) -> int | None:
        """Where the present GOP begins, when it is young enough to begin with."""
        young = self.clock.now_ns() - self._key_ns < FRESH_NS
        return self._key if self._key >= 0 and young and self.has(self._key) else None

    def join(self, viewer: RtpSender) -> None:
        if viewer not in self._viewers:
            self._viewers.append(viewer)

    def leave(self, viewer: RtpSender) -> None:
        if viewer in self._viewers:
            self._viewers.remove(viewer)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What was agreed for one media line of one viewer."""

    ssrc: int
    payload_type: int
    sequence: int
    """Of the first packet."""
    rtx: tuple[int, int, int] | None = None
    """SSRC, payload type and first sequence number of retransmissions (RFC 4588)."""
    sent: Sent | None = None
    """Each packet bears its number in the transport, too, and is kept here."""


class RtpSender:
    """One track to one viewer. Its numbers are unbroken whatever was left out or changed."""

    def __init__(self, line: Line, numbers: Numbers) -> None:
        self.packets = self.octets = self.dropped = 0
        """Of `dropped`: times that the viewer was too slow, and waited for the next key frame."""
        self.repaired = 0
        self.track: RtpTrack | None = None
        self._line = line
        self._numbers = numbers
        self._first = _PLAIN if numbers.sent is None else _COUNTED
        self._next = numbers.sequence
        self._next_rtx = numbers.rtx[2] if numbers.rtx else 0
        self._wanted: RtpTrack | None = None
        self._position: int | None = None
        """Index of the next piece; None: waits for a key frame."""
        self._spans: deque[tuple[int, RtpTrack | None, int]] = deque(maxlen=SPANS)
        self._wishes = Wishes(numbers.sent)
        self._waits = False

    def pause(self) -> None:
        """Nothing more of the present track until `play`, not even what is missing of it."""
        self._want(None)
        self._position = None
        self._spans.clear()
        self._wishes.forget()

    def _want(self, track: RtpTrack | None) -> None:
        if self._wanted is not None and self._wanted not in (self.track, track):
            self._wanted.leave(self)
        self._wanted = track

    def play(self, track: RtpTrack) -> None:
        """Begin, or change over at the next key frame of another rung."""
        begins = self.track is None
        self._want(track)
        track.join(self)
        key = track.fresh_key() if begins and track.video else None
        if key is not None:
            self._adopt(track, key)
            self._catch_up()
        elif not track.video:
            self._adopt(track, track.sent)
        else:
            track.ask()

    def stop(self) -> None:
        for track in (self.track, self._wanted):
            if track is not None:
                track.leave(self)
        self.track = self._wanted = None
        self._spans.clear()

    def at_key(self, track: RtpTrack, index: int) -> None:
        """A key frame of a track begins here."""
        if track is self._wanted and (track is not self.track or self._position is None):
            self._adopt(track, index)

    def _adopt(self, track: RtpTrack, index: int) -> None:
        former = self.track
        if former is not None and former is not track:
            former.leave(self)
        self.track = self._wanted = track
        self._position = index
        self._spans.append((self._next, track, index))

    def take(self, track: RtpTrack, first: int, pieces: list[Piece]) -> None:
        """Pieces for all; not for a viewer that waits, or still catches up."""
        if track is self.track and self._position == first:
            self._send(first, pieces)

    def _catch_up(self) -> None:
        track, position = self.track, self._position
        if track is None or position is None:
            return
        number = min(CATCH_UP, track.sent - position)
        if number > 0:
            if not track.has(position):
                self._position = None
                return
            self._send(position, track.pieces(position, number))
        if self._position is not None and self._position < track.sent:
            track.later(SLOT_S, self._catch_up)

    def _send(self, first: int, pieces: list[Piece]) -> None:
        sequence, ssrc = self._next, self._numbers.ssrc
        kind, start = self._numbers.payload_type, self._first
        packets = [
            (pack_header(start, kind | marker, at & 0xFFFF, timestamp, ssrc), payload)
            for at, (payload, timestamp, marker) in enumerate(pieces, sequence)
        ]
        octets = sum([len(payload) for payload, _, _ in pieces])
        self.packets += len(pieces)
        self.octets += octets
        self._wishes.sending(sequence, octets)
        self._next = sequence + len(pieces)
        self._position = first + len(pieces)
        if not self._line.send(packets):
            self.dropped += 1
            if self.track is not None and self.track.video:
                self._position = None

    def repair(self, lost: Iterable[int]) -> None:
        """Send again what the viewer says it misses."""
        track, last = self.track, self._next - 1
        if track is None:
            return
        numbers = (last - ((last - low) & 0xFFFF) for low in islice(lost, MOST_ASKED))
        due, wait_s = self._wishes.sort(numbers, track.clock.now_ns() // 1000)
        if wait_s is not None and not self._waits:
            self._waits = True
            track.later(wait_s, self._waited)
        packets = []
        for number in due:
            found = self._found(number)
            if found is None:
                continue
            if self._wishes.left < len(found[0]):
                break
            self._wishes.left -= len(found[0])
            packets.append(self._again(number & 0xFFFF, *found))
        self.repaired += len(packets)
        if packets:
            self._line.send(packets)

    def _waited(self) -> None:
        self._waits = False
        self.repair(())

    def _found(self, sequence: int) -> Piece | None:
        for begin, track, index in reversed(self._spans):
            if sequence >= begin:
                at = index + sequence - begin
                return track.pieces(at, 1)[0] if track is not None and track.has(at) else None
        return None

    def _again(
        self, number: int, payload: bytes, timestamp: int, marker: int
    ) -> tuple[bytes, bytes]:
        rtx = self._numbers.rtx
        if rtx is None:
            kind = self._numbers.payload_type | marker
            return pack_header(self._first, kind, number, timestamp, self._numbers.ssrc), payload
        ssrc, kind, _ = rtx
        header = pack_header(self._first, kind | marker, self._next_rtx & 0xFFFF, timestamp, ssrc)
        self._next_rtx += 1
        return header, number.to_bytes(2, "big") + payload

    def pad(self, octets: int) -> None:
        """Send about so many that the viewer does without (RFC 4588; RFC 3550, 5.1)."""
        packets = self._repeated(octets) if self._numbers.rtx else self._padding(octets)
        if packets:
            self._line.send(packets)

    def _repeated(self, octets: int) -> list[tuple[bytes, bytes]]:
        """The last packets once more."""
        packets: list[tuple[bytes, bytes]] = []
        newest = self._next - 1
        oldest = max(self._next - AGAIN, self._spans[-1][0]) if self._spans else self._next
        number = newest
        while octets > 0 and len(packets) < MOST_ASKED and number >= oldest:
            piece = self._found(number)
            if piece is None:
                break
            packets.append(self._again(number & 0xFFFF, *piece))
            octets -= len(piece[0]) + HEADER
            number = number - 1 if number > oldest else newest
        return packets

    def _padding(self, octets: int) -> list[tuple[bytes, bytes]]:
        """Packets of nothing, which have their place only between two pictures."""
        track, position = self.track, self._position
        if track is None or not position or not track.has(position - 1):
            return []
        _, timestamp, marker = track.pieces(position - 1, 1)[0]
        if not marker:
            return []
        number = min(MOST_ASKED, -(-octets // (PADDING + HEADER)))
        begin = self._next
        self._next += number
        if len(self._spans) > 1 and self._spans[-1] == (begin, track, position):
            self._spans.pop()
        else:
            self._spans.append((begin, None, 0))
        self._spans.append((self._next, track, position))
        kind, ssrc = self._numbers.payload_type, self._numbers.ssrc
        return padding(self._first, kind, range(begin, self._next), timestamp, ssrc)

    def trip_ms(self, last: int, delay: int) -> float | None:
        """Round trip by a receiver report's LSR and DLSR (RFC 3550, 6.4.1)."""
        read = self.track.clock.read(1) if self.track is not None and last else None
        if read is None:
            return None
        return ((read[0] >> 16) - last - delay & MASK32) / 65.536

    def report(self, cname: bytes) -> None:
        """Tell the viewer which moment its timestamps mean (RFC 3550, 6.4.1)."""
        track = self.track
        read = track.clock.read(track.rate_hz) if track is not None and self.packets else None
        if read is None or track is None:
            return
        self._line.control(
            sender_report(
                self._numbers.ssrc,
                ntp_time=read[0],
                timestamp=(track.origin + read[1]) & MASK32,
                packets=self.packets,
                octets=self.octets,
                cname=cname,
            )
        )
