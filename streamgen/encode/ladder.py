"""The ladder: one picture to every rung, each with its own encoder, key frames aligned."""

from __future__ import annotations

from collections.abc import Sequence

from streamgen.config import cores
from streamgen.encode.onboard import DeviceScaler
from streamgen.encode.rungs import (
    Encoding,
    PictureFormat,
    Plan,
    PlannedRung,
    Rung,
    ladder_problem,
    plan_rungs,
    same_rungs,
)
from streamgen.errors import EncodeError
from streamgen.media.frame import Frame
from streamgen.media.pool import CopyMeter, Pool
from streamgen.media.scaler import CascadeScaler
from streamgen.media.tracks import EncodedTrack
from streamgen.plugins import find
from streamgen.protocols import Encoder, Hardware, Mode

__all__ = [
    "Encoding",
    "Ladder",
    "PictureFormat",
    "Plan",
    "PlannedRung",
    "Rung",
    "encoder_threads",
    "ladder_problem",
    "plan_rungs",
    "same_rungs",
]


class Ladder:
    """All rungs of one stream, opened and ready.

    One thread calls `split` with marked pictures (`clock.py`); each encoder of `encoders` is then
    driven by a thread of its own, in the same order as `tracks` and the pictures of `split`. An
    encoder that raises `EncodeError` is broken for good; the others do not notice.
    """

    def __init__(
        self,
        rungs: Sequence[PlannedRung],
        picture: PictureFormat,
        encoding: Encoding,
        *,
        mode: Mode,
        pool: Pool,
        meter: CopyMeter,
        hardware: Hardware | None = None,
    ) -> None:
        """Open every encoder. Slow (some ms each). Raises `EncodeError` and `ConfigError`.

        A rung that `hardware` does not encode is encoded on the processor, as `refused` says.
        """
        self.encoders: list[Encoder] = []
        self.refused: dict[str, str] = {}
        """Why the device does not encode a rung, by its name."""
        threads = encoder_threads(encoding.threads, len(rungs))
        for rung in rungs:
            kind = find("encoder", rung.codec)
            if hardware is not None:
                try:
                    encoder = hardware.encoder(rung, picture, encoding, mode=mode, threads=threads)
                    self.encoders.append(encoder)
                    continue
                except EncodeError as error:
                    self.refused[rung.name] = str(error)
            self.encoders.append(kind(rung, picture, encoding, mode=mode, threads=threads))
        self.tracks: list[EncodedTrack] = [encoder.track for encoder in self.encoders]
        self._sizes = [(rung.width, rung.height) for rung in rungs]
        self._width = picture.width + picture.width % 2
        self._height = picture.height + picture.height % 2
        self._sar = picture.sar
        self._scaler: CascadeScaler | DeviceScaler = CascadeScaler(encoding.scaler, pool, meter)
        if hardware is not None:
            on_host = frozenset((r.width, r.height) for r in rungs if r.name in self.refused)
            self._scaler = DeviceScaler(hardware.ladder, on_host)

    def split(self, frame: Frame, rests: int = 0) -> list[Frame]:
        """The picture in the size of every rung, largest first, but for so many that rest.

        A rung of the picture's own size gets the same planes. A picture of another size or layout
        than planned is made to fit first (`CascadeScaler.fit`).
        """
        fitted = self._scaler.fit(frame, self._width, self._height, self._sar)
        return self._scaler.scale_all(fitted, self._sizes[rests:])


def encoder_threads(wanted: int, rungs: int) -> int:
    """Threads of each encoder: as wanted, or the cores shared out among the rungs.

    More would only fight: the rungs already run side by side, and so do decoder and network.
    """
    return wanted or max(1, cores() // rungs)
