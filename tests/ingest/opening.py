"""Opening real inputs in tests, and the words of those that do not open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamgen.errors import SourceError
from streamgen.ingest.container import open_source
from streamgen.media.packet import Packet

Serve = Callable[..., str]
"""Starts a server for the test's folder, or for a handler; gives its address."""
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "dash": '<?xml version="1.0"?>\n<MPD><BaseURL>{target}</BaseURL></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


def packets(text: str | Path, **options: Any) -> list[Packet]:
    source = open_source(str(text), **options)
    try:
        return list(source.packets())
    finally:
        source.close()


def refusal(text: str | Path, **options: Any) -> str:
    """Why an input was refused; one line without the library's words."""
    with pytest.raises(SourceError) as caught:
        packets(text, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert not any(word in message.lower() for word in ("avcodec", "avformat", "errno", "averror"))
    return message


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
