"""Where GStreamer's elements come from, on Debian."""

from __future__ import annotations

BINDING = "python3-gst-1.0"
"""Debian's package of GStreamer for Python; brings GStreamer itself."""
PACKAGES = {
    start: f"gstreamer1.0-{package}"
    for package, starts in {
        "plugins-base": "app audio decodebin ogg opus parsebin tcp theora uridecodebin video "
        "vorbis",
        "plugins-good": "aacparse ac3parse flv jack jpeg matroska mpegaudioparse multifile pulse "
        "qt rtp rtsp splitmux udp v4l2 vp8 vp9 ximage",
        "plugins-bad": "av1 decklink dvb faad h264 h265 hls mpegts opusparse rist rtmp sdp srt ts "
        "videoparse voaac webrtc x265",
        "plugins-ugly": "x264enc",
        "rtsp": "rtspclientsink",
        "libav": "avdec_",
        "alsa": "alsa",
        "nice": "nice",
        "pipewire": "pipewire",
        "libcamera": "libcamera",
    }.items()
    for start in starts.split()
}
"""By the beginning of an element's name; the longest beginning counts."""
_NOT_DEBIAN = ("ndi", "whip", "whep")
"""Beginnings of elements of gst-plugins-rs."""


def package_of(element: str) -> str:
    """Where an element that is missing comes from, in words for the user."""
    if element.startswith(_NOT_DEBIAN):
        return "it comes with gst-plugins-rs, which Debian 12 does not have"
    fitting = [start for start in PACKAGES if element.startswith(start)]
    if not fitting:
        return "is it spelled right? No package of Debian that we know has it"
    return f"Debian's package is {PACKAGES[max(fitting, key=len)]}"
