"""AAC in ADTS, as transport streams and Icecast carry it, made fit for MP4 and Matroska.

ADTS repeats a small header before every packet; the other containers want it once, up front, as
AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1). Headers are cut off, the sound stays as it was.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from streamgen.media.packet import Packet
from streamgen.media.tracks import AudioTrack

_RATES_HZ = (
    96_000,
    88_200,
    64_000,
    48_000,
    44_100,
    32_000,
    24_000,
    22_050,
    16_000,
    12_000,
    11_025,
    8_000,
    7_350,
)
_CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 8: 7}
_LOW_COMPLEXITY = 2


def described(track: AudioTrack) -> bool:
    """The description stands up front already, or the codec needs none."""
    return track.codec != "aac" or bool(track.stream.codec_context.extradata)


def describable(track: AudioTrack) -> bool:
    """The description can be written from what the demuxer found out.

    Only for plain low complexity AAC: what HE-AAC hides in its packets is known too late.
    """
    return (
        track.stream.codec_context.profile == "LC"
        and track.rate_hz in _RATES_HZ
        and track.channels in _CHANNELS
    )


def audio_specific_config(rate_hz: int, channels: int) -> bytes:
    """The two bytes that describe low complexity AAC."""
    bits = _LOW_COMPLEXITY << 11 | _RATES_HZ.index(rate_hz) << 7 | _CHANNELS[channels] << 3
    return bits.to_bytes(2, "big")


class AdtsCut:
    """Takes the headers off one track's packets. `template` describes what is left."""

    def __init__(self, track: AudioTrack) -> None:
        self._filter = BitStreamFilterContext("aac_adtstoasc", track.stream)
        self._nowhere = av.open(os.devnull, "w", format="null")
        self.template: Any = self._nowhere.add_stream_from_template(track.stream)
        config = audio_specific_config(track.rate_hz, track.channels)
        self.template.codec_context.extradata = config
        self._nowhere.start_encoding()

    def cut(self, packet: Packet) -> Packet | None:
        """The packet without its header; None for one that is not whole."""
        try:
            bare = self._filter.filter(packet.data)
        except av.FFmpegError:
            return None
        return replace(packet, data=bare[0]) if bare else None
