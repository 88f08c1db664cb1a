"""Packets to pictures with libavcodec, on the CPU, in the decoder's own memory."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import av
from av.error import FFmpegError

from streamgen.decode.interlace import SMALLEST_PX, Deinterlacer
from streamgen.errors import DecodeError, SourceError
from streamgen.media.color import LENT, MATRICES, UNTAGGED, ToI420, Transfer, color_of
from streamgen.media.frame import CPU, Color, Fence, Frame, Layout, Plane, plane_shapes
from streamgen.media.orientation import UPRIGHT, orientation_of, turned
from streamgen.media.packet import Packet
from streamgen.media.pool import Pool
from streamgen.media.tonemap import STANDARD, ToneMap
from streamgen.media.tracks import VideoTrack
from streamgen.telemetry import Clock, Telemetry

OUTPUT_CORRUPT = 1 << 3
"""AV_CODEC_FLAG_OUTPUT_CORRUPT: a damaged picture is better than a hole in the stream."""
MOST_WAITING = 64
"""Packets later than one that gave no picture, after which it is given up: more than frame threads
and reordering hold back (16 each)."""
_ALL_OR_NONE = frozenset({"h264", "hevc", "vvc"})
"""Codecs with any reordering: libavformat times none of their pictures where the container has no
presentation times. With the other ones, which reorder by one picture, it times the B-frames."""
DEFAULT_RATE = Fraction(25)
"""Pictures per second where neither the container nor the packets say."""


@dataclass(slots=True)
class _Announced:
    """What a packet said of its picture, kept until libavcodec gives it."""

    pts: int | None
    duration: int
    time_base: Fraction
    epoch: int
    discard: bool


class Surfaces(Protocol):
    """Memory of a device, where libavcodec's pictures are."""

    def lend(
        self, picture: av.VideoFrame, layout: Layout
    ) -> tuple[tuple[Plane, ...], Layout, Fence]:
        """Its planes, which keep the picture alive, their layout, and when their pixels are there.

        `layout` is what the picture says of its pixels."""
        ...


class FFmpegDecoder:
    """Decodes one video track; lends libavcodec's memory (`Decoder` protocol).

    Frames are I420, or NV12 and P010 where the codec gives them; their planes point into the
    `av.VideoFrame` that each holds alive, so no byte is copied. Every other format is converted
    and counted as `converted` by its name, interlaced pictures as `converted{interlaced}`, HDR as
    `converted{hdr}`, pictures that need to be turned otherwise than the track says as
    `converted{turned}`; `pool.meter` counts the bytes written. Damaged pictures are shown and
    counted as `corrupt{decode}`; packets that never gave a picture as `dropped{undecodable}`,
    exactly, so the caller counts nothing for a `DecodeError`. Pictures outside an edit list are
    left out.

    With `surfaces`, pictures are lent on a device, where nothing is converted. HDR and turned
    video are refused by `SourceError`; a picture that is HDR, of another format or turned in
    mid-stream is dropped as undecodable; an interlaced one is shown as it is, counted as
    `corrupt{interlaced}`.

    After `flush` a new epoch may begin. `low_delay` uses threads within a picture only: frame
    threads hold back one picture each. One thread calls.
    """

    def __init__(
        self,
        track: VideoTrack,
        *,
        pool: Pool,
        telemetry: Telemetry,
        threads: int = 0,
        clock: Clock | None = None,
        low_delay: bool = False,
        surfaces: Surfaces | None = None,
    ) -> None:
        if track.codec_context is None:
            raise SourceError(f"there is no decoder for {track.codec} video")
        if surfaces is not None and track.codec_context.color_trc in tuple(Transfer):
            raise SourceError("HDR video is converted on the processor")
        if surfaces is not None and track.rotation:
            raise SourceError("video that is to be turned stays on the processor")
        self._track = track
        self._context: av.VideoCodecContext = track.codec_context
        self._context.thread_type = "SLICE" if low_delay else "AUTO"
        self._context.thread_count = threads
        self._context.flags |= OUTPUT_CORRUPT
        self._pool = pool
        self._meter = pool.meter
        self._surfaces = surfaces
        self._count = telemetry.count
        self._now_ns = (clock or telemetry.clock).now_ns
        self._token = 0
        self._waiting: dict[int, _Announced] = {}
        self._untimed: list[int] = []
        """Decoding times of packets without a presentation time, smallest first."""
        self._last_pts = -1
        self._received_ns = self._last_received_ns = 0
        rate = track.rate or DEFAULT_RATE
        self._step = max(1, round(1 / (rate * track.time_base)))
        self._tags: dict[tuple[int | str, ...], tuple[Color, Layout | None]] = {}
        self._to_i420 = ToI420()
        self._orientation = UPRIGHT
        self._sar: Fraction | None = None
        """Of the pixels as stored; the track's is that of its first picture, turned."""
        self._tone_map: ToneMap | None = None
        self._deinterlacer: Deinterlacer | None = None

    def decode(self, packet: Packet) -> Sequence[Frame]:
        """Pictures that became ready, in presentation order. Raises `DecodeError`."""
        data = packet.data
        unit: av.Packet[Any] = data if isinstance(data, av.Packet) else _wrapped(packet)
        # Through libavcodec travels a number, not the time: it is unique where times may be
        # missing or doubled, and finds the packet of each picture through any reordering.
        self._token += 1
        unit.pts = unit.dts = self._token
        self._waiting[self._token] = _Announced(
            packet.pts,
            packet.duration,
            packet.time_base,
            packet.epoch,
            packet.discard,
        )
        self._received_ns = packet.received_ns or self._now_ns()
        if packet.pts is None:
            heapq.heappush(self._untimed, packet.dts or 0)
        if (oldest := next(iter(self._waiting))) < self._token - MOST_WAITING:
            self._give_up(oldest)
        try:
            pictures = self._context.decode(unit)
        except FFmpegError as error:
            raise DecodeError("a packet is damaged", pts=packet.pts) from error
        return self._frames(pictures)

    def flush(self) -> Sequence[Frame]:
        """What is still inside. Packets that gave no picture until now are counted as lost."""
        if not self._token:
            return []
        try:
            pictures = self._context.decode(None)
        except FFmpegError:
            pictures = []
        frames = self._frames(pictures)
        if self._deinterlacer is not None:
            held, self._deinterlacer = self._deinterlacer.flush(), None
            frames += self._shown(held)
        self._context.flush_buffers()
        for token in list(self._waiting):
            self._give_up(token)
        self._untimed.clear()
        return frames

    def _give_up(self, token: int) -> None:
        announced = self._waiting.pop(token)
        if announced.pts is None and self._untimed:
            heapq.heappop(self._untimed)
        if not announced.discard:
            self._count("dropped", "undecodable")

    def _frames(self, pictures: Sequence[av.VideoFrame]) -> list[Frame]:
        out: list[Frame] = []
        for picture in pictures:
            if self._surfaces is not None and picture.interlaced_frame:
                self._count("corrupt", "interlaced")
                out += self._shown((picture,))
            elif self._deinterlacer is None and not picture.interlaced_frame:
                out += self._shown((picture,))
            else:
                out += self._shown(self._progressive(picture))
        return out

    def _progressive(self, picture: av.VideoFrame) -> Sequence[av.VideoFrame]:
        """Once one picture was interlaced, all go through the filter: it keeps their order."""
        if min(picture.width, picture.height) < SMALLEST_PX:
            return (picture,)
        held: list[av.VideoFrame] = []
        filter_ = self._deinterlacer
        if filter_ is not None and filter_.key != _key(picture):
            held += filter_.flush()
            filter_ = None
        if filter_ is None:
            filter_ = self._deinterlacer = Deinterlacer(picture)
        if picture.interlaced_frame:
            self._count("converted", "interlaced")
            self._meter.copied("interlaced", _size_bytes(picture), len(picture.planes))
        held += filter_(picture)
        return held

    def _shown(self, pictures: Sequence[av.VideoFrame]) -> list[Frame]:
        out: list[Frame] = []
        for picture in pictures:
            announced = self._waiting.pop(picture.pts or 0, None)
            # A second picture from one packet was never announced; a hidden one is not shown.
            if announced is None or announced.discard:
                continue
            if picture.is_corrupt:
                self._count("corrupt", "decode")
            frame = self._frame(picture, announced)
            if frame is None:
                self._count("dropped", "undecodable")
            else:
                out.append(frame)
        return out

    def _frame(self, picture: av.VideoFrame, announced: _Announced) -> Frame | None:
        self._orientation = orientation_of(picture, self._orientation)
        color, layout = self._described(picture)
        ready = None
        if self._surfaces is not None:
            if layout is None or self._orientation != UPRIGHT:
                return None
            planes, layout, ready = self._surfaces.lend(picture, layout)
        else:
            if layout is None or picture.planes[0].line_size < 0:
                picture, color = self._converted(picture, color)
                layout = Layout.I420
            planes = _lent(picture, layout)
        pts = self._untimed_pts() if announced.pts is None else announced.pts
        self._last_pts, self._step = pts, announced.duration or self._step
        # A picture whose B-frames come after it cannot be shown sooner: its latency begins with
        # the packet that let it out, or a live stream would lose each of them for being late.
        self._last_received_ns = max(self._received_ns, self._last_received_ns + 1)
        frame = Frame(
            planes=planes,
            layout=layout,
            width=picture.width,
            height=picture.height,
            pts=pts,
            time_base=announced.time_base,
            duration=announced.duration,
            color=color,
            sar=self._stored_sar(),
            rotation=self._orientation.rotation,
            epoch=announced.epoch,
            received_ns=self._last_received_ns,
            ready=ready,
        )
        return frame if self._surfaces is not None else self._turned(frame)

    def _stored_sar(self) -> Fraction:
        if self._sar is None:
            quarters = (self._orientation.rotation - self._track.rotation) // 90
            self._sar = 1 / self._track.sar if quarters % 2 else self._track.sar
        return self._sar

    def _turned(self, frame: Frame) -> Frame:
        """All pictures need to be turned as the track does: what differs is turned here."""
        out = turned(frame, self._orientation, self._pool, rotation=self._track.rotation)
        if out is not frame:
            self._count("converted", "turned")
        return out

    def _untimed_pts(self) -> int:
        """Time of a picture whose packet had none, in presentation order.

        Where no packet has one, the decoding times in order are the presentation times. Where only
        B-frames have theirs (AVI, MPEG-PS), all others are shown one picture after their decoding,
        or later: it follows its predecessor.
        """
        following = self._last_pts + self._step
        if not self._untimed:
            return following
        at = heapq.heappop(self._untimed)
        if self._track.codec not in _ALL_OR_NONE and self._context.has_b_frames:
            at += self._step
        return at if at > self._last_pts else following

    def _described(self, picture: av.VideoFrame) -> tuple[Color, Layout | None]:
        """Colour, and the layout if the picture can be lent as it is."""
        tags = (
            picture.colorspace,
            picture.color_range,
            picture.color_primaries,
            picture.color_trc,
            picture.height,
            (picture.sw_format or picture.format).name,
        )
        if tags not in self._tags:
            matrix, range_, primaries, transfer, height, name = tags
            color = color_of(matrix, range_, primaries, transfer, height=height, pix_fmt=name)
            lent = (matrix in MATRICES or matrix in UNTAGGED) and transfer not in tuple(Transfer)
            self._tags[tags] = color, LENT.get(name) if lent else None
        return self._tags[tags]

    def _converted(self, picture: av.VideoFrame, color: Color) -> tuple[av.VideoFrame, Color]:
        if color.transfer in tuple(Transfer):
            out, color, kind = self._standard(picture, color), STANDARD, "hdr"
        else:
            (out, color), kind = self._to_i420(picture, color), picture.format.name
        self._count("converted", kind)
        self._meter.copied("converted", _size_bytes(out), 3)
        return out, color

    def _standard(self, picture: av.VideoFrame, color: Color) -> av.VideoFrame:
        tone_map = self._tone_map
        if tone_map is None or tone_map.key != (*_key(picture), color):
            tone_map = self._tone_map = ToneMap(picture, color)
        return tone_map(picture)


def _lent(picture: av.VideoFrame, layout: Layout) -> tuple[Plane, ...]:
    """The decoder's planes: each keeps the whole picture alive."""
    dtype = "uint16" if layout is Layout.P010 else "uint8"
    shapes = plane_shapes(layout, picture.width, picture.height)
    return tuple(
        Plane(plane.buffer_ptr, shape, plane.line_size, dtype, CPU, picture)
        for plane, shape in zip(picture.planes, shapes, strict=True)
    )


def _key(picture: av.VideoFrame) -> tuple[int, int, str]:
    return picture.width, picture.height, picture.format.name


def _size_bytes(picture: av.VideoFrame) -> int:
    return sum(plane.buffer_size for plane in picture.planes)


def _wrapped(packet: Packet) -> av.Packet[Any]:
    """Bytes from elsewhere, copied into the padded memory that libavcodec's readers need."""
    unit: av.Packet[Any] = av.Packet(packet.size_bytes)
    unit.update(bytes(packet.data))
    unit.is_keyframe = packet.keyframe
    return unit
