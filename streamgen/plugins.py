"""Names to objects: the only late imports. Built-ins go through the same door as plugins."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from streamgen.config import cache_dir
from streamgen.errors import ConfigError, ModelError
from streamgen.protocols import ModelSpec

DECODERS = {"ffmpeg": "streamgen.decode.ffmpeg:FFmpegDecoder"}
ENCODERS = {
    "x264": "streamgen.encode.ffmpeg:X264",
    "x265": "streamgen.encode.ffmpeg:X265",
    "svt-av1": "streamgen.encode.ffmpeg:SvtAv1",
}
RUNTIMES = {
    "openvino": "streamgen.runtimes.openvino:OpenVINORuntime",
    "onnx": "streamgen.runtimes.onnx:OnnxRuntime",
}
RUNTIME_PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
"""The distribution that each runtime needs."""
CONVERSIONS = {"convert": "streamgen.stages.convert:Convert"}
ISOLATIONS = {"process": "streamgen.graph.isolated:stage_class"}
TABLES = {
    "decoder": DECODERS,
    "encoder": ENCODERS,
    "runtime": RUNTIMES,
    "conversion": CONVERSIONS,
    "isolation": ISOLATIONS,
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


def stage_names() -> list[str]:
    """Every stage installed here, ours and others'."""
    return sorted({point.name for point in entry_points(group="streamgen.stages")})


@cache
def find_stage(name: str) -> Any:
    """The class of a stage: has `Params`, and is built as `Class(params, context)`."""
    for point in entry_points(group="streamgen.stages"):
        if point.name == name:
            try:
                return point.load()
            except ImportError as error:
                raise ConfigError(f"stage '{name}' cannot be loaded: {error}") from error
    raise ConfigError(f"unknown stage '{name}' (there are: {', '.join(stage_names())})")


@cache
def find_fold() -> Any:
    """The function that folds another colour space into a network of ours; None if not installed.

    Called as `fold(model, matrix="bt601", full_range=True)` with an `onnx.ModelProto`.
    """
    for point in entry_points(group="streamgen.folds"):
        return point.load()
    return None


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
