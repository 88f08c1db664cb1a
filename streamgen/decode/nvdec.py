"""Packets to pictures on an NVIDIA GPU: NVDEC behind libavcodec, so that times are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import av
from av.codec.hwaccel import HWAccel
from av.error import FFmpegError

from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.errors import SourceError
from streamgen.media.frame import Device, Fence, Frame, Layout, Plane, plane_shapes
from streamgen.media.packet import Packet
from streamgen.media.pool import Pool
from streamgen.media.tracks import VideoTrack
from streamgen.telemetry import Telemetry

FORMATS = frozenset({"yuv420p", "yuvj420p", "yuv420p10le"})
"""What surfaces of NV12 and P010 hold."""


class Gpu(Protocol):
    """A GPU as its decoder knows it: `streamgen.cuda.gpu.Gpu`."""

    device: Device

    def enter(self) -> None:
        """Make its context that of the calling thread."""
        ...

    def acceleration(self) -> HWAccel:
        """libavcodec's way to it, by which pictures stay there."""
        ...

    def decoded(self) -> Fence:
        """Passes once all that libavcodec has started so far is done."""
        ...


class NvdecDecoder:
    """Decodes one video track (`protocols.Decoder`) as `FFmpegDecoder` does, to NV12 or P010.

    Pictures stay on the GPU: libavcodec copies each from NVDEC's surface into one of its own, which
    frames lend and keep. Parsing, order, times and errors are those of the processor's decoders.
    """

    def __init__(self, gpu: Gpu, track: VideoTrack, *, pool: Pool, telemetry: Telemetry) -> None:
        """Raises `SourceError` for what this GPU, or this build of libavcodec, does not decode."""
        given: Any = track.codec_context
        if given is None or given.pix_fmt not in FORMATS:
            raise SourceError(f"{gpu.device} decodes no {track.codec} of this format")
        gpu.enter()
        context = _context(gpu, track.codec)
        describe(context, given)
        self._gpu = gpu
        self._decoder = FFmpegDecoder(
            replace(track, codec_context=context),
            pool=pool,
            telemetry=telemetry,
            threads=1,  # threads wait for one another, and NVDEC for none of them
            surfaces=_Surfaces(gpu),
        )

    def decode(self, packet: Packet) -> Sequence[Frame]:
        """Pictures that are ready or soon will be, in presentation order. Raises `DecodeError`."""
        self._gpu.enter()
        return self._decoder.decode(packet)

    def flush(self) -> Sequence[Frame]:
        self._gpu.enter()
        return self._decoder.flush()


def _context(gpu: Gpu, codec: str) -> Any:
    """A decoder on the GPU. NVDEC itself is asked for only when the first picture comes."""
    try:
        context: Any = av.CodecContext.create(codec, "r", hwaccel=gpu.acceleration())
    except (FFmpegError, ValueError) as error:
        raise SourceError(f"{gpu.device} does not decode {codec}: {error}") from error
    if not context.is_hwaccel:
        raise SourceError(f"{gpu.device} does not decode {codec}")
    return context


def describe(context: Any, given: Any) -> None:
    """Tell a new decoder what the demuxer knows: headers, and colours that the pictures may not."""
    for name in ("extradata", "colorspace", "color_range", "color_primaries", "color_trc"):
        setattr(context, name, getattr(given, name))


class _Surfaces:
    """`decode.ffmpeg.Surfaces` of libavcodec's own pool on the GPU."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def lend(
        self, picture: av.VideoFrame, layout: Layout
    ) -> tuple[tuple[Plane, ...], Layout, Fence]:
        dtype = "uint16" if layout is Layout.P010 else "uint8"
        shapes = plane_shapes(layout, picture.width, picture.height)
        planes = tuple(
            Plane(plane.buffer_ptr, shape, plane.line_size, dtype, self._gpu.device, picture)
            for plane, shape in zip(picture.planes, shapes, strict=True)
        )
        # libavcodec works on the legacy default stream and waits for nothing.
        return planes, layout, self._gpu.decoded()
