"""Access units are taken apart, and parameter sets are read as decoders read them."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.deliver.h264 import access_unit, parameters
from streamgen.errors import OutputError

from .conftest import encode_video

SPS = bytes.fromhex("6742c00dd90141fb0110000003001000000303c0f1426480")


def nal(kind: int, body: bytes = b"\x80\x11\x22") -> bytes:
    return bytes([0x60 | kind]) + body


def test_parameter_sets_delimiters_and_filler_leave_the_sample() -> None:
    units = [nal(9), nal(7), nal(8), nal(6), nal(5), nal(12), nal(5, b"\x00\x01\x02")]
    unit = access_unit(b"".join(b"\x00\x00\x00\x01" + one for one in units))
    kept = [nal(6), nal(5), nal(5, b"\x00\x01\x02")]
    assert unit.sample == b"".join(len(one).to_bytes(4, "big") + one for one in kept)
    assert (unit.sps, unit.pps, unit.idr) == (nal(7), nal(8), True)


def test_start_codes_of_three_and_four_bytes_and_trailing_zeros_are_no_data() -> None:
    data = b"\x00\x00\x01" + nal(1) + b"\x00\x00\x00\x01" + nal(1) + b"\x00\x00\x00"
    unit = access_unit(data)
    assert unit.sample == 2 * (len(nal(1)).to_bytes(4, "big") + nal(1))
    assert not unit.idr


@pytest.mark.parametrize("junk", [b"", b"\x00", b"no start code", b"\x00\x00\x01", nal(5)])
def test_what_is_no_annex_b_has_no_sample(junk: bytes) -> None:
    assert access_unit(junk).sample == b""


@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
@pytest.mark.parametrize("size", [(160, 90), (322, 182), (64, 48)])
def test_size_and_codec_are_the_encoder_s(profile: str, size: tuple[int, int]) -> None:
    options = {"preset": "veryfast", "profile": profile, "bf": "0"}
    done = encode_video(size=size, options=options, times=range(0, 9000, 3600))
    unit = access_unit(bytes(done.track.template.codec_context.extradata))
    found = parameters(unit.sps, unit.pps)
    assert (found.width, found.height) == size
    number = {"baseline": "42", "main": "4D", "high": "64"}[profile]
    assert found.codecs.startswith(f"avc1.{number}")


def test_the_shape_of_pixels_is_read() -> None:
    done = encode_video(size=(64, 48), times=range(0, 9000, 3600), sar=Fraction(16, 11))
    unit = access_unit(bytes(done.track.template.codec_context.extradata))
    found = parameters(unit.sps, unit.pps)
    assert found.shape == Fraction(16, 11)
    assert found.display == (93, 48)


def test_a_decoder_takes_our_configuration_record() -> None:
    done = encode_video(size=(64, 48), times=range(0, 36000, 3600))
    unit = access_unit(bytes(done.track.template.codec_context.extradata))
    context = av.CodecContext.create("h264", "r")
    context.extradata = parameters(unit.sps, unit.pps).record()
    shown = 0
    for packet in done.packets:
        shown += len(context.decode(av.Packet(access_unit(bytes(packet.data)).sample)))
    assert shown + len(context.decode(None)) == 10


@given(st.binary(max_size=40))
def test_any_bytes_are_a_parameter_set_or_an_output_error(data: bytes) -> None:
    try:
        parameters(SPS[:4] + data, b"\x68")
    except OutputError:
        return


def test_a_parameter_set_that_is_cut_off_is_refused() -> None:
    assert parameters(SPS, b"\x68").width > 0
    with pytest.raises(OutputError):
        parameters(SPS[:6], b"\x68")
