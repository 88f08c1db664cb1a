"""One body for both runtimes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgen.errors import ModelError
from streamgen.media.frame import Layout, Plane
from streamgen.media.pool import FramePool
from streamgen.runtimes.engine import EngineSettings
from streamgen.runtimes.openvino import OpenVINORuntime
from streamgen.testing import HarshPool, picture

from .networks import fragile, named, outputs, widened, widening

Open = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
SIGNALLED = """
import importlib, os, signal, sys, threading
from streamgen.runtimes.engine import EngineSettings
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
module, _, name = sys.argv[1].partition(":")
kind = getattr(importlib.import_module(module), name)
held = [kind(sys.stdin.buffer.read(), width=64, height=48, settings=EngineSettings())]
def free():
    held.pop().close()
thread = threading.Thread(target=free)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.parametrize("size", [(64, 48), (32, 16)])
def test_one_file_runs_at_every_size(runtime: Open, size: tuple[int, int]) -> None:
    frame = picture(*size)
    out = FramePool().take(Layout.I420, *size)
    engine = runtime(widening(), *size)
    engine.submit(named(frame), outputs(out)).fence.wait()
    for given, got in zip(frame.planes, out.planes, strict=True):
        np.testing.assert_array_equal(got.array(), widened(given.array()))
    engine.close()


def test_strength_0_gives_the_picture_back_bit_for_bit(runtime: Open) -> None:
    frame = picture(64, 48)
    out = FramePool().take(Layout.I420, 64, 48)
    engine = runtime(widening(), 64, 48)
    engine.submit(named(frame, strength=0.0), outputs(out)).fence.wait()
    for given, got in zip(frame.planes, out.planes, strict=True):
        np.testing.assert_array_equal(got.array(), given.array())
    engine.close()


def test_the_network_reads_and_writes_the_lent_memory_itself(runtime: Open) -> None:
    # The same addresses again with other contents: a copy made at binding time would show.
    frame = picture(64, 48)
    out = FramePool().take(Layout.I420, 64, 48)
    engine = runtime(widening(), 64, 48)
    for shade in (40, 90):
        for plane in (*frame.planes, *out.planes):
            plane.array().fill(shade if plane in frame.planes else 0)
        engine.submit(named(frame), outputs(out)).fence.wait()
        assert all((plane.array() == shade).all() for plane in out.planes)
    engine.close()


def test_openvino_holds_the_addresses_of_the_planes() -> None:
    frame = picture(64, 48)
    out = FramePool().take(Layout.I420, 64, 48)
    engine = OpenVINORuntime(widening(), width=64, height=48, settings=EngineSettings())
    engine.submit(named(frame), outputs(out)).fence.wait()
    request = engine._requests.all[0]._request
    for name, plane in {**named(frame), **outputs(out)}.items():
        if isinstance(plane, Plane):
            assert request.get_tensor(name).data.ctypes.data == plane.ptr
    engine.close()


def test_pictures_that_run_at_once_keep_their_own_pixels(runtime: Open) -> None:
    pool = FramePool()
    engine = runtime(widening(), 64, 48, threads=2, requests=2)
    frames = [picture(64, 48, seed=n) for n in range(12)]
    outs = [pool.take(Layout.I420, 64, 48) for _ in frames]
    tickets = [engine.submit(named(f), outputs(o)) for f, o in zip(frames, outs, strict=True)]
    for frame, out, ticket in zip(frames, outs, tickets, strict=True):
        ticket.fence.wait()
        assert ticket.fence.done()
        assert ticket.busy_ns > 0
        np.testing.assert_array_equal(out.planes[0].array(), widened(frame.planes[0].array()))
    engine.close()


def test_a_failing_run_is_raised_from_the_fence_and_the_engine_goes_on(runtime: Open) -> None:
    frame = picture(64, 48)
    out = FramePool().take(Layout.I420, 64, 48)
    engine = runtime(fragile(), 64, 48)
    engine.submit(named(frame, strength=2.0), outputs(out)).fence.wait()
    broken = engine.submit(named(frame, strength=7.0), outputs(out))
    with pytest.raises(ModelError, match=r"^the network failed: .*[Rr]eshape.*$"):
        broken.fence.wait()
    assert broken.fence.done()
    out.planes[0].array().fill(0)
    engine.submit(named(frame, strength=4.0), outputs(out)).fence.wait()
    np.testing.assert_array_equal(out.planes[0].array(), frame.planes[0].array())
    engine.close()


def test_a_callback_comes_once_before_and_after_the_end(runtime: Open) -> None:
    called = threading.Event()
    calls: list[str] = []
    out = FramePool().take(Layout.I420, 64, 48)
    engine = runtime(widening(), 64, 48)
    fence = engine.submit(named(picture(64, 48)), outputs(out)).fence
    fence.on_done(lambda: (calls.append("early"), called.set()))
    assert called.wait(5)
    fence.wait()
    fence.on_done(lambda: calls.append("late"))
    assert calls == ["early", "late"]
    engine.close()


def test_the_planes_are_held_until_the_end_and_no_longer(runtime: Open) -> None:
    pool = HarshPool()
    engine = runtime(widening(), 64, 48)
    given = pool.take(Layout.I420, 64, 48, multiple=2).publish(picture(64, 48))
    out = pool.take(Layout.I420, 64, 48, multiple=2)
    ticket = engine.submit(named(given), outputs(out))
    del given, out
    ticket.fence.wait()
    assert pool.out == 0
    engine.close()


def test_close_waits_for_what_is_on_its_way_and_refuses_more(runtime: Open) -> None:
    frame = picture(64, 48)
    pool = FramePool()
    engine = runtime(widening(), 64, 48, threads=2, requests=2)
    tickets = [engine.submit(named(frame), outputs(pool.take(Layout.I420, 64, 48))) for _ in "ab"]
    engine.close()
    assert all(ticket.fence.done() for ticket in tickets)
    with pytest.raises(ModelError, match="closed"):
        engine.submit(named(frame), outputs(pool.take(Layout.I420, 64, 48)))
    engine.close()


def test_strided_and_wrongly_sized_planes_are_refused(runtime: Open) -> None:
    engine = runtime(widening(), 64, 48)
    good = FramePool().take(Layout.I420, 64, 48)
    strided = HarshPool().take(Layout.I420, 64, 48).publish(picture(64, 48))
    with pytest.raises(ModelError, match="packed"):
        engine.submit(named(strided), outputs(good))
    with pytest.raises(ModelError, match="runs at 64x48, got 32x48"):
        engine.submit(named(picture(32, 48)), outputs(good))
    without = named(picture(64, 48))
    del without["strength"]
    with pytest.raises(ModelError, match="strength"):
        engine.submit(without, outputs(good))
    engine.submit(named(picture(64, 48)), outputs(good)).fence.wait()
    engine.close()


def test_what_is_no_network_of_ours_is_refused(runtime: Open, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(widening()[:100])
    foreign = widening().replace(b"u_out", b"U_OUT")
    for bad in (broken, tmp_path / "missing.onnx", foreign, b"no network"):
        with pytest.raises(ModelError):
            runtime(bad, 64, 48)


def test_a_signal_is_survived_after_a_network_was_freed_by_another_thread(
    runtime: Open,
) -> None:
    # In a process of its own: it used to die of the signal, when the runtime had given this thread
    # a signal stack and another one had unmapped it.
    engine = runtime(widening(), 64, 48)
    name = f"{type(engine).__module__}:{type(engine).__name__}"
    engine.close()
    ran = subprocess.run(
        [sys.executable, "-c", SIGNALLED, name],
        input=widening(),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (0, b"heard\n"), ran.stderr.decode()
