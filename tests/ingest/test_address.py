"""Names are only names, and an input reaches nothing that it should not."""

from __future__ import annotations

import socket
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import av
import pytest

from streamgen.ingest.container import expand_inputs, open_source
from streamgen.testing import synthetic_clip
from tests.ingest.opening import PLAYLISTS, Serve, packets, refusal


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


@pytest.mark.parametrize("scheme", ["rtmp", "rtsp", "https"])
def test_a_server_that_accepts_and_says_nothing_is_left_in_time(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        refusal(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/live/a", timeout_s=0.3)
        assert time.monotonic() - began < 1.5


def test_nobody_at_the_address_is_said_so() -> None:
    assert "cannot be reached" in refusal("http://127.0.0.1:9/a.mp4", timeout_s=2)
    assert "127.0.0.1:9" in refusal("rtmp://user:pw@127.0.0.1:9/live/a", timeout_s=2)


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
