"""The process that runs a GStreamer pipeline; started by `process.py`, by Debian's own Python.

Imports nothing of streamgen. Standard input brings one line of JSON, and then nothing until the
parent ends, or ends us. What is said to the parent are lines of JSON, one object each:

    {"error": text, "missing": [element, ...], "debug": text}   the pipeline has failed
    {"note": text}                                              something the user should know
    {"warning": text, "debug": text}                            what a plugin warns of
    {"runs": true}                                              it could be built and started

The media never pass through Python: `fdsink` and `fdsrc` carry them.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, GObject, Gst  # noqa: E402  (the version comes first)

GRACE_S = 2.0
"""How long the first track waits for the others. A track that shows nothing is left out."""
AHEAD_NS, AHEAD_BYTES = 5_000_000_000, 64 << 20
"""What may wait of one track for another one: more than tracks are apart in any container."""
TICK_NS = 50_000_000
POLITE_S = 1.0
CONTAINERS = frozenset(
    {"video/mpegts", "video/x-matroska", "video/webm", "video/x-flv", "video/quicktime"}
    | {"video/x-msvideo", "video/mpeg", "application/ogg", "application/mxf"}
)
"""What the parent can take apart itself."""
ENDS_IN_CAPS = re.compile(r"!\s*[a-z]+/[\w.+-]+[^!]*$")
# Tenths of milliseconds, not milliseconds: Matroska rounds to them.
MATROSKA = {"streamable": True, "timecodescale": 100_000, "min-cluster-duration": 0}


class Broken(Exception):
    """The pipeline cannot be what the description says."""

    def __init__(self, text: str, missing: list[str] | None = None) -> None:
        super().__init__(text)
        self.missing = missing or []


class Voice:
    """Tells the parent; silent when it is gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._said = 0

    def say(self, **message: Any) -> None:
        self._said += 1
        if self._said <= 50:  # far below what the pipe holds: never waits for the parent
            text = json.dumps({k: v[:600] if isinstance(v, str) else v for k, v in message.items()})
            with suppress(OSError):
                os.write(self._fd, text.encode() + b"\n")


def make(factory: str, **properties: Any) -> Any:
    """An element. Raises `Broken` where it is not installed."""
    element = Gst.ElementFactory.make(factory, None)
    if element is None:
        raise Broken(f"no element '{factory}'", [factory])
    for name, value in properties.items():
        element.set_property(name.replace("_", "-"), value)
    return element


def parsed(description: str) -> Any:
    """The bin that a description stands for. Raises `Broken`."""
    context = Gst.ParseContext()
    flags = Gst.ParseFlags.FATAL_ERRORS
    try:
        return Gst.parse_bin_from_description_full(description, False, context, flags)
    except GLib.Error as error:
        missing = context.get_missing_elements() if error.code == 1 else None
        raise Broken(error.message, missing) from error


class Track:
    """One stream that the description leaves open, on its way to the muxer."""

    def __init__(self, kind: str, name: str, end: Any) -> None:
        self.kind = kind
        self.name = name
        self.end = end
        """The last pad of the chain, blocked at its first buffer."""
        self.ready = threading.Event()
        blocks = Gst.PadProbeType.BLOCK | Gst.PadProbeType.BUFFER
        self.probe = end.add_probe(blocks, self._arrived)

    def _arrived(self, pad: Any, info: Any) -> Any:
        self.ready.set()
        return Gst.PadProbeReturn.OK  # stays blocked until the probe is removed


class Collector:
    """Everything that a description leaves open, into `fdsink`: bytes of a container as they are,
    else each picture and sound track, depayloaded and parsed where needed, into Matroska."""

    def __init__(self, box: Any, fd: int, voice: Voice) -> None:
        self._box = box
        self._voice = voice
        self._sink = make("fdsink", fd=fd, sync=False)
        self._sink.set_property("async", False)
        box.add(self._sink)
        # The end of the pipeline is when all ends have ended: what is left out may never do so.
        self.ended = threading.Event()
        entry = self._sink.get_static_pad("sink")
        entry.add_probe(Gst.PadProbeType.EVENT_DOWNSTREAM, self._passing)
        self._mux: Any = None
        self._tracks: list[Track] = []
        self._waiting = 0
        """Elements that may show more pads."""
        self._lock = threading.Lock()
        self._since: float | None = None
        self.open = False
        elements = [e for e in all_of(box.iterate_elements()) if e is not self._sink]
        loose = [pad for e in elements for pad in e.srcpads if not pad.is_linked()]
        bytes_ = [pad for pad in loose if is_bytes(pad)]
        if bytes_:
            if len(loose) > 1:
                raise Broken("leaves several ends open, one of them a container's: join them")
            link(bytes_[0], self._sink.get_static_pad("sink"))
            self.open = True
            return
        for pad in loose:
            self._take(pad)
        for element in elements:
            if shows_pads(element):
                self._waiting += 1
                element.connect("pad-added", lambda _, pad: self._appeared(pad))
                element.connect("no-more-pads", lambda _: self._no_more())
        if not loose and not self._waiting:
            raise Broken("leaves no end open to take a picture from")

    def _appeared(self, pad: Any) -> None:
        if pad.direction == Gst.PadDirection.SRC and not pad.is_linked():
            try:
                self._take(pad)
            except Broken as error:
                self._voice.say(error=str(error), missing=error.missing)

    def _no_more(self) -> None:
        with self._lock:
            self._waiting -= 1

    def _take(self, pad: Any) -> None:
        caps = pad.get_current_caps() or pad.query_caps(None)
        chain = chain_for(caps)
        if chain is None or self.open:
            late = "came too late" if chain else "is of no kind that can be carried"
            self._voice.say(note=f"{pad.name} ({words(caps)}) is left out: it {late}")
            self._waste(pad)
            return
        kind, elements = chain
        queue = make("queue", max_size_buffers=0, max_size_bytes=AHEAD_BYTES)
        queue.set_property("max-size-time", AHEAD_NS)
        elements = [queue, *elements]
        for element in elements:
            self._box.add(element)
        for one, next_ in pairwise(elements):
            if not one.link(next_):
                raise Broken(f"{pad.name} ({words(caps)}) cannot be carried")
        track = Track(kind, f"{pad.name} ({words(caps)})", elements[-1].get_static_pad("src"))
        with self._lock:
            self._tracks.append(track)
        for element in reversed(elements):
            element.sync_state_with_parent()
        link(pad, queue.get_static_pad("sink"))

    def _passing(self, pad: Any, info: Any) -> Any:
        if info.get_event().type == Gst.EventType.EOS:
            self.ended.set()  # all before it has been written
        return Gst.PadProbeReturn.OK

    def tick(self) -> None:
        """Let everything flow once all tracks are there, or have had their time."""
        if self.open:
            return
        with self._lock:
            tracks, waiting = list(self._tracks), self._waiting
        ready = [track for track in tracks if track.ready.is_set()]
        if not ready:
            return
        now = time.monotonic()
        self._since = self._since or now
        if (waiting > 0 or len(ready) < len(tracks)) and now < self._since + GRACE_S:
            return
        self.open = True
        self._mux = make("matroskamux", **MATROSKA)
        self._box.add(self._mux)
        self._mux.link(self._sink)
        for track in ready:
            link(track.end, self._mux.request_pad_simple(f"{track.kind}_%u"))
        self._mux.sync_state_with_parent()
        for track in tracks:
            if track not in ready:
                self._voice.say(note=f"{track.name} is left out: nothing came of it")
                self._waste(track.end)
            track.end.remove_probe(track.probe)

    def _waste(self, pad: Any) -> None:
        """A pad that nobody takes would stop the whole demuxer when its queue is full."""
        sink = make("fakesink", sync=False)
        sink.set_property("async", False)
        self._box.add(sink)
        sink.sync_state_with_parent()
        link(pad, sink.get_static_pad("sink"))


def is_bytes(pad: Any) -> bool:
    """A container, or bytes that nobody has looked at."""
    caps = pad.query_caps(None)
    return caps.is_any() or (not caps.is_empty() and caps.get_structure(0).get_name() in CONTAINERS)


def shows_pads(element: Any) -> bool:
    """Whether it shows source pads later on that the description says nothing of."""
    sometimes = any(
        template.direction == Gst.PadDirection.SRC
        and template.presence == Gst.PadPresence.SOMETIMES
        for template in element.get_pad_template_list()
    )
    signal_id = GObject.signal_lookup("pad-added", element)
    return sometimes and not GObject.signal_has_handler_pending(element, signal_id, 0, True)


def chain_for(caps: Any) -> tuple[str, list[Any]] | None:
    """`video` or `audio`, and the elements that make of it what Matroska takes."""
    if caps.is_any() or caps.is_empty():
        return None
    names = [caps.get_structure(n).get_name() for n in range(caps.get_size())]
    first = caps.get_structure(0)
    if "video/x-raw" in names:
        return "video", [make("videoconvert"), limit("video/x-raw,format=I420")]
    if "audio/x-raw" in names:
        return "audio", [make("audioconvert"), limit("audio/x-raw,format=S16LE")]
    chain: list[Any] = []
    kind = names[0].partition("/")[0]
    if names[0] == "application/x-rtp":
        kind = first.get_string("media") or ""
        depay = fitting(Gst.ELEMENT_FACTORY_TYPE_DEPAYLOADER, caps)
        if depay is None:
            return None
        chain.append(depay)
        caps = depay.get_pad_template("src").get_caps()
    if names[0].startswith("image/"):
        kind = "video"
    if kind not in ("video", "audio"):
        return None
    parser = fitting(Gst.ELEMENT_FACTORY_TYPE_PARSER, caps)
    if parser is not None:
        chain.append(parser)
        caps = parser.get_pad_template("src").get_caps()
    wanted = Gst.ElementFactory.find("matroskamux")
    if wanted is None:
        raise Broken("no element 'matroskamux'", ["matroskamux"])
    taken = next(t for t in wanted.get_static_pad_templates() if t.name_template == f"{kind}_%u")
    if not caps.can_intersect(taken.get_caps()):
        return None
    return kind, [*chain, make("capsfilter", caps=taken.get_caps())]


def fitting(kind: Any, caps: Any) -> Any | None:
    """The element of this kind with the highest rank that takes these caps."""
    known = Gst.ElementFactory.list_get_elements(kind, Gst.Rank.MARGINAL)
    takes = Gst.ElementFactory.list_filter(known, caps, Gst.PadDirection.SINK, False)
    best = sorted(takes, key=lambda f: -f.get_rank())
    return best[0].create(None) if best else None


def limit(caps: str) -> Any:
    return make("capsfilter", caps=Gst.Caps.from_string(caps))


def words(caps: Any) -> str:
    """A stream's kind in a few words."""
    if caps.is_any() or caps.is_empty():
        return "unknown"
    first = caps.get_structure(0)
    return str(first.get_string("encoding-name") or first.get_name())


def link(source: Any, sink: Any) -> None:
    result = source.link(sink)
    if result != Gst.PadLinkReturn.OK:
        raise Broken(f"cannot join {source.name} to {sink.name} ({result.value_nick})")


def all_of(iterator: Any) -> list[Any]:
    found: list[Any] = []
    while True:
        result, item = iterator.next()
        if result != Gst.IteratorResult.OK:
            return found
        found.append(item)


def run(order: dict[str, Any], media: int, voice: Voice, stop: threading.Event) -> int:
    """0 at the end of the stream, 1 after an error that was told."""
    Gst.init(None)
    pipeline = Gst.Pipeline()
    collector = None
    try:
        if order["role"] == "source":
            # A description may end in caps, but GStreamer wants an element behind them.
            box = parsed(ENDS_IN_CAPS.sub(r"\g<0> ! identity", order["description"]))
            collector = Collector(box, media, voice)
        else:
            head = order["head"].replace("{fd}", str(media))
            box = parsed(f"{head} {order['description']}")
        pipeline.add(box)
        bus = pipeline.get_bus()
        if pipeline.set_state(Gst.State.PLAYING) != Gst.StateChangeReturn.FAILURE:
            voice.say(runs=True)
        return watch(bus, collector, voice, stop)
    except Broken as error:
        voice.say(error=str(error), missing=error.missing)
        return 1
    finally:
        pipeline.set_state(Gst.State.NULL)  # says goodbye to servers


def watch(bus: Any, collector: Collector | None, voice: Voice, stop: threading.Event) -> int:
    kinds = Gst.MessageType.ERROR | Gst.MessageType.EOS | Gst.MessageType.WARNING
    while not stop.is_set():
        message = bus.timed_pop_filtered(TICK_NS, kinds)
        if collector is not None:
            collector.tick()
            if message is None and collector.ended.is_set():
                return 0
        if message is None:
            continue
        if message.type == Gst.MessageType.EOS:
            return 0
        error, debug = (
            message.parse_error()
            if message.type == Gst.MessageType.ERROR
            else message.parse_warning()
        )
        detail = (debug or "").strip().splitlines()[1:]  # the first says where in GStreamer's code
        what = {"by": message.src.get_name(), "debug": " ".join(detail)}
        if message.type == Gst.MessageType.ERROR:
            voice.say(error=error.message, **what)
            return 1
        voice.say(warning=error.message, **what)
    return 0


def obey(stop: threading.Event) -> None:
    """Until standard input ends: the parent is gone, or wants us gone."""
    sys.stdin.buffer.read()
    stop.set()
    time.sleep(POLITE_S)
    os.killpg(0, signal.SIGKILL)  # what plugins started, and we


def main() -> int:
    media, told = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    voice = Voice(told)
    order = json.loads(sys.stdin.buffer.readline())
    stop = threading.Event()
    threading.Thread(target=obey, args=(stop,), daemon=True).start()
    return run(order, media, voice, stop)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
