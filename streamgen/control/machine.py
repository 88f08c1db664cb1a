"""What this machine can do, found out by trying: open a real encoder, run a real network.

A name in a list says nothing: an encoder may be compiled in and its driver missing, a GPU may have
decoders and no encoder. Each `Finding` that does not work carries the reason.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from onnx import TensorProto, helper

from streamgen.config import cache_dir, cores
from streamgen.control.gpu import probe
from streamgen.control.probes import ask
from streamgen.deliver.gstreamer import GstOutlet
from streamgen.encode.ffmpeg import leave_real_time
from streamgen.errors import ModelError, StreamGenError
from streamgen.gstreamer.process import REGISTRY
from streamgen.ingest.gstreamer import GstPipe, PipelineEnded
from streamgen.media.frame import Layout
from streamgen.media.packet import Packet
from streamgen.media.pool import FramePool
from streamgen.media.tracks import EncodedTrack
from streamgen.plugins import RUNTIMES, find, models
from streamgen.protocols import ModelSpec
from streamgen.runtimes.engine import OUTPUTS, PLANES, EngineSettings

VIDEO_ENCODERS = (
    "libx264",
    "libx265",
    "libsvtav1",
    "h264_qsv",
)
AUDIO_ENCODERS = ("aac", "libopus")
DECODERS = (
    "h264",
    "hevc",
    "libdav1d",
    "vp9",
    "mpeg2video",
    "mpeg4",
    "prores",
    "aac",
    "mp3",
    "opus",
    "flac",
    "ac3",
)
SIZE_PX = 256
"""Hardware encoders refuse very small pictures."""
TRIED_S = 10.0
"""Longest wait for a pipeline of GStreamer."""
CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "i8mm")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried."""

    name: str
    kind: str
    """`machine`, `library`, `encoder`, `decoder`, `runtime`, `gpu`, `gstreamer`, `model`
    or `folder`."""
    works: bool
    detail: str
    """What it is when it works, the reason when it does not."""


def survey() -> list[Finding]:
    """Try everything. Takes a few seconds; writes nothing."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)  # the reason why a codec fails is only in the log
    try:
        return [
            *(*_hardware(), *_libraries(), *_codecs(), *_runtimes(), *_nvidia(), *_gstreamer()),
            *(*_models(), _cache()),
        ]
    finally:
        av.logging.set_level(before)


def _codecs() -> Iterator[Finding]:
    for name in VIDEO_ENCODERS:
        yield _tried(name, "encoder", _encode_video)
    for name in AUDIO_ENCODERS:
        yield _tried(name, "encoder", _encode_audio)
    for name in DECODERS:
        yield _tried(name, "decoder", _open_decoder)


def _hardware() -> Iterator[Finding]:
    model, flags = _processor()
    features = [feature for feature in CPU_FEATURES if feature in flags]
    yield Finding("cpu", "machine", True, f"{model} ({', '.join(features) or platform.machine()})")
    usable, present = cores(), os.cpu_count() or 1
    yield Finding("cores", "machine", True, f"{usable} of {present} usable")
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_AVPHYS_PAGES")
    detail = f"{pages * page / 2**30:.1f} GiB, {free * page / 2**30:.1f} GiB untouched"
    yield Finding("memory", "machine", True, detail)
    detail = f"{platform.python_implementation()} {platform.python_version()}"
    yield Finding("python", "machine", True, f"{detail} on {platform.system()}")


def _processor() -> tuple[str, set[str]]:
    """Model name and feature flags; Linux tells both in one file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    facts = {key.strip(): value.strip() for key, _, value in (li.partition(":") for li in lines)}
    name = facts.get("model name") or platform.machine()
    return name, set((facts.get("flags") or facts.get("Features") or "").split())


def _libraries() -> Iterator[Finding]:
    for name in ("av", "numpy"):
        try:
            yield Finding(name, "library", True, version(name))
        except PackageNotFoundError:
            yield Finding(name, "library", False, "not installed")
    for name, numbers in sorted(av.library_versions.items()):
        yield Finding(name, "library", True, ".".join(map(str, numbers)))


def _tried(name: str, kind: str, attempt: Callable[[str], str]) -> Finding:
    """One attempt. The library's own first complaint is the reason when it fails."""
    with av.logging.Capture() as said:
        try:
            return Finding(name, kind, True, attempt(name))
        except av.codec.codec.UnknownCodecError:
            return Finding(name, kind, False, "not compiled into the FFmpeg libraries")
        except (av.error.FFmpegError, StreamGenError) as error:
            reason = str(error)
    complaints = [text.strip() for level, _, text in said if level <= av.logging.ERROR]
    return Finding(name, kind, False, next(filter(None, complaints), reason))


def _encode_video(name: str) -> str:
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.time_base = SIZE_PX, SIZE_PX, Fraction(1, 25)
    formats = [f.name for f in encoder.codec.video_formats or []]
    encoder.pix_fmt = "yuv420p" if "yuv420p" in formats else "nv12"
    if name == "libx265":
        encoder.options = {"x265-params": "log-level=none"}
    size = 0
    for number in range(3):
        frame = VideoFrame(SIZE_PX, SIZE_PX, encoder.pix_fmt)
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts = number
        size += sum(packet.size for packet in encoder.encode(frame))
    size += sum(packet.size for packet in encoder.encode(None))
    leave_real_time()
    return f"3 pictures of {SIZE_PX}x{SIZE_PX} in {size} bytes"


def _encode_audio(name: str) -> str:
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.time_base = 48_000, "stereo", Fraction(1, 48_000)
    formats = encoder.codec.audio_formats or []
    encoder.format = formats[0].name
    encoder.open()
    size = sum(packet.size for packet in _silence(encoder))
    return f"{encoder.frame_size or 960} samples in {size} bytes"


def _silence(encoder: AudioCodecContext) -> list[Any]:
    """One frame of it."""
    frame = AudioFrame(encoder.format.name, encoder.layout.name, encoder.frame_size or 960)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate, frame.pts = encoder.sample_rate, 0
    return [*encoder.encode(frame), *encoder.encode(None)]


def _open_decoder(name: str) -> str:
    decoder = av.CodecContext.create(name, "r")
    decoder.open()
    return decoder.codec.long_name


def _runtimes() -> Iterator[Finding]:
    for name in sorted(RUNTIMES):
        try:
            yield Finding(name, "runtime", True, _run_network(name))
        except StreamGenError as error:
            yield Finding(name, "runtime", False, str(error))


def _run_network(name: str) -> str:
    """Build, compile and run the smallest network of the planes' contract."""
    runtime = find("runtime", name)
    engine = runtime(_pass_through(), width=64, height=64, settings=EngineSettings())
    pool = FramePool()
    given, got = (pool.take(Layout.I420, 64, 64).planes for _ in range(2))
    for plane in given:
        plane.array()[:] = 77
    try:
        engine.submit(
            dict(zip(PLANES, given, strict=True)), dict(zip(OUTPUTS, got, strict=True))
        ).fence.wait()
    finally:
        engine.close()
    if any((plane.array() != 77).any() for plane in got):
        raise ModelError("gives wrong pixels for a network that copies its input")
    return str(sys.modules[runtime.__module__].VERSION)


def _pass_through() -> bytes:
    byte = TensorProto.UINT8
    sides = {"y": ("h", "w"), "u": ("h2", "w2"), "v": ("h2", "w2")}
    inputs = [helper.make_tensor_value_info(n, byte, ["n", 1, *sides[n]]) for n in PLANES]
    outputs = [helper.make_tensor_value_info(f"{n}_out", byte, ["n", 1, *sides[n]]) for n in PLANES]
    nodes = [helper.make_node("Identity", [n], [f"{n}_out"]) for n in PLANES]
    graph = helper.make_graph(nodes, "pass-through", inputs, outputs)
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def _nvidia() -> Iterator[Finding]:
    yield _gpu()
    for answer in ask():
        yield Finding(answer.part, "gpu", answer.works, answer.detail)


def _gpu() -> Finding:
    """What a worker here would offer to a cluster."""
    found = probe()
    if isinstance(found, str):
        return Finding("nvidia", "gpu", False, found)
    engines = f"{found.decoders} decoders, {found.encoders} encoders"
    more = f", the first of {found.visible}" if found.visible > 1 else ""
    return Finding(
        "nvidia", "gpu", True, f"{found.name}, {found.memory_mb / 1024:.1f} GiB, {engines}{more}"
    )


def _gstreamer() -> Iterator[Finding]:
    """What every `gst:` needs, both ways. Other elements are named when one is missing."""
    with _nothing_kept():
        for name, attempt in (("gst: source", _read_pipeline), ("gst: output", _feed_pipeline)):
            try:
                yield Finding(name, "gstreamer", True, attempt())
            except (StreamGenError, PipelineEnded) as error:
                yield Finding(name, "gstreamer", False, str(error))


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """What GStreamer writes down of its plugins is thrown away."""
    if REGISTRY in os.environ:
        yield
        return
    with TemporaryDirectory() as folder:
        os.environ[REGISTRY] = str(Path(folder, "registry.bin"))
        try:
            yield
        finally:
            del os.environ[REGISTRY]


def _read_pipeline() -> str:
    pipe = GstPipe("gst:videotestsrc num-buffers=3", timeout_s=TRIED_S)
    try:
        with av.open(pipe, "r", format="matroska") as got:
            pictures = sum(packet.size > 0 for packet in got.demux(video=0))
    finally:
        pipe.close()
    return f"{pictures} pictures through a pipeline"


def _feed_pipeline() -> str:
    outlet = GstOutlet("gst:fakesink", timeout_s=TRIED_S)
    name, base = "audio/0", Fraction(1, 48_000)
    with av.open(os.devnull, "w", format="matroska") as template:  # with the header of its codec
        stream = template.add_stream("aac", rate=48_000)
        encoder = stream.codec_context
        template.start_encoding()
        try:
            outlet.open([EncodedTrack(name, "audio", "aac", base, stream)])
            for one in _silence(encoder):
                outlet.write(Packet(bytes(one), one.pts, one.dts, 1024, base, True, name))
            outlet.finish()
        finally:
            outlet.abort()
    return "sound through a pipeline"


def _models() -> Iterator[Finding]:
    for name, spec in sorted(models().items()):
        faults = [fault for precision in spec.files if (fault := _fault(spec, precision))]
        size = sum(path.stat().st_size for path in spec.files.values() if path.exists())
        detail = f"{', '.join(sorted(spec.files))}; {size / 1024:.0f} KiB"
        yield Finding(name, "model", not faults, "; ".join(faults) or detail)


def _fault(spec: ModelSpec, precision: str) -> str:
    """What is wrong with one file of a model; empty when it is as its manifest says."""
    path = spec.files[precision]
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"{precision}: {path.name}: {error.strerror}"
    wanted = spec.sha256.get(precision, found)
    return "" if found == wanted else f"{precision}: {path.name} is not the file of the manifest"


def _cache() -> Finding:
    """The cache folder, or the nearest folder above it that exists, must be writable."""
    folder = cache_dir()
    nearest = next((f for f in [folder, *folder.parents] if f.exists()), folder)
    works = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    return Finding("cache", "folder", works, str(folder) if works else f"cannot write in {nearest}")
