"""`Intake`: what decodes the pictures of one session, and where they lie from then on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.decode.repeating import NoDecoder, Repeating
from streamgen.errors import ConfigError, SourceError
from streamgen.graph.slate import dark
from streamgen.media.blitter import Blitter
from streamgen.media.frame import CPU, Device
from streamgen.media.pool import FramePool, Pool
from streamgen.media.shared import SharedPool
from streamgen.media.tracks import VideoTrack
from streamgen.pipeline import Pipeline
from streamgen.protocols import Decoder, Hardware, Mode
from streamgen.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Intake:
    """On a device that is no processor if `hardware` says so; stages and rungs follow."""

    decoder: Decoder
    pool: Pool
    hardware: Hardware | None = None
    notes: Sequence[str] = ()

    @property
    def device(self) -> Device:
        return CPU if self.hardware is None else self.hardware.device

    @property
    def blitter(self) -> Blitter | None:
        return None if self.hardware is None else self.hardware.stages


def open_intake(
    pipeline: Pipeline,
    video: VideoTrack,
    mode: Mode,
    telemetry: Telemetry,
    hardware: Hardware | None = None,
) -> Intake:
    """Decode on the device, and keep the pictures there; what it cannot decode stays off it.

    Raises `ConfigError` for a live stream on a device, `SourceError` where nothing decodes.
    """
    notes: list[str] = []
    if hardware is not None:
        if mode is Mode.LIVE:
            # Slates, rehearsals and dissolves are drawn in host memory.
            raise ConfigError(f"a live stream runs on the processor, not on {hardware.device}")
        pool = hardware.pool
        try:
            return Intake(hardware.decoder(video, pool=pool, telemetry=telemetry), pool, hardware)
        except SourceError as error:
            notes.append(f"{error}: all is done on the processor")
    host = _pool(pipeline)
    return Intake(_decoder(video, host, mode, telemetry), host, notes=notes)


def _pool(pipeline: Pipeline) -> Pool:
    """Memory for pictures; shared memory where some stage runs in another process."""
    nodes, _ = pipeline.nodes()
    if any(spec.isolation == "process" for spec in nodes.values()):
        return SharedPool(sealed=True)
    return FramePool()


def _decoder(video: VideoTrack, pool: Pool, mode: Mode, telemetry: Telemetry) -> Decoder:
    live = mode is Mode.LIVE
    if video.codec_context is None and live:
        nothing = dark(pool, video.width, video.height, video.time_base, video.color)
        return Repeating(NoDecoder(), telemetry, first=nothing)
    decoder = FFmpegDecoder(video, pool=pool, telemetry=telemetry, low_delay=live)
    return Repeating(decoder, telemetry) if live else decoder
