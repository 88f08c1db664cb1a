"""`Ledger`: what became of every picture of a stream, over all the workers that had it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol


class Gauges(Protocol):
    """What the ledger needs of telemetry."""

    def gauge(self, name: str, label: str, value: float) -> None: ...


class Ledger:
    """`frames_in == frames_out + sum(dropped)`, but for what is on its way."""

    def __init__(self, telemetry: Gauges) -> None:
        self._gauge = telemetry.gauge
        self.frames_in = 0
        """Pictures announced by packets on the timeline."""
        self.frames_out = 0
        """Pictures of the top rung that came back."""
        self._dropped: Counter[str] = Counter()
        self._report: Mapping[str, Any] = {}

    def drop(self, reason: str, number: int = 1) -> None:
        """Lost on this side of the link."""
        if number > 0:
            self._dropped[reason] += number

    def reported(self, report: Mapping[str, Any]) -> None:
        """The present worker's report so far."""
        self._report = report
        for name, value in report.get("latency_ms", {}).items():
            self._gauge("latency_ms", name, value)
        sound = report.get("audio")
        if sound:
            self._gauge("av_offset_ms", "sound", sound["av_offset_ms"])
        self._gauge("frames", "in", self.frames_in)
        self._gauge("frames", "out", self.frames_out)
        for reason, number in self.dropped.items():
            self._gauge("frames_dropped", reason, number)

    def close(self, reason: str, owed: int = 0) -> None:
        """The present worker is done: what it had and did not account for went with it, but for
        pictures that are `owed`: the next one has them, even those that were given up before."""
        last = self._report.get("dropped", {})
        self._dropped.update(last)
        self._report = {**self._report, "dropped": {}}
        gone = self.frames_in - self.frames_out - self._dropped.total() - owed
        for name in (*last, *reversed(self._dropped)):
            back = min(self._dropped[name], max(0, -gone))
            self._dropped[name] -= back
            gone += back
        self.drop(reason, gone)

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self._dropped + Counter(self._report.get("dropped", {})))

    def stats(self) -> dict[str, Any]:
        """The fields of `streamgen.report.Report`, with the whole stream's counts."""
        dropped = self.dropped
        return {
            **self._report,
            "frames_in": self.frames_in,
            "frames_out": self.frames_out,
            "dropped": dropped,
            "on_the_way": max(0, self.frames_in - self.frames_out - sum(dropped.values())),
        }
