"""`Paced`: a source at its own speed, as a live publisher sends it (ffmpeg's `-re`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from streamgen.errors import ConfigError
from streamgen.media.packet import Packet
from streamgen.protocols import Source
from streamgen.telemetry import Clock


class Paced:
    """Gives the packets of another source when they are due, by their decoding times.

    The first packet sets the beginning; one that is late is given at once, and those after it when
    they were due all along. Where time goes backwards, or leaps by more than `leap_s`, the pace
    begins anew. With `again` the source is opened anew each time it has ended, `loops` times in
    all (0: for ever), and times go on where they ended. Owns every source that it plays.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        *,
        again: Callable[[], Source] | None = None,
        loops: int = 1,
        leap_s: float = 5.0,
    ) -> None:
        if again is None and loops != 1:
            raise ConfigError("a source that cannot be opened again plays once")
        self.info = source.info
        self._source = source
        self._clock = clock
        self._again = again
        self._loops = loops
        self._leap = Fraction(leap_s)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._began_ns: int | None = None
        self._first = Fraction(0)
        self._last = Fraction(0)
        self._end = Fraction(0)
        """Of all that was played, in seconds of stream time."""

    def packets(self) -> Iterator[Packet]:
        """Packets when they are due; ends soon after `cancel`. Raises `SourceError`."""
        played = 0
        while not self._stopped.is_set():
            yield from self._once(self._end if played else Fraction(0), played == 0)
            played += 1
            if self._again is None or played == self._loops or self._stopped.is_set():
                return
            fresh = self._again()
            with self._lock:
                old, self._source = self._source, fresh
            old.close()

    def _once(self, start: Fraction, first_time: bool) -> Iterator[Packet]:
        """One pass, with all times moved so that it begins at `start`."""
        shift: Fraction | None = Fraction(0) if first_time else None
        for packet in self._source.packets():
            at = _time(packet)
            if shift is None and at is not None:
                shift = start - at
            moved = _moved(packet, shift or Fraction(0))
            if at is not None:
                at += shift or 0
                self._end = max(self._end, at + packet.duration * packet.time_base)
                self._wait(at)
            if self._stopped.is_set():
                return
            yield moved

    def _wait(self, at: Fraction) -> None:
        now_ns = self._clock.now_ns()
        if self._began_ns is None or not -self._leap < at - self._last < self._leap:
            self._began_ns, self._first = now_ns, at
        self._last = at
        due_ns = self._began_ns + round((at - self._first) * 1_000_000_000)
        if due_ns > now_ns:
            self._stopped.wait((due_ns - now_ns) / 1e9)

    def cancel(self) -> None:
        """End `packets()` soon, from another thread."""
        self._stopped.set()
        with self._lock:
            self._source.cancel()

    def close(self) -> None:
        with self._lock:
            self._source.close()


def _time(packet: Packet) -> Fraction | None:
    at = packet.dts if packet.dts is not None else packet.pts
    return None if at is None else at * packet.time_base


def _moved(packet: Packet, shift: Fraction) -> Packet:
    if not shift:
        return packet
    ticks = round(shift / packet.time_base)
    return replace(
        packet,
        pts=None if packet.pts is None else packet.pts + ticks,
        dts=None if packet.dts is None else packet.dts + ticks,
    )
