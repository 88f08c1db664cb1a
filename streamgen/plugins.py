"""Names to objects: the only late imports. Built-ins go through the same door as plugins."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from streamgen.config import cache_dir
from streamgen.errors import ConfigError, ModelError
from streamgen.media.port import Contract
from streamgen.protocols import ModelSpec

OURS = "streamgen"
"""The distribution whose stages nobody can hide."""

DECODERS = {"ffmpeg": "streamgen.decode.ffmpeg:FFmpegDecoder"}
ENCODERS = {
    "x264": "streamgen.encode.ffmpeg:X264",
    "x265": "streamgen.encode.ffmpeg:X265",
    "svt-av1": "streamgen.encode.ffmpeg:SvtAv1",
}
HARDWARE = {"cuda": "streamgen.cuda.gpu:hardware"}
DEVICE_CODECS = {
    "nvdec": "streamgen.decode.nvdec:NvdecDecoder",
    "nvenc": "streamgen.encode.nvenc:Nvenc",
}
"""What hardware is made of."""
RUNTIMES = {
    "openvino": "streamgen.runtimes.openvino:OpenVINORuntime",
    "onnx": "streamgen.runtimes.onnx:OnnxRuntime",
}
RUNTIME_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
"""The distribution that each runtime needs."""
CONVERSIONS = {"convert": "streamgen.stages.convert:Convert"}
ENGINES = {"measured": "streamgen.runtimes.choose:MeasuredEngines"}
LETTERINGS = {"pillow": "streamgen.stages.lettering:Lettering"}
BOARDS = {"jobs": "streamgen.control.jobs.board:JobBoard"}
STORES = {"sql": "streamgen.control.store.late:LateStore"}
ISOLATIONS = {"process": "streamgen.graph.declared:stage_class"}
TABLES = {
    "decoder": DECODERS,
    "encoder": ENCODERS,
    "hardware": HARDWARE,
    "device codec": DEVICE_CODECS,
    "runtime": RUNTIMES,
    "conversion": CONVERSIONS,
    "engines": ENGINES,
    "board": BOARDS,
    "store": STORES,
    "isolation": ISOLATIONS,
    "lettering": LETTERINGS,
}


def find(kind: str, name: str) -> Any:
    """The class behind a built-in name: `find("encoder", "x264")`.

    Raises `ConfigError` for an unknown name, and when its optional package is missing.
    """
    table = TABLES[kind]
    if name not in table:
        raise ConfigError(f"unknown {kind} '{name}' (there are: {', '.join(sorted(table))})")
    module, _, attribute = table[name].partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        raise ConfigError(f"{kind} '{name}' needs the package '{error.name}'") from error


def runtime_versions() -> dict[str, str]:
    """The runtimes that are installed here, with their versions; loads none of them."""
    found: dict[str, str] = {}
    for name, package in RUNTIME_PACKAGES.items():
        with suppress(PackageNotFoundError):
            found[name] = version(package)
    return found


@dataclass(frozen=True, slots=True)
class StagePlugin:
    """A stage as some package offers it; nothing of it is loaded yet."""

    name: str
    package: str
    """The distribution it comes from; empty where that is not known."""
    version: str
    point: EntryPoint

    @property
    def ours(self) -> bool:
        return self.package == OURS

    def __str__(self) -> str:
        return f"stage '{self.name}' ({self.package} {self.version})"

    def load(self) -> Any:
        """Its class. Raises `ConfigError` whatever goes wrong: a plugin may break in any way, and
        the others must start."""
        try:
            stage = self.point.load()
        except (Exception, SystemExit) as error:
            why = _one_line(str(error)) or "no reason given"
            raise ConfigError(f"{self} cannot be loaded: {type(error).__name__}: {why}") from error
        if not callable(stage) or not _is_settings(getattr(stage, "Params", None)):
            raise ConfigError(
                f"{self} is no stage: {self.point.value} needs 'Params', a streamgen Settings class"
            )
        try:
            Contract.of(stage)
        except ConfigError as error:
            raise ConfigError(f"{self}: {error}") from error
        return stage


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_settings(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def stage_plugins() -> list[StagePlugin]:
    """Every stage that an installed package offers, by name; loads none of them.

    A built-in stage comes before another of the same name.
    """
    found = []
    for point in entry_points(group="streamgen.stages"):
        package = point.dist.name if point.dist is not None else ""
        release = point.dist.version if point.dist is not None else ""
        found.append(StagePlugin(point.name, package, release, point))
    return sorted(found, key=lambda one: (one.name, not one.ours, one.package))


def stage_names() -> list[str]:
    """Every stage installed here, ours and others'."""
    return sorted({plugin.name for plugin in stage_plugins()})


@cache
def find_stage(name: str) -> Any:
    """The class of a stage: has `Params`, and is built as `Class(params, context)`.

    Raises `ConfigError` for an unknown name, for one that two other packages claim, and for a
    stage that cannot be loaded or was made for a later version of the protocol.
    """
    offers = [plugin for plugin in stage_plugins() if plugin.name == name]
    if not offers:
        raise ConfigError(f"unknown stage '{name}' (there are: {', '.join(stage_names())})")
    if len({plugin.package for plugin in offers}) > 1 and not offers[0].ours:
        packages = " and ".join(plugin.package for plugin in offers)
        raise ConfigError(f"stage '{name}' comes from {packages}; keep one of them")
    return offers[0].load()


@cache
def find_fold() -> Any:
    """The function that folds another colour space into a network of ours; None if not installed.

    Called as `fold(model, matrix="bt601", full_range=True)` with an `onnx.ModelProto`.
    """
    for point in entry_points(group="streamgen.folds"):
        return point.load()
    return None


def find_launcher(name: str) -> Any:
    """Who starts a cluster's processes, built as `Class(address)`; ours come before others'.

    Raises `ConfigError` for an unknown name, and when its optional package is missing.
    """
    points = {point.name: point for point in entry_points(group="streamgen.launchers")}
    for point in entry_points(group="streamgen.launchers"):
        if point.dist is not None and point.dist.name == OURS:
            points[point.name] = point
    if name not in points:
        raise ConfigError(f"unknown launcher '{name}' (there are: {', '.join(sorted(points))})")
    try:
        return points[name].load()
    except ModuleNotFoundError as error:
        extra = f": pip install 'streamgen[{name}]'" if name == error.name else ""
        raise ConfigError(f"launcher '{name}' needs the package '{error.name}'{extra}") from error


def pipeline_files() -> dict[str, Path]:
    """Ready-made pipelines by name, from every package in the group `streamgen.pipelines`."""
    found: dict[str, Path] = {}
    for point in sorted(entry_points(group="streamgen.pipelines"), key=lambda p: p.name):
        folder = Path(str(files(point.value)))
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def models() -> dict[str, ModelSpec]:
    """Every network by name: shipped ones, plugins' and the user's imports (which win)."""
    found: dict[str, ModelSpec] = {}
    for point in sorted(entry_points(group="streamgen.models"), key=lambda p: p.name):
        manifest = Path(str(files(point.value))) / "manifest.toml"
        found |= read_manifest(manifest)
    for manifest in sorted((cache_dir() / "models").glob("*/manifest.toml")):
        found |= read_manifest(manifest)
    return found


def read_manifest(path: Path) -> Mapping[str, ModelSpec]:
    """The models of one `manifest.toml`; file names are relative to it."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("model", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"cannot read the model manifest {path}: {error}") from error
    return {entry["name"]: _spec(entry, path.parent) for entry in entries}


def _spec(entry: Mapping[str, Any], folder: Path) -> ModelSpec:
    return ModelSpec(
        name=entry["name"],
        kind=entry["kind"],
        files={precision: folder / file for precision, file in entry["files"].items()},
        sha256=entry.get("sha256", {}),
        multiple=entry.get("multiple", 4),
        scale=entry.get("scale", 1),
        matrix=entry.get("matrix", "bt709"),
        range=entry.get("range", "tv"),
        folds=entry.get("folds", True),
        parameters=entry.get("parameters", 0),
        live=tuple(entry.get("live", ())),
        license=entry.get("license", ""),
        credit=entry.get("credit", ""),
        notes={k: v for k, v in entry.items() if isinstance(v, str | int | float)},
    )


def find_model(name: str) -> ModelSpec:
    """One network by name. Raises `ConfigError` with the names there are."""
    known = models()
    if name not in known:
        raise ConfigError(f"unknown model '{name}' (there are: {', '.join(sorted(known))})")
    return known[name]
