"""`import_model`: somebody's ONNX file becomes a model of ours, usable as a stage."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamgen.config import cache_dir
from streamgen.errors import ConfigError, ModelError
from streamgen.plugins import read_manifest
from streamgen.protocols import ModelSpec
from streamgen.runtimes.compose import PictureLayout
from streamgen.runtimes.vetting import FILE_BYTES

TIMEOUT_S = 60.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def import_model(
    path: Path,
    *,
    name: str | None = None,
    layout: PictureLayout | None = None,
    cache: Path | None = None,
    timeout_s: float = TIMEOUT_S,
) -> ModelSpec:
    """Check and wrap an RGB network, and keep it as `models/NAME` in the cache.

    The file is only opened by another process, with bounded memory and time (`vetting`). An
    earlier import of the same name is replaced whole. Raises `ModelError` with one line saying
    what is wrong with the file, `ConfigError` for an impossible name or layout.
    """
    name = path.stem if name is None else name
    if not _NAME.fullmatch(name):
        raise ConfigError(f"a model's name is letters, digits, '.', '_' and '-', got {name!r}")
    _check_file(path)
    models = (cache or cache_dir()) / "models"
    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=models, prefix=".importing-") as scratch:
            new = Path(scratch) / name
            new.mkdir()
            facts = _vet(path, new / "model.onnx", layout or PictureLayout(), timeout_s)
            digest = hashlib.sha256((new / "model.onnx").read_bytes()).hexdigest()
            text = _manifest(name, path.name, facts, digest)
            (new / "manifest.toml").write_text(text, encoding="utf-8")
            _replace(new, models / name, Path(scratch) / "former")
    except OSError as error:
        raise ModelError(f"cannot keep {name} in {models}: {error.strerror}") from error
    return read_manifest(models / name / "manifest.toml")[name]


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    if size == 0:
        raise ModelError(f"{path.name}: the file is empty")
    if size > FILE_BYTES:
        raise ModelError(f"{path.name}: larger than {FILE_BYTES >> 20} MiB")


def _vet(path: Path, out: Path, layout: PictureLayout, timeout_s: float) -> dict[str, Any]:
    """Run the vetting process; its answer, or `ModelError`."""
    parts = [layout.color, f"{layout.range}>{layout.gives}", layout.order or ""]
    arguments = [str(path.resolve()), str(out.resolve()), ",".join(parts)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "streamgen.runtimes.vetting", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            # Thread pools that nobody uses would reserve the address space that is bounded.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{path.name}: checking it took longer than {timeout_s:g} s") from error
    try:
        facts = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise ModelError(f"{path.name}: checking it broke off, {_cause(done)}") from error
    if "error" in facts:
        raise ModelError(f"{path.name}: {facts['error']}")
    return dict(facts)


def _cause(done: subprocess.CompletedProcess[bytes]) -> str:
    """Why a vetting process ended without an answer."""
    if done.returncode < 0:
        return f"stopped by signal {-done.returncode} (out of memory or time)"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"with status {done.returncode}"


def _manifest(name: str, file: str, facts: Mapping[str, Any], digest: str) -> str:
    """One entry, as the shipped models' manifest has them. JSON strings are TOML strings."""
    entry = {
        "name": name,
        "kind": "imported",
        **facts,
        "matrix": "bt709",
        "range": "tv",
        "folds": True,
        "credit": f"imported from {file}",
        "note": "the source's colour matrix is folded into the 1x1 convolutions when loaded",
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in entry.items()]
    files = ["", "[model.files]", 'fp32 = "model.onnx"', "", "[model.sha256]", f'fp32 = "{digest}"']
    return "\n".join(["[[model]]", *lines, *files, ""])


def _replace(new: Path, final: Path, aside: Path) -> None:
    """Put the folder in its place; a former one is moved aside, and gone with the scratch."""
    if final.exists():
        final.rename(aside)
    new.rename(final)
    shutil.rmtree(aside, ignore_errors=True)
