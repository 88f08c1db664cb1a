"""The rules of the house that can be checked, checked. A rule without a test is a wish."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import streamgen
from streamgen.plugins import ENCODERS, RUNTIMES

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "streamgen").rglob("*.py"))
PACKAGES = CORE + [
    path
    for folder in ("edge", "models", "pipelines")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
EVERYTHING = [
    *PACKAGES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]

BROAD_EXCEPTS = {
    # The root of every step's thread: carries the error to the parent, which raises it.
    "streamgen/media/steps.py": 2,
    # The root of all that a lane's threads do for one session: the error ends that session.
    "streamgen/graph/seat.py": 1,
    # The door for other people's code: a plugin that breaks at import must not stop the others.
    "streamgen/plugins.py": 1,
    # The root of a trial: whatever a stage under test raises is what the trial is there to say.
    "streamgen/testing/trial.py": 1,
    # The root of a live stream's thread on a worker: the stream ends, the worker goes on.
    "streamgen/control/hosted.py": 1,
    # The root of all that a push does with what its edge sends: the error ends its process.
    "edge/streamgen_edge/push/sender.py": 1,
    # The root of all that streams do with what workers send: the error ends that stream.
    "edge/streamgen_edge/link.py": 1,
    # The root of an isolated stage's process, and of one call: a plugin may raise anything.
    "streamgen/graph/isolation/worker.py": 2,
}
UNBOUNDED = {
    # Holds no items, but a token for each of those that the depth lets in.
    "streamgen/media/queue.py": {"SimpleQueue"},
    # Bounded by the seats: each lets at most `depth` jobs in, and a job is here at most once.
    "streamgen/graph/lane.py": {"SimpleQueue"},
}
OPENS_LATE = {
    # A command's module is loaded when it is called: `--help` need not load the codecs.
    "streamgen/cli/__init__.py",
    "streamgen/plugins.py",
}
GSTREAMER = {
    "PipelineProcess": {"streamgen/ingest/gstreamer.py", "streamgen/deliver/gstreamer.py"},
    "GstPipe": {"streamgen/ingest/container.py"},
    "GstOutlet": {"streamgen/control/offline.py"},
}
"""Who may make what starts a pipeline."""
BACKENDS = {
    # What a user writes in a ladder is spelled where that setting is; what a playlist says of a
    # codec is told by any of its names.
    name: {"streamgen/encode/rungs.py", "streamgen/deliver/codecs.py"}
    for name in ENCODERS
} | {name: set() for name in RUNTIMES}
LIBRARIES = {
    "openvino": {"streamgen/runtimes/openvino.py"},
    "onnxruntime": {"streamgen/runtimes/onnx.py"},
    "ray": {"streamgen/control/launch/ray.py"},
    "cuda": {
        "streamgen/cuda/gpu.py",
        "streamgen/cuda/loaded.py",
        "streamgen/cuda/program.py",
    },
    "torch": {"streamgen/control/probes/torch.py"},
    "tensorrt": {"streamgen/control/probes/tensorrt.py"},
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=name_of)


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


@each(EVERYTHING)
def test_a_module_is_short_and_named_for_what_it_holds(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "common", "misc", "manager", "base"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@each(PACKAGES)
def test_functions_and_classes_fit_in_the_head(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"
        if isinstance(node, ast.ClassDef):
            methods = [
                item.name
                for item in node.body
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                and not item.name.startswith("_")
            ]
            assert len(methods) <= 12, f"{node.name} has {len(methods)} public methods"


@each(CORE)
def test_every_queue_between_threads_has_a_depth(path: Path) -> None:
    allowed = UNBOUNDED.get(name_of(path), set())
    for call, name in calls(path):
        kind = name.rpartition(".")[2]
        if kind == "SimpleQueue":
            assert kind in allowed, f"line {call.lineno}: SimpleQueue has no depth"
        if kind in {"Queue", "LifoQueue", "PriorityQueue", "JoinableQueue"}:
            assert call.args or call.keywords, f"line {call.lineno}: {name}() has no depth"


@each(CORE)
def test_clocks_and_seeds_are_not_taken_from_the_air(path: Path) -> None:
    forbidden = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}
    imported = {alias.name for node in tree(path).body for alias in getattr(node, "names", [])}
    assert "random" not in imported, "the random module has one seed for all"
    for call, name in calls(path):
        assert name not in forbidden, f"line {call.lineno}: {name}() is the wall clock"
        assert not name.startswith("np.random.") or name.endswith("default_rng"), call.lineno
        if name.endswith("random.default_rng"):
            assert call.args, f"line {call.lineno}: a random generator without a seed"


@each(PACKAGES)
def test_a_broad_except_stands_only_at_the_root_of_a_thread(path: Path) -> None:
    broad = [
        node.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or {"Exception", "BaseException"}
            & {sub.id for sub in ast.walk(node.type) if isinstance(sub, ast.Name)}
        )
    ]
    assert len(broad) <= BROAD_EXCEPTS.get(name_of(path), 0), f"lines {broad}"


@each([path for path in PACKAGES if "recipes" not in path.parts])
def test_imports_stand_at_the_top(path: Path) -> None:
    top = set(map(id, tree(path).body))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert id(node) in top, f"line {node.lineno}: a late import"
        if isinstance(node, ast.Name):
            assert node.id != "TYPE_CHECKING", f"line {node.lineno}: hides an import cycle"
    if name_of(path) not in OPENS_LATE:
        for call, name in calls(path):
            assert name.rpartition(".")[2] not in {"import_module", "__import__", "entry_points"}, (
                f"line {call.lineno}: only plugins.py imports by name"
            )


@each(CORE)
def test_a_backend_is_named_only_by_itself_and_in_the_table(path: Path) -> None:
    if name_of(path) == "streamgen/plugins.py":
        return
    prose = {
        id(node.value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and node.value in BACKENDS and id(node) not in prose:
            table = ENCODERS | RUNTIMES
            own = table[str(node.value)].partition(":")[0].replace(".", "/") + ".py"
            allowed = BACKENDS[str(node.value)] | {own}
            assert name_of(path) in allowed, f"line {node.lineno}: {node.value!r}"


@each(PACKAGES)
def test_a_backend_s_library_is_imported_only_by_its_module(path: Path) -> None:
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            roots = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots = {(node.module or "").partition(".")[0]}
        else:
            continue
        for root in roots & LIBRARIES.keys():
            recipes = name_of(path).startswith("models/recipes/")
            assert recipes or name_of(path) in LIBRARIES[root], f"line {node.lineno}: {root}"


def test_only_the_command_line_lets_pipelines_of_gstreamer_in() -> None:
    """They read and write what their user may: nothing that the network says may start one. Not
    meant are those that are written out in our own code."""
    found: dict[str, set[str]] = {}
    for path in PACKAGES:
        text = path.read_text(encoding="utf-8")
        if not any(word in text for word in ("pipelines=", *GSTREAMER)):
            continue
        for call, called in calls(path):
            for argument in call.keywords:
                if argument.arg == "pipelines" and called in {"Choices", "open_source"}:
                    found.setdefault(ast.unparse(argument.value), set()).add(name_of(path))
            written_here = len(call.args) == 1 and isinstance(call.args[0], ast.Constant)
            if called in GSTREAMER and not written_here:
                found.setdefault(called, set()).add(name_of(path))
    assert found == GSTREAMER | {
        "True": {"streamgen/cli/run.py"},
        "choices.pipelines": {"streamgen/control/offline.py"},
    }


def test_the_promised_names_are_the_listed_ones() -> None:
    assert set(streamgen.__all__) <= set(vars(streamgen))
    assert {"__version__"} <= set(streamgen.__all__)
