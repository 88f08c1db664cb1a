"""A server with certificates: HTTP/2, RTMPS, and new certificates while everybody goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("granian", reason="granian is not installed")

from tests.certificates import certified, connected, needs_openssl, shown
from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = [
    needs_ffmpeg,
    needs_openssl,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]
CONFIG = """
pipeline: transcode
http: {{tls: {{cert: {folder}/now.pem, key: {folder}/now.key}}}}
rtmp: {{tls: {{cert: {folder}/now.pem, key: {folder}/now.key}}}}
"""


class Secured(Server):
    """A server whose certificate can be changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.use("first")
        super().__init__(folder, config=CONFIG.format(folder=folder))

    def use(self, name: str) -> str:
        """Make a certificate and put it where the server reads it."""
        files = certified(self.folder, name)
        for made, used in zip(files, ("now.pem", "now.key"), strict=True):
            shutil.copyfile(made, self.folder / used)
        return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(files[0].read_text()))

    def curl(self, path: str, *options: str) -> list[str]:
        """Version, status and body."""
        command = ["curl", "-sk", "-m", "10", "-w", "\n%{http_version} %{http_code}", *options]
        command.append(f"https://127.0.0.1:{self.http}{path}")
        told = subprocess.run(command, capture_output=True, text=True, timeout=20)
        body, _, line = told.stdout.rpartition("\n")
        return [*line.split(), body]

    def hang_up(self, said: str) -> None:
        before = self.log().count(said)
        self.process.send_signal(signal.SIGHUP)
        self.until(lambda: self.log().count(said) > before, said, 20)

    def frames_out(self, name: str) -> int:
        status, body = self.curl(f"/v1/streams/{name}")[1:]
        return int(json.loads(body)["stats"].get("frames_out", 0)) if status == "200" else 0


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    one = Secured(tmp_path)
    yield one
    one.stop()


class Player(threading.Thread):
    """Plays by blocking reloads on HTTP/2, one after the other, and writes down what fails."""

    def __init__(self, server: Secured, name: str) -> None:
        super().__init__()
        self.failures: list[list[str]] = []
        self.reloads = 0
        self._server = server
        self._over = threading.Event()
        text = server.curl(f"/hls/{name}/index.m3u8")[2]
        place = next(line for line in text.splitlines() if line and not line.startswith("#"))
        self._path = f"/hls/{name}/{place}"

    def run(self) -> None:
        query = ""
        while not self._over.is_set():
            version, status, text = self._server.curl(self._path + query, "--http2")
            if (version, status) != ("2", "200"):
                self.failures.append([version, status, text])
                continue
            self.reloads += 1
            first = int(re.findall(r"MEDIA-SEQUENCE:(\d+)", text)[0])
            query = f"?_HLS_msn={first + text.count('#EXTINF')}"

    def end(self) -> None:
        self._over.set()
        self.join(30)


def test_new_certificates_are_for_new_connections_and_nobody_is_dropped(secured: Secured) -> None:
    # RTMPS inside: ffmpeg publishes through it for the whole test.
    one = Publisher(secured, "tls", scheme="rtmps")
    player = None
    try:
        secured.until(lambda: secured.frames_out("tls") > 20, "motion", 30)
        secured.until(lambda: secured.curl("/hls/tls/index.m3u8")[1] == "200", "a playlist")
        assert secured.curl("/healthz", "--http2")[:2] == ["2", "200"]
        assert secured.curl("/healthz", "--http1.1")[:2] == ["1.1", "200"]
        player = Player(secured, "tls")
        player.start()
        secured.until(lambda: player.reloads > 2, "playing")
        second = secured.use("second")
        secured.hang_up("the configuration was read again")
        for port in (secured.http, secured.rtmp):
            with connected(port) as client:
                assert shown(client) == second
        (secured.folder / "now.pem").write_text("nonsense")
        secured.hang_up("the configuration stays as it was: cannot use the certificate")
        for port in (secured.http, secured.rtmp):
            with connected(port) as client:
                assert shown(client) == second
        reloads, out = player.reloads, secured.frames_out("tls")
        secured.until(lambda: player.reloads > reloads + 2, "playing that goes on")
        secured.until(lambda: secured.frames_out("tls") > out + 25, "motion that goes on")
        assert one.process.poll() is None
        player.end()
        assert player.failures == []
        assert secured.log().count("a publisher is here") == 1
        assert secured.stop() == 0
        assert "Traceback" not in secured.log() and '"trace"' not in secured.log()
    finally:
        if player is not None:
            player.end()
        one.close()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("http: {{tls: {{cert: {0}/other.pem, key: {0}/one.key}}}}", "cannot use the certificate"),
        ("rtmp: {{tls: {{cert: /nowhere.pem, key: {0}/one.key}}}}", "/nowhere.pem: No such file"),
        (
            "link: {{listen: '0.0.0.0:7000', key: /nowhere, workers: [" + "ab" * 32 + "]}}",
            "/nowhere",
        ),
        ("webrtc: {{listen: [localhost]}}", "write numeric addresses"),
        ("webrtc: {{turn: {{urls: 'turn:x'}}}}", "needs 'urls' and 'secret'"),
        (
            "auth: {{callback: 'https://10.1.2.3/x'}}",
            "auth.callback: 10.1.2.3 is a private address",
        ),
        ("http: {{listen: '127.0.0.1:1'}}", "http cannot listen at 127.0.0.1:1"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "edge"])
def test_what_cannot_start_says_why_in_one_line_and_leaves(
    tmp_path: Path, config: str, said: str, command: str
) -> None:
    if os.geteuid() == 0 and "cannot listen" in said:
        config, said = (
            "http: {{listen: '192.0.2.1:8080'}}\nauth: {{publish_keys: {{k: x}}}}\n",
            ("http cannot listen at 192.0.2.1:8080"),
        )
        config += "streams: {{a: {{publish: [k]}}}}"
    certified(tmp_path, "one")
    certified(tmp_path, "other")
    file = tmp_path / "streamgen.yaml"
    file.write_text(config.format(tmp_path))
    options = ["--link", str(tmp_path)] if command == "edge" else []
    told = subprocess.run(
        [sys.executable, "-m", "streamgen.cli", command, "--config", str(file), *options],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "STREAMGEN_RTMP__PORT": "0", "STREAMGEN_CACHE": str(tmp_path)},
        stdin=subprocess.DEVNULL,
    )
    assert told.returncode == 2, told.stderr
    (line,) = [line for line in told.stderr.splitlines() if said in line]
    assert line.startswith("streamgen: ")
    assert "Traceback" not in told.stderr
