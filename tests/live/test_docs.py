"""What docs/ tells people to type works as it stands there, against a real server."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgen.testing import synthetic_clip
from tests.certificates import certified, needs_openssl
from tests.gstreamer.installed import needing
from tests.live.serving import Publisher, Server, needs_ffmpeg
from tests.ports import free_port
from tests.test_docs import blocks

pytestmark = needs_ffmpeg
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

SENT = """
ffmpeg -loglevel error -re -f lavfi -i testsrc2=size=160x90:rate=25 -f lavfi -i sine=r=48000
-pix_fmt yuv420p -c:v libx264 -preset ultrafast -tune zerolatency -g 25 -c:a aac -f mpegts
"""


def lines(page: str, word: str) -> list[str]:
    """Commands of a page that begin with this word."""
    return [
        line
        for block in blocks(page)
        if block.language == "bash"
        for line in block.text.splitlines()
        if line.startswith(word)
    ]


def here(text: str, server: Server, name: str) -> str:
    """The same for this server, and a stream of this name."""
    text = text.replace("127.0.0.1:1935", f"127.0.0.1:{server.rtmp}")
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{server.http}")
    return re.sub(r"(/live|/whip|/whep|/hls)/me\b", rf"\1/{name}", text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with a clip."""
    synthetic_clip(tmp_path / "clip.mp4", width=320, height=180, frames=250)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plays(server: Server, command: str, name: str, *, until: int = 30) -> None:
    """The command runs, and its pictures come out."""
    words = shlex.split(here(command, server, name))
    with Path(f"{name}.log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        server.until(
            lambda: server.frames_out(name) > until or process.poll() is not None, name, 30
        )
        assert server.frames_out(name) > until, Path(f"{name}.log").read_text(errors="replace")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize("number", [0, 1])
def test_ffmpeg_publishes_as_the_page_says(server: Server, folder: Path, number: int) -> None:
    found = [line for line in lines("publishing.md", "ffmpeg") if "rtmp://" in line]
    assert len(found) == 2
    plays(server, found[number], f"typed-{number}")


@needs_openssl
def test_ffmpeg_publishes_by_whip_as_the_page_says(server: Server, folder: Path) -> None:
    newer = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    if b"whip" not in subprocess.run([newer, "-muxers"], capture_output=True).stdout:
        pytest.skip("this ffmpeg has no WHIP")
    [certificate] = lines("publishing.md", "openssl")
    subprocess.run(shlex.split(certificate), check=True, capture_output=True)
    [command] = [line for line in lines("publishing.md", "ffmpeg") if "-f whip" in line]
    plays(server, command.replace("ffmpeg", newer, 1), "typed-whip")


def test_gstreamer_publishes_as_the_page_says(server: Server, folder: Path) -> None:
    for element in ("x264enc", "voaacenc", "rtmp2sink"):
        if subprocess.call(["sh", "-c", f"gst-inspect-1.0 --exists {element} 2> /dev/null"]):
            pytest.skip(f"GStreamer has no {element}")
    [command] = lines("publishing.md", "gst-launch-1.0")
    plays(server, command, "typed-gst")


@needing("srtsrc", "tsdemux", "flvmux", "rtmp2sink", ffmpeg=True)
@pytest.mark.parametrize("program", ["gst-launch-1.0", "streamgen"])
def test_srt_comes_to_the_server_as_the_page_says(
    server: Server, folder: Path, program: str
) -> None:
    texts = [block.text.replace("\\\n", "") for block in blocks("gstreamer.md")]
    [command] = [text for text in texts if text.startswith(program) and "rtmp2sink" in text]
    port = free_port()
    command = command.replace("0.0.0.0:7001", f"127.0.0.1:{port}")
    command = command.replace("streamgen ", f"{sys.executable} -m streamgen.cli ", 1)
    to = f"srt://127.0.0.1:{port}?mode=caller&connect_timeout=30000"
    nothing = subprocess.DEVNULL
    sender = subprocess.Popen([*shlex.split(SENT), to], stdin=nothing, stderr=nothing)
    try:
        plays(server, command, f"typed-srt-{program[:3]}")
    finally:
        sender.kill()
        sender.wait()


def test_ffmpeg_keeps_what_it_watches_as_the_page_says(
    server: Server, folder: Path, publish: Callable[..., Publisher]
) -> None:
    publish("typed-watch")
    server.until(lambda: server.get("/hls/typed-watch/index.m3u8")[0] == 200, "the playlist")
    [command] = lines("watching.md", "ffmpeg")
    words = shlex.split(here(command, server, "typed-watch").replace("-t 10", "-t 3"))
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=40)
    assert done.returncode == 0 and Path("clip.mkv").stat().st_size > 10_000, done.stderr


def snippet(page: str, language: str) -> str:
    [text] = [block.text for block in blocks(page) if block.language == language]
    return text


@pytest.mark.browser
def test_the_lines_for_browsers_publish_and_play(server: Server, browser: Any) -> None:
    page = browser.new_page()
    try:
        page.goto(f"http://127.0.0.1:{server.http}/")
        publishing = here(snippet("publishing.md", "js"), server, "typed-js")
        page.evaluate("async () => {" + publishing + "; window.kept = peer; }")
        server.until(lambda: server.frames_out("typed-js") > 20, "the browser's pictures", 20)
        assert server.stream("typed-js")["publisher"]["protocol"] == "whip"
        playing = here(snippet("watching.md", "js"), server, "typed-js")
        page.evaluate(
            "async () => { document.body.innerHTML = '<video autoplay muted></video>';"
            + playing
            + "; window.played = peer; }"
        )
        page.wait_for_function(
            "() => { const v = document.querySelector('video');"
            " return v.videoWidth > 0 && v.currentTime > 1; }",
            timeout=20_000,
        )
    finally:
        page.close()


@pytest.mark.browser
def test_the_page_with_hls_js_plays_from_another_site(
    server: Server,
    browser: Any,
    publish: Callable[..., Publisher],
) -> None:
    script = Path(os.environ.get("STREAMGEN_TEST_HLSJS", "node_modules/hls.js/dist/hls.min.js"))
    if not script.is_file():
        pytest.skip("hls.js is not there (STREAMGEN_TEST_HLSJS names its file)")
    publish("typed-hls")
    server.until(lambda: server.get("/hls/typed-hls/index.m3u8")[0] == 200, "the playlist")
    text = here(snippet("watching.md", "html"), server, "typed-hls")
    named = '<script src="hls.min.js"></script>'
    assert named in text
    page = browser.new_page()
    try:
        page.set_content(text.replace(named, f"<script>{script.read_text()}</script>"))
        page.wait_for_function(
            "() => document.getElementById('video').currentTime > 2", timeout=20_000
        )
    finally:
        page.close()


@pytest.fixture
def proxy(server: Server, tmp_path: Path) -> Iterator[int]:
    """nginx with the file of the page; its port."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    cert, key = certified(tmp_path, "localhost")
    port = free_port()
    text = snippet("proxies.md", "nginx")
    for old, new in (
        ("127.0.0.1:8080", f"127.0.0.1:{server.http}"),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("live.example.org", "localhost"),
        ("/etc/streamgen/cert.pem", str(cert)),
        ("/etc/streamgen/key.pem", str(key)),
        ("/var/log/nginx/live.log", str(tmp_path / "access.log")),
    ):
        assert old in text
        text = text.replace(old, new)
    text = f"daemon off;\npid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\n{text}"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"    {kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds)
    (tmp_path / "nginx.conf").write_text(text.replace("http {\n", "http {\n" + folders, 1))
    process = subprocess.Popen([NGINX, "-c", str(tmp_path / "nginx.conf")], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as some:
                if some.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)
        assert process.stderr is not None
        process.stderr.close()


@needs_openssl
def test_what_hls_and_the_page_need_passes_nginx(
    server: Server, proxy: int, tmp_path: Path, publish: Callable[..., Publisher]
) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("curl or bash is not installed")
    publish("typed-proxy")
    server.until(lambda: server.get("/hls/typed-proxy/index.m3u8")[0] == 200, "the playlist")
    [check] = lines("proxies.md", "curl")
    place = f"localhost:{proxy}"
    loose = 'curl() { command curl --insecure --max-time 20 "$@"; }\n'
    text = check + "\n" + snippet("proxies.md", "sh")
    text = loose + text.replace("live.example.org", place).replace("/hls/me", "/hls/typed-proxy")
    text += f"""
curl -s -o /dev/null -w '%{{http_code}}\\n' -H 'Origin: https://{place}' 'https://{place}/?token=secret'
curl -s -o /dev/null -w '%{{http_code}}\\n' -H 'Origin: https://other.example' https://{place}/
curl -s -o /dev/null -w '%{{http_code}}\\n' -X PUT -d '{{"pipeline": "transcode"}}' \
  -H 'Content-Type: application/json' https://{place}/v1/streams/typed-next
curl -s -o /dev/null -w '%{{http_code}}\\n' -X POST --data-binary 'v=0' \
  -H 'Content-Type: application/sdp' https://{place}/whip/typed-none
"""
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60)
    health, held, hint, own, foreign, api, whip = done.stdout.splitlines()
    assert health == "2 200"
    waited = re.fullmatch(r"held for ([\d.]+) s", held)
    assert waited is not None and 0.05 < float(waited[1]) < 5, done.stdout + done.stderr
    assert re.fullmatch(r"announced part: 200 after [\d.]+ s", hint)
    assert (own, foreign, whip) == ("200", "403", "400")
    assert api == "403"  # nobody was named who may administer, and this is not this machine's own
    assert "secret" not in (tmp_path / "access.log").read_text()


def test_the_relay_of_the_page_lets_viewers_through(tmp_path: Path) -> None:
    turn = shutil.which("turnserver")
    if turn is None:
        pytest.skip("coturn is not installed")
    text = snippet("nat.md", "ini").replace("203.0.113.7", "127.0.0.1")
    text = re.sub(r"^(tls-listening-port|cert|pkey|min-port|max-port)=.*\n", "", text, flags=re.M)
    port = free_port()
    text = text.replace("listening-port=3478", f"listening-port={port}")
    text = text.replace("=shared-with-coturn", "=sesame")
    text += "no-tls\nno-dtls\nallow-loopback-peers\nlistening-ip=127.0.0.1\nrelay-ip=127.0.0.1\n"
    text += "min-port=42200\nmax-port=42300\nlog-file=stdout\n"
    text += f"pidfile={tmp_path}/pid\nuserdb={tmp_path}/db\n"
    (tmp_path / "turnserver.conf").write_text(text)
    with (tmp_path / "log").open("wb") as log:
        relay = subprocess.Popen(
            [turn, "-c", str(tmp_path / "turnserver.conf")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    code = "import asyncio, sys; from tests.edge.webrtc.test_relay import _watch_by_relay as watch"
    try:
        time.sleep(1)
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; print(len(asyncio.run(watch({port}))))"],
            capture_output=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            cwd=Path(__file__).resolve().parents[2],
        )
        assert done.returncode == 0, done.stderr.decode() + (tmp_path / "log").read_text()
    finally:
        relay.terminate()
        relay.wait(10)
