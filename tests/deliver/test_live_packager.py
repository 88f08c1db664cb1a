"""A live ladder in memory: playlists by the rules, media that decodes, names that never change."""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import replace
from fractions import Fraction

import av
import m3u8
import pytest

from streamgen.deliver.grid import NS, Grid
from streamgen.deliver.live import LivePackager, LiveSettings, LiveStart
from streamgen.deliver.rendition import _SILENCE, LiveTrack, Rendition
from streamgen.errors import ConfigError, OutputError
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry

from .live_packets import live_audio, live_video, mixed, moved
from .live_trace import Trace, read

START = LiveStart("s3cret", 1_700_000_000 * NS)
Line = tuple[LiveTrack, list[Packet]]


@pytest.fixture(scope="module")
def lines() -> tuple[Line, Line, Line]:
    return (
        live_video("video/180p", size=(320, 180), seconds=12),
        live_video("video/90p", size=(160, 90), seconds=12),
        live_audio(seconds=12),
    )


def packager(*lines: Line, telemetry: Telemetry | None = None, **more: int) -> LivePackager:
    settings = LiveSettings(**more)
    tracks = [track for track, _ in lines]
    return LivePackager(START, tracks, telemetry=telemetry or Telemetry(), settings=settings)


def filled(*lines: Line, telemetry: Telemetry | None = None, **more: int) -> LivePackager:
    made = packager(*lines, telemetry=telemetry, **more)
    for packet in mixed(*(packets for _, packets in lines)):
        made.write(packet)
    return made


def played(rendition: Rendition) -> av.container.InputContainer:
    """The rendition's media as one file."""
    pieces = rendition.window.pieces
    data = b"".join(part.data for piece in pieces for part in piece.parts)
    return av.open(io.BytesIO(rendition.window.headers[pieces[0].header] + data))


def test_every_playlist_of_a_stream_obeys_the_rules(lines: tuple[Line, ...]) -> None:
    made = packager(*lines, window_ns=5 * NS)
    whole = {place: Trace(2) for place in made.renditions}
    deltas = {place: Trace(2) for place in made.renditions}

    def poll(rendition: Rendition) -> None:
        place = rendition.track.place
        if rendition.window.ready:
            full = made.page(place, skip=False).text.decode()
            whole[place].poll(full)
            delta = deltas[place]
            delta.poll(made.page(place, skip=delta.polls > 0).text.decode())

    made.watch(poll)
    for packet in mixed(*(packets for _, packets in lines)):
        made.write(packet)
    made.end()
    for place, trace in whole.items():
        assert trace.polls > 30
        assert trace.hints_lost == 0
        assert sorted(trace.segments) == list(range(13))
        assert read(made.page(place, skip=False).text.decode()).ended
        assert {n: s.uri for n, s in deltas[place].segments.items()} == {
            n: s.uri for n, s in trace.segments.items()
        }


@pytest.mark.parametrize("shown", [122, 125, 129])
@pytest.mark.parametrize("burst", [1, 4], ids=["in time", "in bursts"])
def test_playlists_obey_the_rules_where_others_stand_in_for_pictures(
    shown: int, burst: int
) -> None:
    """Of a burst the worker takes the last two."""
    still = 15_000
    times = list(range(0, 3000 * shown, 3000))
    times += [times[-1] + still * n for n in range(1, 25) if -n % burst < 2]
    times += range(times[-1] + 3000, times[-1] + 2 * 90_000, 3000)
    cells = [Grid(0, 0).number(at * NS // 90_000) for at in times]
    keys = {at for at, one, last in zip(times, cells, [-1, *cells], strict=False) if one != last}
    track, packets = live_video(times=times, keys=keys)
    made = packager((track, packets))
    trace = Trace(0)
    made.watch(lambda r: r.window.ready and trace.poll(made.page("90p", skip=False).text.decode()))
    for packet in packets:
        made.write(packet)
    assert trace.polls > 20


def test_a_delta_update_is_shorter_and_says_how_much_it_leaves_out(
    lines: tuple[Line, ...],
) -> None:
    made = filled(*lines)
    delta = made.page("180p", skip=True).text.decode()
    assert "#EXT-X-SKIP:SKIPPED-SEGMENTS=6" in delta
    assert "#EXT-X-MAP" not in delta
    assert len(delta) < 0.8 * len(made.page("180p", skip=False).text)


def test_another_parser_reads_the_same(lines: tuple[Line, ...]) -> None:
    made = filled(*lines)
    found = m3u8.loads(made.page("180p", skip=False).text.decode())
    assert found.target_duration == 1
    assert found.media_sequence == 0
    assert found.server_control.can_block_reload == "YES"
    assert found.part_inf.part_target == pytest.approx(0.35)
    assert found.preload_hint.hint_type == "PART"
    assert len(found.rendition_reports) == 2
    assert [s.duration for s in found.segments if s.uri][:3] == [0.5, 0.5, 1.0]
    top = m3u8.loads(made.multivariant())
    assert [p.stream_info.resolution for p in top.playlists] == [(320, 180), (160, 90)]
    assert [p.uri for p in top.playlists] == ["s3cret/180p/index.m3u8", "s3cret/90p/index.m3u8"]
    assert [p.stream_info.frame_rate for p in top.playlists] == [30.0, 30.0]
    assert all(
        re.fullmatch(r"avc1\.42C0..,mp4a\.40\.2", p.stream_info.codecs) for p in top.playlists
    )
    assert [media.uri for media in top.media] == ["s3cret/audio-0/index.m3u8"]
    for rung in top.playlists:
        assert rung.stream_info.bandwidth >= 360_800
        assert rung.stream_info.average_bandwidth <= rung.stream_info.bandwidth


def test_a_query_follows_every_uri_of_the_top_playlist(lines: tuple[Line, ...]) -> None:
    top = m3u8.loads(filled(*lines).multivariant("token=a%2Fb"))
    uris = [p.uri for p in top.playlists] + [media.uri for media in top.media]
    assert len(uris) == 3
    assert all(uri.endswith("/index.m3u8?token=a%2Fb") for uri in uris)


def test_the_media_decodes_to_every_picture_at_its_time(lines: tuple[Line, ...]) -> None:
    made = filled(*lines)
    made.end()
    with played(made.renditions["180p"]) as file:
        shown = [frame.pts for frame in file.decode(video=0)]
        assert shown == [packet.pts for packet in lines[0][1]]
        assert file.streams.video[0].time_base == Fraction(1, 90_000)
    with played(made.renditions["audio-0"]) as file:
        sound = [packet.pts for packet in file.demux(audio=0) if packet.pts is not None]
        assert sound == [p.pts for p in lines[2][1] if p.pts is not None and p.pts >= 0]


def test_samples_hold_no_parameter_sets(lines: tuple[Line, ...]) -> None:
    made = filled(*lines)
    with played(made.renditions["90p"]) as file:
        for packet in file.demux(video=0):
            data, at = bytes(packet), 0
            while at < len(data):
                assert data[at + 4] & 0x1F not in {7, 8}
                at += 4 + int.from_bytes(data[at : at + 4], "big")


def test_dates_are_the_session_s_start_and_the_output_time(lines: tuple[Line, ...]) -> None:
    track, packets = lines[0]
    late = moved(packets, 100.5)
    start = LiveStart("s", 1_700_000_000 * NS, 100 * NS + NS // 2)
    made = LivePackager(start, [track], telemetry=Telemetry())
    for packet in late:
        made.write(packet)
    found = read(made.page("180p", skip=False).text.decode())
    assert [round(s.date - 1_700_000_000, 3) for s in found.segments[:4]] == [0, 0.5, 1.5, 2.5]


def test_a_packager_that_takes_over_makes_the_same_names_numbers_and_bytes(
    lines: tuple[Line, ...],
) -> None:
    packets = mixed(*(packets for _, packets in lines))
    first, second = packager(*lines), packager(*lines)
    for packet in packets:
        first.write(packet)
    for packet in packets:
        if packet.time_s >= 5.3:
            second.write(packet)
    for place, rendition in first.renditions.items():
        pieces = list(second.renditions[place].window.pieces)
        assert pieces[0].number in (7, 8)  # the first whole one
        assert pieces == list(rendition.window.pieces)[pieces[0].number :]
        assert second.renditions[place].window.headers == rendition.window.headers
        said = first.page(place, skip=False).text.decode().splitlines()
        again = second.page(place, skip=False).text.decode().splitlines()
        both = [line for line in again if line not in said]
        assert both == [f"#EXT-X-MEDIA-SEQUENCE:{pieces[0].number}"]


def test_sound_that_is_missing_is_silence(lines: tuple[Line, ...]) -> None:
    track, packets = lines[2]
    telemetry = Telemetry()
    kept = [p for p in packets if not 3 <= p.time_s < 5.5]
    made = filled((track, kept), telemetry=telemetry)
    made.end()
    with played(made.renditions["audio-0"]) as file:
        frames = list(file.decode(audio=0))
    assert [frame.samples for frame in frames] == [1024] * len(frames)
    steps = {b.pts - a.pts for a, b in itertools.pairwise(frames)}
    assert steps == {1024}
    quiet = [frame for frame in frames if 3.1 < (frame.pts or 0) / 48_000 < 5.4]
    assert len(quiet) > 100
    assert all(abs(frame.to_ndarray()).max() < 1e-3 for frame in quiet)
    assert telemetry.counts("hls")["silence"] == pytest.approx(2.5 * 48_000 / 1024, abs=2)


@pytest.mark.parametrize("channels", [1, 2])
def test_silence_decodes_to_silence(channels: int) -> None:
    config = bytes([0x11, 0x88 if channels == 1 else 0x90])
    track = LiveTrack("audio/0", "aac", 64_000, config=config, channels=channels)
    made = LivePackager(START, [track], telemetry=Telemetry())
    for number in (0, 400):  # between them, 399 frames are made up
        at, data = number * 1024, _SILENCE[channels]
        made.write(Packet(data, at, at, 1024, Fraction(1, 48_000), True, "audio/0"))
    made.end()
    with played(made.renditions["audio-0"]) as file:
        frames = list(file.decode(audio=0))
    assert len(frames) == 401
    assert {frame.layout.nb_channels for frame in frames} == {channels}
    assert all(not frame.to_ndarray().any() for frame in frames)


def test_a_rung_that_is_dropped_goes_on_as_gaps_while_the_others_play(
    lines: tuple[Line, ...],
) -> None:
    made = packager(*lines)
    trace = Trace(2)

    def poll(rendition: Rendition) -> None:
        if rendition.track.place == "180p" and rendition.window.ready:
            trace.poll(made.page("180p", skip=False).text.decode())

    made.watch(poll)
    for packet in mixed(*(packets for _, packets in lines)):
        dropped = packet.track == "video/180p" and 4.2 <= packet.time_s < 8.0
        if not dropped:
            made.write(packet)
        if packet.track == "video/90p" and packet.time_s == 4.2:
            made.drop("video/180p")
    gaps = [n for n, segment in trace.segments.items() if segment.gap]
    assert gaps == [5, 6, 7, 8, 9]
    assert made.renditions["180p"].window.position() == made.renditions["90p"].window.position()


def test_a_rung_that_stops_without_a_word_has_gaps_after_a_second(lines: tuple[Line, ...]) -> None:
    made = packager(*lines)
    for packet in mixed(*(packets for _, packets in lines)):
        if packet.track != "video/180p" or packet.time_s < 4:
            made.write(packet)
    window = made.renditions["180p"].window
    assert window.position()[0] >= made.renditions["90p"].window.position()[0]
    assert [piece.gap for piece in window.pieces][4:7] == [False, True, True]


def test_new_parameter_sets_bring_a_new_header_and_one_discontinuity_everywhere(
    lines: tuple[Line, ...],
) -> None:
    big = moved(live_video("video/180p", size=(352, 198), seconds=4)[1], 12)
    small = moved(live_video("video/90p", size=(176, 98), seconds=4)[1], 12)
    sound = moved(live_audio(seconds=4)[1], 12)
    made = packager(*lines)
    for packet in mixed(*(packets for _, packets in lines), big, small, sound):
        made.write(packet)
    for place in made.renditions:
        found = read(made.page(place, skip=False).text.decode())
        assert [s.number for s in found.segments if s.discontinuity] == [13]
        assert len({s.header for s in found.segments}) == (1 if place == "audio-0" else 2)
        Trace(2).poll(made.page(place, skip=False).text.decode())
    assert made.renditions["180p"].said.size == (352, 198)


def test_new_parameter_sets_within_a_segment_wait_for_the_next(lines: tuple[Line, ...]) -> None:
    track, packets = lines[0]
    telemetry = Telemetry()
    made = filled((track, packets), telemetry=telemetry)
    odd = moved(live_video("video/180p", size=(352, 198), seconds=3)[1], 11.5)
    made2 = packager((track, packets), telemetry=telemetry)
    for packet in [p for p in packets if p.time_s < 11.5] + odd:
        made2.write(packet)
    assert telemetry.counts("hls")["before_key_frame"] == 15
    assert made.breaks == set()
    assert made2.breaks == {13}


def test_discontinuities_that_left_the_window_are_counted(lines: tuple[Line, ...]) -> None:
    track, packets = lines[0]
    made = packager((track, packets), window_ns=3 * NS)
    trace = Trace(0)
    made.watch(lambda r: r.window.ready and trace.poll(made.page("180p", skip=False).text.decode()))
    other = moved(live_video("video/180p", size=(352, 198), seconds=6)[1], 6)
    for packet in [p for p in packets if p.time_s < 6] + other:
        made.write(packet)
    assert read(made.page("180p", skip=False).text.decode()).breaks == 1


def test_pictures_before_the_first_key_frame_and_sound_before_the_session_are_left_out(
    lines: tuple[Line, ...],
) -> None:
    telemetry = Telemetry()
    made = packager(*lines, telemetry=telemetry)
    _track, packets = lines[0]
    for packet in packets[5:10]:
        made.write(packet)
    made.write(replace(lines[2][1][1], pts=-1024, dts=-1024))
    made.write(replace(lines[2][1][1], pts=None, dts=None))
    assert telemetry.counts("hls") == {"before_key_frame": 5, "outside": 1, "without_time": 1}
    assert not made.renditions["180p"].window.pieces


def test_a_track_without_a_place_in_a_ladder_is_refused() -> None:
    for track in (
        LiveTrack("video/1p", "hevc", 1),
        LiveTrack("audio/0", "opus", 1, config=b"x"),
        LiveTrack("audio/0", "aac", 1),
        LiveTrack("audio/0", "aac", 1, config=b"x", channels=6),
    ):
        with pytest.raises(ConfigError):
            LivePackager(START, [track], telemetry=Telemetry())


def test_broken_parameter_sets_are_an_output_error(lines: tuple[Line, ...]) -> None:
    track, packets = lines[0]
    made = packager((track, packets))
    data = b"\x00\x00\x01\x67\x42\x00\x00\x01\x68\x80\x00\x00\x01\x65\x80"
    with pytest.raises(OutputError):
        made.write(replace(packets[0], data=data))
