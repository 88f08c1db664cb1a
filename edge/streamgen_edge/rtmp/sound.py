"""Rate and channels from the decoder configuration of a sound track."""

from __future__ import annotations

_AAC_RATES = (
    96000,
    88200,
    64000,
    48000,
    44100,
    32000,
    24000,
    22050,
    16000,
    12000,
    11025,
    8000,
    7350,
)
_AAC_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)
_EXPLICIT_RATE = 15
_OPUS_HZ = 48000
_ADTS_HEADER = 7


def aac_format(config: bytes) -> tuple[int, int] | None:
    """Rate in Hz and channels of an AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1).

    Channels are 0 where they stand elsewhere. None for what is no such record.
    """
    if len(config) < 2 or config[0] >> 3 in (0, 31):
        return None
    index = (config[0] & 7) << 1 | config[1] >> 7
    if index == _EXPLICIT_RATE:
        if len(config) < 5:
            return None
        bits = int.from_bytes(config[1:5], "big")
        rate, channels = bits >> 7 & 0xFFFFFF, bits >> 3 & 0xF
    else:
        if index >= len(_AAC_RATES):
            return None
        rate, channels = _AAC_RATES[index], config[1] >> 3 & 0xF
    return rate, _AAC_CHANNELS[channels] if channels < len(_AAC_CHANNELS) else 0


def without_adts(body: memoryview) -> memoryview:
    """An AAC frame without the ADTS header that some encoders leave in (14496-3 1.A.2.2).

    No raw frame begins with its sync word: it would be an empty one.
    """
    if len(body) <= _ADTS_HEADER or body[0] != 0xFF or body[1] & 0xF6 != 0xF0:
        return body
    size = (body[3] & 3) << 11 | body[4] << 3 | body[5] >> 5
    header = _ADTS_HEADER if body[1] & 1 else _ADTS_HEADER + 2
    return body[header:] if size == len(body) > header else body


def opus_format(head: bytes) -> tuple[int, int] | None:
    """The same of an Opus identification header (RFC 7845 5.1): decoded at 48 kHz always."""
    if len(head) < 19 or head[:8] != b"OpusHead" or not head[9]:
        return None
    return _OPUS_HZ, head[9]


def flac_format(info: bytes) -> tuple[int, int] | None:
    """The same of FLAC's STREAMINFO, with or without the stream marker (RFC 9639 8.2)."""
    info = info[8:] if info[:4] == b"fLaC" else info
    if len(info) < 34:
        return None
    bits = int.from_bytes(info[10:13], "big")
    return bits >> 4, (bits >> 1 & 7) + 1
