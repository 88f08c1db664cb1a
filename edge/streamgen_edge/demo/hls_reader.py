"""`HlsReader`: reads one rung of low-latency HLS by blocking reloads, each part as it is listed.

It has a part when a player could first have it. A player shows it later, by the hold-back that the
playlist asks for (`PART-HOLD-BACK`).
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from io import BytesIO
from typing import Any
from urllib.parse import urljoin, urlsplit

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from streamgen.errors import StreamGenError
from streamgen_edge.demo.media_playlist import MediaPlaylist, Part, attributes

TIMEOUT_S = 10.0
AGAIN_S = 0.1
Heard = Callable[[Part, bytes, bytes, float], None]
"""A part, its bytes and those of the initialisation section, and `time.monotonic` then."""


class HlsReader:
    """A thread of its own from `start` until `stop`, or the end of the playlist."""

    def __init__(self, url: str, heard: Heard, *, lowest: bool = False) -> None:
        """`url` is that of the multivariant playlist; the first rung is the highest."""
        self.first_s: float | None = None
        """From the first request to the first part."""
        self.error = ""
        self.listed: dict[int, tuple[str, float]] = {}
        """Segments by number: address and length."""
        self.changed: list[int] = []
        """Numbers that named something else before."""
        self.hold_back_s = 0.0
        self._url = url
        self._heard = heard
        self._lowest = lowest
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hls reader", daemon=True)
        self._line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(TIMEOUT_S)

    @property
    def holes(self) -> list[int]:
        """Numbers missing between the first and the last."""
        seen = self.listed
        return sorted(set(range(min(seen), max(seen))) - set(seen)) if seen else []

    def _run(self) -> None:
        began = time.monotonic()
        try:
            rung = self._rung()
            for part, data, init in self._parts(rung):
                now = time.monotonic()
                if self.first_s is None:
                    self.first_s = now - began
                self._heard(part, data, init, now)
        except (OSError, http.client.HTTPException, StreamGenError) as error:
            self.error = str(error) or type(error).__name__
        finally:
            self._line.close()

    def _rung(self) -> str:
        """Address of the rung's playlist, once there is one."""
        while True:
            status, body = self._get(self._url)
            uris = [line for line in body.decode().splitlines() if line and line[0] != "#"]
            if status == 200 and uris:
                return urljoin(self._url, uris[-1 if self._lowest else 0])
            if self._stopped.wait(AGAIN_S):
                raise StreamGenError("there was no playlist")

    def _parts(self, rung: str) -> Iterator[tuple[Part, bytes, bytes]]:
        playlist = self._playlist(rung, "")
        init = self._body(urljoin(rung, playlist.init))
        begins = [part for part in playlist.parts if part.independent]
        if not begins:
            raise StreamGenError("the playlist has no part to begin with")
        at = (begins[-1].number, begins[-1].index)
        while not self._stopped.is_set():
            for part in playlist.parts:
                if (part.number, part.index) >= at:
                    at = (part.number, part.index + 1)
                    if not part.gap:
                        yield part, self._body(urljoin(rung, part.uri)), init
            at = max(at, (playlist.next_number, 0))
            if playlist.ended:
                return
            playlist = self._playlist(rung, f"?_HLS_msn={at[0]}&_HLS_part={at[1]}")

    def _playlist(self, rung: str, query: str) -> MediaPlaylist:
        text = self._body(rung + query).decode()
        for line in text.splitlines():
            if line.startswith("#EXT-X-SERVER-CONTROL:"):
                self.hold_back_s = float(attributes(line).get("PART-HOLD-BACK", 0))
        playlist = MediaPlaylist.parsed(text)
        for segment in playlist.segments:
            now = (segment.uri, segment.duration_s)
            if self.listed.setdefault(segment.number, now) != now:
                self.changed.append(segment.number)
        return playlist

    def _body(self, url: str) -> bytes:
        while True:
            status, body = self._get(url)
            if status == 200:
                return body
            # A reload that was held for too long is asked for again (RFC 8216bis, 6.2.5.2).
            if status != 503 or self._stopped.wait(AGAIN_S):
                raise StreamGenError(f"{urlsplit(url).path}: {status}")

    def _get(self, url: str) -> tuple[int, bytes]:
        place = urlsplit(url)
        self._line.request("GET", place.path + (f"?{place.query}" if place.query else ""))
        answer = self._line.getresponse()
        return answer.status, answer.read()


class PartDecoder:
    """Pictures of parts that follow each other, beginning with an independent one."""

    def __init__(self) -> None:
        self._decoder: VideoCodecContext | None = None

    def packets(self, data: bytes, init: bytes) -> list[Any]:
        """The encoded pictures of one part or segment, in 1/90000 s of the output."""
        with av.open(BytesIO(init + data), "r", format="mp4") as container:
            stream = container.streams.video[0]
            if self._decoder is None:
                decoder: Any = av.CodecContext.create("h264", "r")
                decoder.extradata = stream.codec_context.extradata
                decoder.thread_count = 1
                decoder.options = {"flags": "+low_delay"}
                self._decoder = decoder
            return [packet for packet in container.demux(stream) if packet.size]

    def pictures(self, data: bytes, init: bytes) -> Iterator[tuple[VideoFrame, float]]:
        """Each with its time in the output, in seconds."""
        for packet in self.packets(data, init):
            assert self._decoder is not None and packet.pts is not None
            time_s = float(packet.pts * Fraction(packet.time_base))
            for frame in self._decoder.decode(packet):
                yield frame, time_s
