"""Viewers that reach the server through a relay only, and a machine that has nothing but `lo`."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)

from tests.edge.webrtc.peers import looped
from tests.edge.webrtc.studio import ask
from tests.edge.webrtc.test_http import offer, open_app
from tests.ports import free_port

TURN = shutil.which("turnserver")


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[int]:
    """coturn on loopback; its port."""
    if TURN is None:
        pytest.skip("coturn is not installed")
    port = free_port()
    command = [TURN, "-n", "--no-cli", "--no-tls", "--no-dtls", "--use-auth-secret"]
    command += ["--static-auth-secret=sesame", "--realm=test", "--allow-loopback-peers"]
    command += ["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}"]
    command += ["--min-port=42000", "--max-port=42100", "--log-file=stdout"]
    command += [f"--pidfile={tmp_path / 'pid'}", f"--userdb={tmp_path / 'db'}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


async def _watch_by_relay(port: int) -> str:
    """Play through the relay whose password the answer to a first request told."""
    turn = {"urls": [f"turn:127.0.0.1:{port}?transport=udp"], "secret": "sesame"}
    async with open_app(turn=turn) as (app, _):
        first = await ask(app, "POST", "/whep/show", await offer())
        found = re.fullmatch(
            r'<(turn:\S+)>; rel="ice-server"; username="(\S+)"; credential="(\S+)"; .*',
            first.links[0],
        )
        assert found is not None
        server = RTCIceServer(urls=[found[1]], username=found[2], credential=found[3])
        peer = RTCPeerConnection(
            RTCConfiguration(iceServers=[server], iceTransportPolicy=RTCIceTransportPolicy.RELAY)
        )
        tracks: list = []
        peer.on("track", tracks.append)
        peer.addTransceiver("video", direction="recvonly")
        try:
            await peer.setLocalDescription(await peer.createOffer())
            text = peer.localDescription.sdp
            assert set(re.findall(r"typ (\w+)", text)) == {"relay"}
            answer = await ask(app, "POST", "/whep/show", text)
            await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
            for _ in range(10):
                await asyncio.wait_for(tracks[0].recv(), 8)
            return str(text)
        finally:
            await peer.close()


def test_a_viewer_behind_a_relay_plays_with_the_password_it_was_told(relay: int) -> None:
    assert "127.0.0.1" in asyncio.run(_watch_by_relay(relay))


@looped
async def test_loopback_is_offered_though_the_stack_leaves_it_out() -> None:
    async with open_app() as (app, _):
        answer = await ask(app, "POST", "/whep/show", await offer())
        assert set(re.findall(r"udp \d+ (\S+) \d+ typ", answer.text)) == {"127.0.0.1"}


def test_a_machine_with_nothing_but_loopback_plays_and_publishes() -> None:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("unshare or ip is not installed")
    tests = ["tests/edge/webrtc/test_whep.py", "tests/edge/webrtc/test_whip.py"]
    names = "share_one_subscription or undecoded"
    inner = (
        f'ip link set lo up && exec "{sys.executable}" -m pytest -q {" ".join(tests)} -k "{names}"'
    )
    done = subprocess.run(
        ["unshare", "--net", "--map-root-user", "sh", "-c", inner],
        capture_output=True,
        text=True,
        timeout=80,
        cwd=Path(__file__).resolve().parents[3],
        stdin=subprocess.DEVNULL,
    )
    if "unshare" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("this machine does not let us have a network of our own")
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr
