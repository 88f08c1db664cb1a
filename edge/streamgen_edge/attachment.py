"""`Attachment`: a stream's hold on one worker, from `attach` until the worker ends or dies."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol

from streamgen.deliver.rendition import LiveTrack
from streamgen.ingest.link import SOUND, VIDEO, Description
from streamgen.media.credit import Intake, Item, Outflow, time_ms
from streamgen.media.envelope import Envelope, Kind
from streamgen.media.packet import Packet
from streamgen_edge.link import Link, WorkerSeen

NUMBERS = {VIDEO: 0, SOUND: 1}
TELL_MS = 150.0
"""Stream time after which the worker is told how far the edge has come."""
TELL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class OutTrack:
    """A track that a worker encodes, as it announced it."""

    name: str
    kind: str
    codec: str
    width: int
    height: int
    rate: Fraction | None
    bitrate_bps: int
    rate_hz: int
    channels: int
    config: bytes

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> OutTrack:
        rate = told["rate"]
        return cls(
            name=str(told["name"]),
            kind=str(told["kind"]),
            codec=str(told["codec"]),
            width=int(told["width"]),
            height=int(told["height"]),
            rate=None if rate is None else Fraction(*rate),
            bitrate_bps=int(told["bitrate_bps"]),
            rate_hz=int(told["rate_hz"]),
            channels=int(told["channels"]),
            config=bytes.fromhex(told["extradata"]),
        )

    @property
    def told(self) -> dict[str, Any]:
        """What `of` reads."""
        rate = self.rate
        return {
            "name": self.name,
            "kind": self.kind,
            "codec": self.codec,
            "width": self.width,
            "height": self.height,
            "rate": None if rate is None else [rate.numerator, rate.denominator],
            "bitrate_bps": self.bitrate_bps,
            "rate_hz": self.rate_hz,
            "channels": self.channels,
            "extradata": self.config.hex(),
        }

    def for_hls(self) -> LiveTrack | None:
        """As the packager wants it; None for what has no place in a ladder (Opus)."""
        if self.codec not in ("h264", "aac"):
            return None
        return LiveTrack(
            self.name,
            self.codec,
            self.bitrate_bps,
            rate=self.rate,
            config=self.config if self.kind == "audio" else b"",
            rate_hz=self.rate_hz or 48_000,
            channels=self.channels or 2,
        )


class Owner(Protocol):
    """The stream, as its attachment sees it."""

    def attached(self) -> None: ...

    def delivered(self, packet: Packet, received_ns: int) -> None: ...

    def told(self, message: Mapping[str, Any]) -> None:
        """Figures, answers, and rungs that broke off."""
        ...

    def unsent(self, packet: Packet, reason: str) -> None: ...

    def worker_ended(self, error: str) -> None: ...

    def worker_lost(self) -> None: ...


class Attachment:
    """Implements `link.Attached`. On the loop's thread."""

    def __init__(
        self, link: Link, worker: WorkerSeen, number: int, term: int, owner: Owner
    ) -> None:
        self.term = term
        self.worker = worker
        self.began = time.monotonic()
        self.tracks: list[OutTrack] = []
        self.notes: list[str] = []
        """What the worker says to people: rungs left out, sizes padded."""
        self.live = False
        """It was told everything that it needs; packets go straight to it."""
        self.outflow: Outflow | None = None
        self._link = link
        self._number = number
        self._owner: Owner | None = owner
        self._intake = Intake()
        self._told_bytes, self._told_ms = 0, 0.0
        self._described: tuple[int, Description] | None = None
        self._finished = False
        self._had_all = False
        """The mark behind the last of what the worker gave has come."""
        self._ended: Mapping[str, Any] | None = None
        """That the worker is done, which overtook some of what it gave."""
        worker.streams[number, term] = self

    def belongs_to(self, owner: Owner) -> None:
        """Another one hears of it from now on."""
        self._owner = owner

    def ask(self, message: Mapping[str, Any], head: bytes) -> bool:
        """Say `attach`; the answer is `Owner.attached` or `worker_ended`."""
        return self.say({"type": "attach", **message}, head)

    def say(self, message: Mapping[str, Any], *parts: bytes) -> bool:
        return self._link.say(
            self.worker, {**message, "stream": self._number, "term": self.term}, *parts
        )

    def send(self, packet: Packet, received_ns: int, sound: Description | None = None) -> None:
        """One packet of the publisher, whose `sound` is coded so."""
        if sound is not None and packet.track == SOUND and packet.size_bytes:
            self._describe(packet.epoch, sound)
        self._put(
            Item(NUMBERS[packet.track], packet, received_ns, packet.size_bytes, time_ms(packet))
        )

    def _describe(self, epoch: int, sound: Description) -> None:
        """How the sound of an epoch is coded; before its packets, once."""
        if self._described == (epoch, sound):
            return
        self._described = (epoch, sound)
        data = sound.codec.encode() + b"\0" + sound.extradata
        packet = Packet(data, None, None, 0, Fraction(1), True, SOUND, epoch)
        self._put(Item(NUMBERS[SOUND], packet, 0, 0, 0.0, Kind.DESCRIPTION))

    def finish(self) -> None:
        """Nothing more comes: the worker gives what is inside, then `worker_ended`."""
        self._finished = True
        packet = Packet(b"", None, None, 0, Fraction(1), True, VIDEO)
        self._put(Item(0, packet, 0, 0, 0.0, Kind.END))

    def leave(self) -> None:
        """Let go of the worker, whatever it has."""
        if self.worker.streams.get((self._number, self.term)) is self:
            self.say({"type": "detach"})
        self.forget()

    def forget(self) -> None:
        self._owner = None
        self.outflow = None
        self.worker.streams.pop((self._number, self.term), None)

    def _put(self, item: Item) -> None:
        if self.outflow is not None:
            self.outflow.put(item, time.monotonic_ns())
            self._link.pump(self.worker)

    def _lost(self, item: Item, reason: str) -> None:
        if self._owner is not None:
            self._owner.unsent(item.packet, reason)

    # `link.Attached`.

    def told(self, message: Mapping[str, Any]) -> None:
        owner = self._owner
        if owner is None:
            return
        match message["type"]:
            case "attached":
                self.tracks = [OutTrack.of(track) for track in message["tracks"]]
                self.notes = [str(note) for note in message["notes"]]
                self.outflow = Outflow(self._lost, videos=frozenset({NUMBERS[VIDEO]}))
                owner.attached()
            case "ended":
                if message.get("whole") and not self._had_all:
                    self._ended = message
                else:
                    self._over(owner, message)
            case _:
                owner.told(message)

    def _over(self, owner: Owner, message: Mapping[str, Any]) -> None:
        if message.get("stats"):
            owner.told({**message, "type": "stats"})
        if message.get("home"):
            owner.told({**message, "type": "home"})
        self.forget()
        if message["error"] or self._finished:
            owner.worker_ended(str(message["error"]))
        else:  # nobody asked for it: it stops, or had not heard of us for long
            owner.worker_lost()

    def received(self, envelope: Envelope) -> None:
        if envelope.kind is Kind.END:
            self._had_all = True
            if self._ended is not None and self._owner is not None:
                self._over(self._owner, self._ended)
            return
        if envelope.kind is not Kind.PACKET or envelope.track >= len(self.tracks):
            return
        packet = envelope.packet
        self._intake.consumed(packet, packet.size_bytes)
        size, at_ms = self._intake.consumed_bytes, self._intake.consumed_ms or 0.0
        if size - self._told_bytes > TELL_BYTES or not -TELL_MS < at_ms - self._told_ms < TELL_MS:
            self._told_bytes, self._told_ms = size, at_ms
            self.tell()
        if self._owner is not None:
            named = replace(packet, track=self.tracks[envelope.track].name)
            self._owner.delivered(named, envelope.received_ns)

    def tell(self) -> None:
        """Give the worker credit for all that has come: also for the last of it, so that it knows
        when nothing is under way."""
        news = self._intake.news()
        if news is not None:
            self.say({"type": "credit", "bytes": news[0], "ms": news[1]})

    def lost(self) -> None:
        owner = self._owner
        if owner is not None and self._ended is not None:
            self._over(owner, self._ended)
            return
        self.forget()
        if owner is not None:
            owner.worker_lost()

    def failed(self, error: str) -> None:
        owner = self._owner
        self.leave()
        if owner is not None:
            owner.worker_ended(error)
