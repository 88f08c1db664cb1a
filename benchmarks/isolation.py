"""What it costs to run a stage in a process of its own: the round trip of one 720p picture.

    python benchmarks/isolation.py [--pictures 3000]

The stage is empty: it passes its picture on, or publishes a lent buffer without filling it, so
that only the crossing is measured; the fill (one pass over the picture) and the copy of a decoded
picture are told beside it. The same picture then goes through what else there is: a
multiprocessing queue, iceoryx2, zenoh and a Ray actor, each in another process and back, where it
is installed (`pip install iceoryx2 eclipse-zenoh ray`). One JSON line per row; times in us.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.util
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from streamgen.graph.declared import stage_class
from streamgen.graph.spec import NodeSpec
from streamgen.media.frame import CPU, Frame
from streamgen.media.shared import SharedPool, packed_size
from streamgen.protocols import Mode, StageContext
from streamgen.testing import NoEngines, picture

WIDTH, HEIGHT = 1280, 720
BYTES = WIDTH * HEIGHT * 3 // 2
STAGES = """
from streamgen.config import Settings

class Pass:
    class Params(Settings):
        amount: float = 1.0
    def __init__(self, params, context):
        self.pool = context.pool
    def output_size(self, width, height):
        return width, height
    def process(self, inputs, params):
        return {"picture": inputs["picture"]}
    def reset(self):
        pass
    def close(self):
        pass

class Lent(Pass):
    def process(self, inputs, params):
        frame = inputs["picture"]
        return {"picture": self.pool.take(frame.layout, frame.width, frame.height).publish(frame)}
"""


@contextmanager
def installed() -> Iterator[None]:
    """Two empty stages on the import path, ours and the children's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        about = folder / "bench_stages-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-stages\nVersion: 1.0\n")
        points = "[streamgen.stages]\nbench-pass=bench_stages:Pass\nbench-lent=bench_stages:Lent"
        (about / "entry_points.txt").write_text(points)
        (folder / "bench_stages.py").write_text(STAGES)
        sys.path.insert(0, name)
        yield
        sys.path.remove(name)


def timed(call: Callable[[int], Any], number: int) -> np.ndarray[Any, Any]:
    """Nanoseconds of every call, after some to warm up."""
    for index in range(max(20, number // 10)):
        call(index)
    spent = np.empty(number)
    for index in range(number):
        began = time.perf_counter_ns()
        call(index)
        spent[index] = time.perf_counter_ns() - began
    return spent


def at_cost(
    call: Callable[[int], Any], number: int, stage: Any
) -> tuple[np.ndarray[Any, Any], Mapping[str, float]]:
    """As `timed`; and processor time per call, which a busy machine changes less: of this process
    and of the stage's, the best of five rounds."""
    rounds, best = [], {"host": float("inf"), "stage": float("inf")}
    for _ in range(5):
        call(0)
        worker = Path(f"/proc/{stage.line.keeper.pid}/schedstat")
        clocks = {
            "host": time.process_time_ns,
            "stage": lambda worker=worker: int(worker.read_text().split()[0]),
        }
        began = {name: clock() for name, clock in clocks.items()}
        rounds.append(timed(call, number // 5))
        calls = number // 5 + max(20, number // 50)
        for name, clock in clocks.items():
            best[name] = min(best[name], round((clock() - began[name]) / calls / 1e3, 1))
    return np.concatenate(rounds), best


def row(name: str, spent: np.ndarray[Any, Any], **more: Any) -> None:
    p50, p99 = (round(float(np.percentile(spent, share)) / 1e3, 1) for share in (50, 99))
    least = round(float(spent.min()) / 1e3, 1)
    print(json.dumps({"way": name, "p50_us": p50, "p99_us": p99, "least_us": least, **more}))


def isolation(number: int) -> None:
    """`inline` and `process` in turns, so that both see the same machine."""
    pool = SharedPool()
    context = StageContext(CPU, Mode.LIVE, pool, pool.meter, NoEngines(), {})
    decoded = picture(WIDTH, HEIGHT)
    shared = pool.shared(decoded)
    frames = [shared.retimed(pts=index) for index in range(64)]
    for name in ("bench-pass", "bench-lent"):
        inline_class = importlib.import_module("bench_stages").__dict__[name[6:].title()]
        inline = inline_class(inline_class.Params(), context)
        spec = NodeSpec(stage=name, isolation="process", timeout="20s")  # busy machines
        found = stage_class(spec)
        params = found.Params()
        stage = found(params, context)
        before = dict(pool.meter.planes)

        def there(index: int, stage: Any = stage, params: Any = params) -> Frame:
            result: Frame = stage.process({"picture": frames[index & 63]}, params).outputs()[
                "picture"
            ]
            return result

        def here(index: int, stage: Any = inline, params: Any = params) -> Frame:
            result: Frame = stage.process({"picture": frames[index & 63]}, params)["picture"]
            return result

        near, (far, cpu) = timed(here, number), at_cost(there, number, stage)
        copies = {k: v - before.get(k, 0) for k, v in pool.meter.planes.items()}
        row(f"inline {name[6:]}", near)
        over = round(float(np.percentile(far, 50) - np.percentile(near, 50)) / 1e3, 1)
        row(
            f"process {name[6:]}",
            far,
            over_inline_p50_us=over,
            cpu_us=cpu,
            planes_copied_per_picture=sum(copies.values()) / number,
        )
        if name == "bench-pass":
            idle(stage)
        stage.close()
        stage.zygote.end()
    fill(number, pool, decoded)


def fill(number: int, pool: SharedPool, decoded: Frame) -> None:
    """What is not the crossing: to write a picture, and to copy a decoded one in."""
    out = np.asarray(pool.lend(packed_size(decoded.layout, WIDTH, HEIGHT)).memory)
    row("fill of a lent picture", timed(lambda _: out.fill(7), number // 10))

    def copy(_: int) -> Frame:
        first, *rest = decoded.planes
        return pool.shared(decoded.retimed(planes=(first, *rest)))

    before = pool.meter.planes["shared"]
    spent = timed(copy, number // 10)
    calls = number // 10 + max(20, number // 100)
    row(
        "copy of a decoded picture",
        spent,
        planes_copied_per_picture=(pool.meter.planes["shared"] - before) / calls,
    )


def idle(stage: Any) -> None:
    """Processor time of host, zygote and worker while nothing flows for five seconds."""
    pids = [os.getpid(), stage.zygote.pid, stage.line.keeper.pid]
    time.sleep(2.5)
    before = [ticks(pid) for pid in pids]
    time.sleep(5)
    spent = sum(ticks(pid) - past for pid, past in zip(pids, before, strict=True))
    share = spent / os.sysconf("SC_CLK_TCK") / 5 * 100
    print(json.dumps({"way": "idle", "cpu_percent_of_all_three": round(share, 2)}))


def ticks(pid: int) -> int:
    rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(rest[11]) + int(rest[12])


def echo_queue(to: Any, back: Any) -> None:
    while (item := to.get()) is not None:
        back.put(item)


def queue(number: int) -> None:
    """`multiprocessing.Queue`: the picture is pickled, written to a pipe, read and unpickled."""
    start = multiprocessing.get_context("spawn")
    to, back = start.Queue(), start.Queue()
    other = start.Process(target=echo_queue, args=(to, back))
    other.start()
    data = np.zeros(BYTES, np.uint8)

    def call(_: int) -> None:
        to.put(data)
        back.get()

    row("multiprocessing queue", timed(call, max(50, number // 20)))
    to.put(None)
    other.join()


def echo_iceoryx2() -> None:
    iox2 = importlib.import_module("iceoryx2")
    _node, ends = iceoryx2_ends(iox2, "back", "to")
    publisher, subscriber = ends
    while True:
        sample = subscriber.receive()
        if sample is not None:
            loan = publisher.loan_slice_uninit(BYTES)
            loan.assume_init().send()
            del sample


def iceoryx2_ends(iox2: Any, out: str, into: str) -> tuple[Any, tuple[Any, Any]]:
    node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)

    def service(name: str) -> Any:
        builder = node.service_builder(iox2.ServiceName.new(f"streamgen-bench/{name}"))
        return builder.publish_subscribe(iox2.Slice[ctypes.c_uint8]).open_or_create()

    publisher = service(out).publisher_builder().initial_max_slice_len(BYTES).create()
    subscriber = service(into).subscriber_builder().create()
    return node, (publisher, subscriber)


def iceoryx2(number: int) -> None:
    """Loaned slots; both sides poll without a pause, one processor each."""
    iox2 = importlib.import_module("iceoryx2")
    start = multiprocessing.get_context("spawn")
    node, (publisher, subscriber) = iceoryx2_ends(iox2, "to", "back")
    other = start.Process(target=echo_iceoryx2, daemon=True)
    other.start()
    time.sleep(2)

    def call(_: int) -> None:
        publisher.loan_slice_uninit(BYTES).assume_init().send()
        while subscriber.receive() is None:
            pass

    row("iceoryx2 (polling)", timed(call, number))
    other.kill()
    other.join()
    del node


def echo_zenoh() -> None:
    zenoh = importlib.import_module("zenoh")
    session = zenoh.open(zenoh.Config())
    publisher = session.declare_publisher("streamgen-bench/back")
    keep = session.declare_subscriber("streamgen-bench/to", lambda s: publisher.put(s.payload))
    time.sleep(600)
    del keep


def zenoh(number: int) -> None:
    """Peer to peer over loopback, in its default settings."""
    library = importlib.import_module("zenoh")
    start = multiprocessing.get_context("spawn")
    other = start.Process(target=echo_zenoh, daemon=True)
    other.start()
    session = library.open(library.Config())
    publisher = session.declare_publisher("streamgen-bench/to")
    subscriber = session.declare_subscriber("streamgen-bench/back")
    time.sleep(4)
    data = bytes(BYTES)

    def call(_: int) -> None:
        publisher.put(data)
        subscriber.recv()

    row("zenoh", timed(call, max(50, number // 20)))
    session.close()
    other.kill()
    other.join()


def ray(number: int) -> None:
    """An actor that gets the picture as an argument and gives it back."""
    library = importlib.import_module("ray")
    library.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    actor = library.remote(Echo).remote()
    data = np.zeros(BYTES, np.uint8)
    row("ray actor", timed(lambda _: library.get(actor.echo.remote(data)), max(50, number // 30)))
    library.shutdown()


class Echo:
    def echo(self, data: Any) -> Any:
        return data


OTHERS: Mapping[str, tuple[str, Callable[[int], None]]] = {
    "multiprocessing queue": ("multiprocessing", queue),
    "iceoryx2": ("iceoryx2", iceoryx2),
    "zenoh": ("zenoh", zenoh),
    "ray actor": ("ray", ray),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--only", choices=("isolation", *OTHERS))
    asked = parser.parse_args()
    if asked.only in {None, "isolation"}:
        with installed():
            isolation(asked.pictures)
    for name, (package, measure) in OTHERS.items():
        if asked.only not in {None, name}:
            continue
        if importlib.util.find_spec(package) is None:
            print(json.dumps({"way": name, "skipped": f"{package} is not installed"}))
        else:
            measure(asked.pictures)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"peak_memory_mb": peak, "processors": os.cpu_count()}))


if __name__ == "__main__":
    main()
