"""What may be opened: a user's text becomes an `Address`, or a clear refusal.

A file opens itself and nothing else: playlists on disk are refused, because they name other files.
An address on the network may lead to other addresses of its own kind (an HLS playlist to its
segments, a redirect), never to a file of this machine. libavformat enforces both through the
protocols and formats listed here; names are never handed to it in a form it could read as an
option, a pattern or another protocol.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streamgen.errors import SourceError
from streamgen.gstreamer.process import PREFIX, name_of

WEB = "http,https,httpproxy,tcp,tls,crypto"
PROTOCOLS = {
    "http": WEB,
    "https": WEB,
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtmpt": "rtmpt,ffrtmphttp,http,tcp",
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsp,rtsps,rtp,udp,tls,tcp",
}
"""By scheme: the libavformat protocols it may use."""
LIVE = ("rtmp", "rtmps", "rtmpt", "rtsp", "rtsps")
FORMATS = (
    "3gp,aac,ac3,aiff,amr,apng,asf,av1,avi,avs2,avs3,bmp_pipe,caf,cavsvideo,dirac,dnxhd,dv,eac3,evc,"
    "flac,flv,gif,gxf,h261,h263,h264,hevc,ivf,jpeg_pipe,live_flv,m4v,matroska,mjpeg,mjpeg_2000,mov,"
    "mp3,mp4,mpeg,mpegts,mpegvideo,mpjpeg,mxf,nsv,nut,obu,ogg,png_pipe,pva,rm,swf,tiff_pipe,vc1,"
    "vvc,wav,webm,webp_pipe,webvtt,wtv,yuv4mpegpipe"
)
"""Containers that hold what they show. No playlists, scripts, devices or text drawn as pictures."""
PLAYLIST_FORMATS = "hls,dash,rtsp"
PLAYLIST = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:#EXTM3U|ffconcat|v=0\r?\n|<\?xml[^>]*>\s*<MPD|<MPD|\[playlist\])"
)
"""How HLS, concat, SDP, DASH and PLS lists begin."""
HEAD_BYTES = 4096
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class Address:
    """One input that passed the checks."""

    text: str
    """As libavformat is given it."""
    name: str
    """For people: the file's name, or the URL without user, password and query."""
    protocols: str
    formats: str
    live: bool = False
    head: bytes = b""
    """First bytes of a regular file; empty for all else."""
    pipe: bool = False
    """Cannot seek, and blocks: read through `Pipe`."""

    @property
    def local(self) -> bool:
        """A regular file on this machine: it can be opened twice."""
        return bool(self.head)


def is_url(text: str) -> bool:
    """Something with a scheme, other than `file://`; and a `gst:` pipeline."""
    if is_pipeline(text):
        return True
    scheme = _URL.match(text)
    return scheme is not None and scheme[1].lower() != "file"


def is_pipeline(text: str) -> bool:
    """The description of a GStreamer pipeline."""
    return text.startswith(PREFIX)


def local_path(text: str) -> Path:
    """The path that `text` means: a plain path, or a `file://` URL."""
    if text.lower().startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    return Path(text)


def printable(name: str) -> str:
    """A name on one line: control characters and broken bytes as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def find(text: str) -> Address:
    """Check what `text` names. Raises `SourceError` in words for the user."""
    if text == "-":
        return Address("-", "standard input", "none", FORMATS, pipe=True)
    if is_pipeline(text):
        return Address(text, name_of(text), "none", FORMATS, live=True, pipe=True)
    return _remote(text) if is_url(text) else _local(local_path(text))


def _remote(text: str) -> Address:
    parts = urlsplit(text)
    scheme = parts.scheme.lower()
    if scheme not in PROTOCOLS:
        raise SourceError(
            f"cannot open {scheme}:// addresses (there are: {', '.join(sorted(PROTOCOLS))})"
        )
    host = parts.netloc.rpartition("@")[2]
    name = printable(f"{scheme}://{host}{parts.path}")
    formats = f"{FORMATS},{PLAYLIST_FORMATS}"
    return Address(text, name, PROTOCOLS[scheme], formats, live=scheme in LIVE)


def _local(path: Path) -> Address:
    name = printable(path.name or str(path))
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SourceError(f"{name}: is a directory, not a video")
        if stat.S_ISFIFO(mode):
            return Address(str(path.absolute()), name, "none", FORMATS, pipe=True)
        if not stat.S_ISREG(mode):
            raise SourceError(f"{name}: is a device or socket, not a video")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        raise SourceError(f"{name}: {_reason(error)}") from error
    if not head:
        raise SourceError(f"{name}: is empty")
    if PLAYLIST.match(head):
        raise SourceError(
            f"{name}: is a playlist, which may name any file of this machine; "
            "give the media files, or the playlist's http address"
        )
    # "file:" and an absolute path: nothing in the name can be taken for a protocol or an option.
    return Address("file:" + os.path.abspath(path), name, "file", FORMATS, head=head)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror.lower()})"
    return "is not a possible file name"
