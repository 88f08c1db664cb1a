"""Copies of isolated pictures, counted outside both processes: the meter says what is true."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.graph.isolation.test_isolated import write_plugins

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory files are Linux's")
ROOT = Path(__file__).parents[3]
PICTURES, WIDTH, HEIGHT = 12, 640, 358

STAGES = """
import ctypes, os
from tests.graph.isolation import troubled

def counted(stage):
    class Counted(stage):
        def __init__(self, params, context):
            super().__init__(params, context)
            os.environ["MEMCPY_COUNT"] = os.environ["THERE"]

        def close(self):
            ctypes.CDLL(None).exit(0)  # with all that is done at an exit: the counts are written

    return Counted

Negative, Own = counted(troubled.Negative), counted(troubled.Own)
"""
HOST = """
import json, os, sys
sys.path[:0] = {path!r}
from streamgen.graph.declared import stage_class
from streamgen.graph.spec import NodeSpec
from streamgen.media.shared import SharedPool
from streamgen.protocols import Mode
from streamgen.testing import picture
from tests.graph.isolation.test_isolated import context
here = os.environ.pop("MEMCPY_COUNT")
pool = SharedPool()
found = stage_class(NodeSpec(stage="try-{name}", isolation="process"))
stage = found(found.Params(), context(Mode.OFFLINE, pool))
pictures = [picture({width}, {height}, seed=seed) for seed in range({pictures})]
os.environ["MEMCPY_COUNT"] = here
for source in pictures:
    stage.process({{"picture": source}}, stage.Params()).outputs()
stage.close()
print(json.dumps(pool.meter.planes))
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc)")
    library = tmp_path_factory.mktemp("counter") / "memcpy_count.so"
    source = ROOT / "benchmarks" / "memcpy_count.c"
    command = [compiler, "-O2", "-fno-builtin", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(source)], check=True)
    return library


def planes_in(counts: Path) -> int:
    """Whole planes that were copied."""
    calls = {int(size): int(n) for size, n in map(str.split, counts.read_text().splitlines())}
    return calls.get(WIDTH * HEIGHT, 0) + calls.get(WIDTH * HEIGHT // 4, 0)


def copies(counter: Path, folder: Path, name: str) -> tuple[Mapping[str, int], int, int]:
    """By the meter; by the counter here, and in the stage's process."""
    (folder / "counted_stages.py").write_text(STAGES)
    write_plugins(folder, "counted_stages", ["Negative", "Own"])
    here, there = folder / "here", folder / "there"
    script = HOST.format(
        path=[str(folder), *sys.path], name=name, width=WIDTH, height=HEIGHT, pictures=PICTURES
    )
    preload = {"LD_PRELOAD": str(counter), "MEMCPY_COUNT": str(here), "THERE": str(there)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **preload},
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout), planes_in(here), planes_in(there)


def test_a_picture_of_a_decoder_is_copied_once_and_its_result_never(
    counter: Path, tmp_path: Path
) -> None:
    meter, here, there = copies(counter, tmp_path, "negative")
    assert (meter, here, there) == ({"shared": 3 * PICTURES}, 3 * PICTURES, 0)


def test_what_a_stage_paints_in_its_own_memory_is_copied_once_over_there(
    counter: Path, tmp_path: Path
) -> None:
    meter, here, there = copies(counter, tmp_path, "own")
    assert (meter, here, there) == ({"shared": 6 * PICTURES}, 3 * PICTURES, 3 * PICTURES)
