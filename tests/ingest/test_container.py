"""What opens, what is refused, and in which words."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamgen.errors import SourceError
from streamgen.ingest.container import expand_inputs, open_source
from streamgen.media.packet import Packet
from streamgen.testing import synthetic_clip


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


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return synthetic_clip(tmp_path / "clip.mp4", width=64, height=48, frames=10)


Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves the test's folder over HTTP; a handler may be given instead."""
    servers: list[ThreadingHTTPServer] = []

    def start(handler: Any = None) -> str:
        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        wanted = partial(Quiet, directory=str(tmp_path)) if handler is None else handler
        server = ThreadingHTTPServer(("127.0.0.1", 0), wanted)
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_file_tells_its_tracks_before_the_first_packet(clip: Path) -> None:
    info = open_source(str(clip)).info
    assert (info.name, info.video.codec, info.video.name) == ("clip.mp4", "h264", "video/0")
    assert (info.video.width, info.video.height) == (64, 48)
    assert (info.video.rate, info.video.frames) == (Fraction(25), 10)
    assert info.video.duration_s == pytest.approx(0.4)
    [sound] = info.audio
    assert (sound.name, sound.codec, sound.rate_hz, sound.channels) == ("audio/0", "aac", 48_000, 1)
    assert info.start == 0
    assert not info.live


def test_packets_carry_libavformats_own_data_and_no_end_marks(clip: Path) -> None:
    video = [p for p in packets(clip) if p.track == "video/0"]
    assert len(video) == 10
    assert all(isinstance(p.data, av.Packet) and p.size_bytes for p in video)
    assert [p.keyframe for p in video] == [True] + [False] * 9


def test_packets_outside_the_edit_list_are_marked(tmp_path: Path) -> None:
    times = [n - 4 for n in range(10)]
    clip = synthetic_clip(tmp_path / "a.mp4", frames=10, pts=times, audio=None)
    assert [p.discard for p in packets(clip)] == [True] * 4 + [False] * 6


def test_hidden_pictures_of_vp8_are_marked(tmp_path: Path) -> None:
    plain = synthetic_clip(
        tmp_path / "a.webm", width=64, height=48, frames=8, codec="libvpx", audio=None
    )
    hiding = tmp_path / "b.webm"
    with av.open(str(plain)) as source, av.open(str(hiding), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, unit in enumerate(p for p in source.demux() if p.size):
            data = bytearray(unit)
            data[0] &= 0xEF if number == 3 else 0xFF  # the bit show_frame
            copy: Any = av.Packet(bytes(data))
            copy.stream, copy.pts, copy.dts = stream, unit.pts, unit.dts
            copy.time_base, copy.is_keyframe = unit.time_base, unit.is_keyframe
            container.mux(copy)
    assert [p.discard for p in packets(hiding)] == [number == 3 for number in range(8)]


@pytest.mark.parametrize(
    "name", ["a:b.mp4", "-dash.mp4", "line\nbreak.mp4", "50%d %03d.mp4", "ünï 'q\".mp4", "a|b?.mp4"]
)
def test_any_file_name_is_only_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: Path, name: str
) -> None:
    clip.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(packets(name)) > 10
    assert expand_inputs([name]) == [name]
    assert "\n" not in open_source(name).info.name


def test_a_file_url_is_a_file(clip: Path) -> None:
    assert open_source(clip.as_uri()).info.name == "clip.mp4"


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def cover_art(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=48_000, layout="mono")
        cover: Any = container.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame(64, 64, "yuvj420p")))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        for n in range(20):
            frame.pts = n * 1024
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def no_pictures(path: Path) -> Path:
    """A whole file whose video track holds no picture."""
    with av.open(str(path), "w", options={"movflags": "empty_moov+frag_custom"}) as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


def without_index(path: Path) -> Path:
    whole = synthetic_clip(path.with_suffix(".whole.mp4"), width=64, height=48, frames=10)
    data = whole.read_bytes()
    return write(path, data[: data.index(b"moov") - 4])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "empty": (lambda path: write(path, b""), "is empty"),
    "directory": (lambda path: path.mkdir(), "is a directory"),
    "text": (lambda path: write(path, b"dear diary\n" * 500), "not a video"),
    "noise": (lambda path: write(path, bytes(range(256)) * 40), "not a video"),
    "zeros": (lambda path: write(path, bytes(10_000)), "not a video"),
    "moov-less": (without_index, "its index is missing"),
    "head only": (lambda path: write(path, b"\0\0\0\x20ftypisom"), "its index is missing"),
    "zero-frame": (no_pictures, "has no pictures"),
    "audio-only": (sound_only, "has sound but no video"),
    "cover-art-only": (cover_art, "only cover art"),
}


@pytest.mark.parametrize(("make", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_input_is_refused_in_one_clear_line(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "bad.mp4"
    make(path)
    message = refusal(path)
    assert words in message
    assert message.startswith("bad.mp4: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(clip: Path) -> None:
    clip.chmod(0)
    assert "permission denied" in refusal(clip)


def test_a_text_file_is_not_drawn_as_a_picture(tmp_path: Path) -> None:
    assert "not a video" in refusal(write(tmp_path / "a.txt", b"hello\n" * 1000))


def test_a_clip_cut_in_the_middle_gives_what_is_left(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.mkv", width=64, height=48, frames=50, audio=None)
    write(clip, clip.read_bytes()[: clip.stat().st_size // 2])
    assert 5 < len(packets(clip)) < 50


def test_the_larger_default_video_is_chosen_and_cover_art_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for width in (32, 96, 64):
            stream: Any = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
            streams.append(stream)
        for stream in streams:
            container.mux(stream.encode(av.VideoFrame(stream.width, 48, "yuv420p")))
            container.mux(stream.encode(None))
    source = open_source(str(path))
    assert source.info.video.width == 96
    assert [track.kind for track in source.info.data] == ["data", "data"]
    assert {p.track for p in source.packets()} == {"video/0"}


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "dash": '<?xml version="1.0"?>\n<MPD><BaseURL>{target}</BaseURL></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_a_playlist_on_disk_is_refused_by_name(
    tmp_path: Path, clip: Path, kind: str, name: str
) -> None:
    path = tmp_path / name
    path.write_text(PLAYLISTS[kind].format(target="/etc/passwd"))
    assert "is a playlist" in refusal(path)
    path.write_text(PLAYLISTS[kind].format(target=clip.name))
    assert "is a playlist" in refusal(path)


@pytest.mark.parametrize(
    "prefix", ["concat:", "subfile,,start,0,end,0,,:", "data:", "pipe:", "async:"]
)
def test_protocols_of_the_library_are_not_spoken(clip: Path, prefix: str) -> None:
    assert "no such file" in refusal(f"{prefix}{clip}")


@pytest.mark.parametrize("scheme", ["ftp", "gopher", "concat", "udp", "srt"])
def test_other_schemes_are_refused_by_name(scheme: str) -> None:
    assert f"cannot open {scheme}://" in refusal(f"{scheme}://127.0.0.1/a.mp4")


def test_a_file_is_read_over_http(clip: Path, serve: Serve) -> None:
    base = serve()
    source = open_source(f"{base}/clip.mp4?token=secret")
    assert source.info.name == f"{base}/clip.mp4"
    assert sum(p.track == "video/0" for p in source.packets()) == 10
    source.close()


def test_the_rotation_is_known_over_http_too(tmp_path: Path, serve: Serve) -> None:
    with av.open(str(tmp_path / "r.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(270)
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    source = open_source(f"{serve()}/r.mp4")
    assert source.info.video.rotation == 270
    source.close()


def test_an_unknown_sound_codec_is_listed_and_does_no_harm(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.mkv", width=64, height=48, frames=5)
    write(clip, clip.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    source = open_source(str(clip))
    assert source.info.audio == ()
    assert [(t.kind, t.codec) for t in source.info.data] == [("data", "unknown")]
    assert {p.track for p in source.packets()} == {"video/0"}


def test_a_playlist_on_the_network_plays_its_segments(tmp_path: Path, serve: Serve) -> None:
    synthetic_clip(tmp_path / "s.ts", width=64, height=48, frames=25, audio=None)
    (tmp_path / "l.m3u8").write_text(PLAYLISTS["hls"].format(target="s.ts"))
    assert len(packets(f"{serve()}/l.m3u8")) == 25


@pytest.mark.parametrize("form", ["file://{path}", "concat:{path}", "file:{path}", "{path}"])
def test_a_playlist_on_the_network_cannot_read_files_here(
    tmp_path: Path, serve: Serve, form: str
) -> None:
    secret = synthetic_clip(tmp_path / "s.ts", frames=25, audio=None)
    (tmp_path / "l.m3u8").write_text(PLAYLISTS["hls"].format(target=form.format(path=secret)))
    message = refusal(f"{serve()}/l.m3u8", timeout_s=2)
    assert message.startswith("http://127.0.0.1")


def redirecting(target: str) -> Any:
    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Redirect


def test_a_redirect_cannot_read_files_here(clip: Path, serve: Serve) -> None:
    assert refusal(f"{serve(redirecting(f'file://{clip}'))}/a.mp4", timeout_s=2)


def test_a_missing_page_and_a_silent_server_are_told_apart(serve: Serve) -> None:
    assert "the server refused it" in refusal(f"{serve()}/nothing.mp4")

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(1.5)

        def log_message(self, *_: object) -> None:
            pass

    began = time.monotonic()
    assert "no answer within 0.5 s" in refusal(f"{serve(Silent)}/a.mp4", timeout_s=0.5)
    assert time.monotonic() - began < 1.4


def test_nobody_at_the_address_is_said_so() -> None:
    assert "cannot be reached" in refusal("http://127.0.0.1:9/a.mp4", timeout_s=2)
    assert "127.0.0.1:9" in refusal("rtmp://user:pw@127.0.0.1:9/live/a", timeout_s=2)


def fed(path: Path, data: bytes, *, hold: threading.Event | None = None) -> threading.Thread:
    """A FIFO with a writer."""
    os.mkfifo(path)

    def feed() -> None:
        with path.open("wb") as fifo:
            fifo.write(data)
            if hold is not None:
                fifo.flush()
                hold.wait(5)

    writer = threading.Thread(target=feed)
    writer.start()
    return writer


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.mkv", width=64, height=48, frames=30)
    writer = fed(tmp_path / "fifo", clip.read_bytes())
    assert sum(p.track == "video/0" for p in packets(tmp_path / "fifo")) == 30
    writer.join()


def test_a_dash_is_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = synthetic_clip(tmp_path / "a.mkv", width=64, height=48, frames=10)
    with clip.open("rb") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert sum(p.track == "video/0" for p in packets("-")) == 10
        assert stdin.fileno() >= 0


def test_a_playlist_in_a_pipe_opens_nothing(tmp_path: Path, clip: Path) -> None:
    text = PLAYLISTS["hls"].format(target=clip)
    writer = fed(tmp_path / "fifo", text.encode())
    assert "not a video" in refusal(tmp_path / "fifo")
    writer.join()


def test_a_pipe_without_a_writer_times_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "no answer within 0.2 s" in refusal(tmp_path / "fifo", timeout_s=0.2)


def test_a_pipe_that_falls_silent_is_an_error_and_cancel_ends_it_at_once(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.ts", frames=50, audio=None)
    hold = threading.Event()
    writer = fed(tmp_path / "fifo", clip.read_bytes(), hold=hold)
    source = open_source(str(tmp_path / "fifo"), timeout_s=4)
    threading.Timer(0.2, source.cancel).start()
    began = time.monotonic()
    list(source.packets())
    assert time.monotonic() - began < 2
    source.close()
    hold.set()
    writer.join()


def test_cancel_ends_a_file_too(clip: Path) -> None:
    source = open_source(str(clip))
    stream = source.packets()
    next(stream)
    source.cancel()
    assert list(stream) == []


def test_a_directory_is_its_media_files_in_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "c.txt", "d.mov"):
        (tmp_path / name).touch()
    names = ["a.MKV", "b.mp4", "d.mov"]
    assert expand_inputs([str(tmp_path)]) == [str(tmp_path / n) for n in names]


def test_a_pattern_is_its_matches_in_order(tmp_path: Path) -> None:
    for name in ("2.mp4", "1.mp4", "x.mkv", "[1].mp4"):
        (tmp_path / name).touch()
    assert expand_inputs([f"{tmp_path}/?.mp4"]) == [f"{tmp_path}/1.mp4", f"{tmp_path}/2.mp4"]
    assert expand_inputs([f"{tmp_path}/[1].mp4"]) == [f"{tmp_path}/[1].mp4"]


def test_urls_and_standard_input_stay_as_they_are() -> None:
    assert expand_inputs(["-", "rtmp://a/b?c=*"]) == ["-", "rtmp://a/b?c=*"]


@pytest.mark.parametrize("text", ["nothing.mp4", "no*thing.mp4", "empty", "a\0b"])
def test_a_name_that_stands_for_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError):
        expand_inputs([text])
