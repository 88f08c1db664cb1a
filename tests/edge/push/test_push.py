"""A stream sent on by a process of its own: what arrives, and what it survives."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import av
import pytest

from streamgen.telemetry import Telemetry
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.push import push as module
from streamgen_edge.push import wire
from streamgen_edge.push.marks import Marks
from streamgen_edge.push.push import Push, State
from streamgen_edge.push.settings import PushSettings
from streamgen_edge.rtmp import RtmpServer
from streamgen_edge.rtmp.publisher import LOOPS
from tests.edge.push.show import lengths, playing, pushing
from tests.edge.rtmp.basket import Basket, Owner
from tests.edge.rtmp.peer import until
from tests.edge.webrtc.peers import looped
from tests.ports import free_port

SECRET = "c4nary"
NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
needs_nginx_rtmp = pytest.mark.skipif(
    shutil.which("nginx") is None or not NGINX_MODULE.exists(),
    reason="nginx with its RTMP module is not installed",
)


async def serving(owner: Owner, port: int = 0) -> tuple[RtmpServer, str]:
    server = RtmpServer(f"127.0.0.1:{port}", owner)
    await server.start()
    return server, f"rtmp://127.0.0.1:{server.port}/live/there?token={SECRET}"


def decoded(basket: Basket) -> int:
    """Pictures that a decoder makes of what came."""
    codec = av.CodecContext.create("h264", "r")
    codec.extradata = basket.tracks[0].extradata
    packets = [av.Packet(bytes(one.data)) for one in basket.of("video/0")]
    return sum(len(codec.decode(one)) for one in [*packets, None])


@looped
async def test_a_stream_arrives_with_picture_and_sound() -> None:
    owner = Owner(token=SECRET)
    server, url = await serving(owner)
    async with playing() as show, pushing(show, url) as push:
        await until(lambda: owner.baskets and len(owner.basket.of("video/0")) > 60)
        facts = push.facts()
        await until(lambda: push.pictures > 50)
    basket = owner.basket
    await until(lambda: basket.end is not None)
    await server.close()
    assert basket.end is not None and basket.end.explicit
    assert facts["state"] == "live" and facts["rung"] == "180p" and facts["dropped"] == 0
    assert push.state is State.ENDED and push.bytes > 10_000
    assert basket.tracks[0].width == 320 and basket.tracks[1].codec == "aac"
    assert lengths(basket.of("video/0")) <= {33, 34}
    assert lengths(basket.of("audio/0")) <= {21, 22}
    assert decoded(basket) == len(basket.of("video/0"))
    assert basket.publisher.metadata["width"] == 320


@looped
async def test_a_target_hears_where_the_stream_comes_from_and_says_that_it_is_a_circle() -> None:
    marks = [Marks().of("one"), Marks().of("one")]
    assert len(set(marks)) == 2  # of two servers
    owner = Owner(circle=marks[0])
    server, url = await serving(owner)
    async with playing() as show, pushing(show, url, via=marks) as push:
        await until(lambda: push.reason == LOOPS)
        assert push.state is State.WAITING and not owner.baskets
        telemetry: Telemetry = push._telemetry  # type: ignore[assignment]
        assert telemetry.gauges() == {("push", "there"): 0.0}
        assert telemetry.counts("push_dropped") == telemetry.counts("push_restarts") == {"there": 0}
        owner.circle = "another"
        await until(lambda: owner.baskets)
    assert owner.basket.publisher.request.via == tuple(marks)
    assert not telemetry.gauges()
    await server.close()


@looped
async def test_a_named_rung_is_sent_and_one_that_is_not_there_is_said_so() -> None:
    owner = Owner()
    server, url = await serving(owner)
    async with playing() as show, pushing(show, url, rung="90p"):
        await until(lambda: owner.baskets and len(owner.basket.of("video/0")) > 5)
        assert owner.basket.tracks[0].width == 160
        async with pushing(show, url, rung="4000p") as other:
            assert other.state is State.UNFIT and other.pid is None
            assert other.reason == "there is no rung '4000p'"
    await server.close()


@looped
async def test_while_the_top_rung_rests_the_next_one_stands_in() -> None:
    owner = Owner()
    server, url = await serving(owner)
    async with playing() as show, pushing(show, url) as push:
        await until(lambda: owner.baskets and len(owner.basket.of("video/0")) > 20)
        show.silent = show.resting = {"video/180p"}
        await until(lambda: any(track.width == 160 for track in owner.basket.tracks))
        assert push.facts()["rung"] == "90p" and push.connections == 1
        show.silent = show.resting = set()
        await until(lambda: owner.basket.tracks[-1].width == 320)
    times = [packet.dts or 0 for packet in owner.basket.of("video/0")]
    assert times == sorted(times) and len(owner.baskets) == 1
    await server.close()


@looped
async def test_a_target_that_comes_back_has_the_stream_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    url = f"rtmp://127.0.0.1:{port}/live/there"
    async with playing() as show, pushing(show, url) as push:
        await until(lambda: push.reason == "the target refuses connections")
        assert (push.facts()["next_try_s"] or 0.0) <= 1.5
        for times in (1, 2):
            owner = Owner()
            server, _ = await serving(owner, port)
            back = time.monotonic()
            await until(lambda o=owner: o.baskets and o.basket.of("video/0"))
            took = time.monotonic() - back
            print(f"the stream is back after {took:.2f} s")
            assert push.connections == times
            await server.close()
            await until(lambda: push.state is not State.LIVE)
        assert push.restarts == 0


@looped
async def test_a_process_that_is_killed_is_started_again() -> None:
    owner = Owner()
    server, url = await serving(owner)
    async with playing() as show, pushing(show, url) as push:
        for times in (1, 2):
            await until(lambda n=times: len(owner.baskets) == n and owner.basket.packets)
            assert push.pid is not None and push.restarts == times - 1
            os.kill(push.pid, signal.SIGKILL)
        await until(lambda: len(owner.baskets) == 3 and owner.basket.packets)
        assert push._telemetry.counts("push_restarts") == {"there": 2}  # type: ignore[attr-defined]
    await server.close()


def test_a_process_that_hangs_costs_the_loop_nothing_and_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SILENT_S", 2.5)

    @looped
    async def run() -> None:
        owner = Owner()
        server, url = await serving(owner)
        async with playing() as show, pushing(show, url) as push:
            await until(lambda: owner.baskets and owner.basket.packets)
            assert push.pid is not None
            hung = push.pid
            seen = show.feed.subscribe("video/90p")
            os.kill(hung, signal.SIGSTOP)
            await until(lambda: push.pid != hung and len(owner.baskets) == 2)
            assert push.restarts == 1 and seen.dropped < 20  # before its first key frame
            seen.close()
        await server.close()

    run()


@looped
async def test_a_private_address_is_refused_and_asked_again_seldom() -> None:
    server, url = await serving(Owner())
    async with playing() as show, pushing(show, url, outbound=OutboundSettings()) as push:
        await until(lambda: push.reason)
        assert push.state is State.WAITING and "a loopback address" in push.reason
        assert "outbound.allow" in push.reason
    await server.close()


@looped
async def test_secrets_stand_in_no_argument_and_no_variable() -> None:
    owner = Owner(token="another")
    server, url = await serving(owner)
    os.environ["STREAMGEN_AUTH__ADMIN_KEYS"] = f"{{ops: {SECRET}}}"
    try:
        async with playing() as show, pushing(show, url) as push:
            await until(lambda: push.reason)
            place = Path(f"/proc/{push.pid}")
            told = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
            assert b"streamgen_edge.push.rtmp" in told and SECRET.encode() not in told
            assert SECRET not in str(push.facts()) + repr(push.settings)
            assert push.reason == "the target refuses the stream NetStream.Publish.Denied"
    finally:
        del os.environ["STREAMGEN_AUTH__ADMIN_KEYS"]
    await server.close()


@looped
async def test_a_target_hears_of_no_end_where_the_stream_goes_on_from_elsewhere() -> None:
    owner = Owner()
    server, url = await serving(owner)
    async with playing() as show, pushing(show, url) as push:
        await until(lambda: owner.baskets and len(owner.basket.of("video/0")) > 20)
        push.end(moved=True)
        await until(lambda: owner.basket.end is not None and not push.running)
        assert owner.basket.end is not None and not owner.basket.end.explicit
        assert len(owner.baskets) == 1
    await server.close()


def test_a_process_ends_with_its_parent_also_while_its_target_takes_nothing() -> None:
    """The parent dies without a word; the pipe that it wrote into is full."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/there"
        told = {"url": url, "token": None, "allow": ["127.0.0.1"], "sound": None}
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "streamgen_edge.push.rtmp"]
        with subprocess.Popen(command, stdin=pipe, stdout=pipe) as child:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(wire.order({**told, "rate": None, "bitrate_bps": 0}))
            child.stdin.flush()
            assert b"connecting" in child.stdout.readline()
            child.stdout.close()
            assert child.wait(15) == 0  # its input is open still
            child.stdin.close()


def test_a_process_that_hears_nothing_of_its_edge_any_more_leaves_the_target() -> None:
    """Its edge stands still, and another one may have the stream by now."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtmp://127.0.0.1:{silent.getsockname()[1]}/live/there"
        told = {"url": url, "token": None, "allow": ["127.0.0.1"], "sound": None}
        command = [sys.executable, "-m", "streamgen_edge.push.rtmp"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe) as child:
            assert child.stdin is not None
            child.stdin.write(wire.order({**told, "rate": None, "bitrate_bps": 0}))
            child.stdin.flush()
            assert child.wait(30) == 0  # its input and its output are open still


@contextmanager
def nginx(folder: Path) -> Iterator[tuple[int, Path]]:
    """nginx-rtmp that records what comes; its port, and the folder of the records."""
    port = free_port()
    kept = folder / "kept"
    kept.mkdir()
    file = folder / "nginx.conf"
    file.write_text(
        f"load_module {NGINX_MODULE};\ndaemon off;\nmaster_process off;\n"
        f"pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on;\n"
        f"  record all; record_path {kept}; record_unique on; }} }} }}\n"
    )
    command = ["nginx", "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            yield port, kept
        finally:
            process.terminate()
            process.wait(20)


@needs_nginx_rtmp
def test_nginx_rtmp_records_what_it_is_sent(tmp_path: Path) -> None:
    with nginx(tmp_path) as (port, kept):

        @looped
        async def run() -> None:
            url = f"rtmp://127.0.0.1:{port}/live/there"
            async with playing() as show, pushing(show, url) as push:
                await until(lambda: push.pictures > 60)

        run()
    (path,) = kept.glob("*.flv")
    times: dict[str, list[int]] = {"video": [], "audio": []}
    frames = 0
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.pts is not None:
                times[packet.stream.type].append(packet.pts)
            frames += len(packet.decode()) if packet.stream.type == "video" else 0
    pictures = times["video"]
    assert len(pictures) > 55 and len(times["audio"]) > 80
    assert {b - a for a, b in pairwise(pictures)} <= {33, 34}
    assert frames == len(pictures)


@looped
async def test_a_push_that_has_ended_begins_no_more() -> None:
    async with playing() as show:
        settings = PushSettings(url="rtmp://127.0.0.1/live/x")
        push = Push("there", settings, OutboundSettings(), {}, Telemetry())
        push.end()
        push.follow(show, show.ask)
        assert not push.running
