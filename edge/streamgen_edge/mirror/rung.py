"""`RungCopy`: one rendition of another edge's stream, a rung or its sound, as HLS viewers have it
here. Its media come while anybody asks for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamgen.deliver.copying import Act, Position, Step, copy, position
from streamgen.deliver.h264 import parameters
from streamgen.deliver.live import LivePackager
from streamgen.deliver.live_playlist import Report
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.mirror.line import Line, Sub
from streamgen_edge.mirror.wire import UNDERSTOOD_NOT, What, read_steps

DOUBT = 2
"""The next home may have made the last segments, so many beside the growing one, in its own way."""
AGAIN_S = 1.0
"""What does not fit is asked for anew, this often at most."""
log = logging.getLogger("streamgen.edge.mirror")


class RungCopy:
    """On the loop's thread."""

    def __init__(
        self, stream: str, place: str, packager: LivePackager, telemetry: Telemetry, *, here: bool
    ) -> None:
        """`here`: it was packaged here until now, and its players stay."""
        self.asked = time.monotonic() if here else 0.0
        """When somebody asked for it last."""
        self.synced = here
        """All that the home has of it is here, or was when the home was lost."""
        self._stream, self._place = stream, place
        self._packager, self._telemetry = packager, telemetry
        self._rendition = packager.renditions[place]
        self._line: Line | None = None
        self._sub: Sub | None = None
        self._doubt = here
        """Another home than the one whose parts these are."""
        self._unfit = False
        """What is here does not fit what comes."""
        self._again = 0.0
        self._pending: tuple[dict[str, Any], list[bytes]] | None = None
        """What is only half there: nobody may see it."""

    @property
    def playable(self) -> bool:
        """There is some of it, fresh or not."""
        return self._rendition.window.ready

    def want(self, line: Line) -> None:
        """It comes by this line from now on."""
        if self._sub is None:
            self._line, self._sub = line, line.want(Sub(self._wanted, self._heard, _no_packet))

    def leave(self) -> None:
        """It comes no more. What is here stays."""
        if self._sub is not None and self._line is not None:
            self._line.unwant(self._sub)
        self._line = self._sub = self._pending = None

    def let_go(self) -> None:
        """Nobody needs it: what is here gets old."""
        self.leave()
        self.synced = False

    def end(self) -> None:
        """The session is over. What is only half here is fetched anew by who needs it."""
        self.leave()
        if not self.synced:
            self._rendition.forget()

    def give_up(self) -> None:
        """It is packaged here from now on, with what is fresh here."""
        self.leave()
        if not self.synced:
            self._rendition.forget()

    def moved(self) -> None:
        """It has another home."""
        self._doubt = True

    def _wanted(self) -> Mapping[str, Any]:
        self._pending = None
        wanted = {"stream": self._stream, "what": What.PARTS.value, "track": self._place}
        return {**wanted, "session": self._packager.start.session, "has": self._has()}

    def _has(self) -> Position | None:
        """What need not come again."""
        at = None if self._unfit else position(self._rendition.window)
        if self._doubt and at is not None:
            return None if at[0] <= DOUBT else (at[0] - DOUBT - 1, 0, True)
        return at

    # What comes.

    def _heard(self, message: Mapping[str, Any], frames: Sequence[bytes]) -> None:
        """Parts, or that all there are have come."""
        try:
            if message["type"] == "synced":
                self.synced, self._doubt = True, False
                self._packager.copied(self._place, self._rendition.reports)
            else:
                self._gather(message, frames)
        except UNDERSTOOD_NOT as error:
            log.warning("what came of %s does not fit: %s", self._stream, error)
            self._telemetry.count("mirror_resyncs", "unfit")
            self._anew()

    def _gather(self, message: Mapping[str, Any], frames: Sequence[bytes]) -> None:
        whole, data = self._pending or ({"steps": []}, [])
        whole = {**whole, **message, "steps": [*whole["steps"], *message["steps"]]}
        if message["more"]:
            self._pending = whole, [*data, *frames]
        else:
            self._pending = None
            self._publish(whole, read_steps(whole["steps"], [*data, *frames]))

    def _publish(self, message: Mapping[str, Any], steps: Sequence[Step]) -> None:
        rendition = self._rendition
        self._packager.breaks.update(int(number) for number in message.get("breaks", ()))
        if "parameters" in message:
            sps, pps = (bytes.fromhex(text) for text in message["parameters"])
            rendition.parameters = parameters(sps, pps)
        for step in steps:
            if step.act is Act.BEGIN and step.anew and not self._unfit:
                step = replace(step, anew=not rendition.cutter.bridge(step.number))
            copy(step, rendition.window)
        self._unfit = False
        reports = [Report(str(uri), (int(a), int(b))) for uri, a, b in message["reports"]]
        self._packager.copied(self._place, reports)

    def _anew(self) -> None:
        now = time.monotonic()
        if now - self._again < AGAIN_S or self._sub is None or self._line is None:
            return
        self._again, self._unfit = now, True
        self._line.again(self._sub)


def _no_packet(packet: Packet) -> None:
    """Its media come as parts."""
