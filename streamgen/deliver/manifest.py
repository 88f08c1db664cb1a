"""What an output was made from, kept inside the output, so that `--resume` can trust it.

A folder holds it as `streamgen.json`. A Matroska file holds it as the tag `STREAMGEN_MANIFEST`,
an MP4 file as a `uuid` box at its end, which players skip (ISO/IEC 14496-12, 11.1): the comment
of the video stays the user's, and no litter lies beside the output. Only the input's name is
kept, not its folder: people give their videos away.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import av
from pydantic import Field, ValidationError

from streamgen.config import Settings
from streamgen.deliver.atomic import FOLDER_SIGN, reason
from streamgen.deliver.boxes import boxes
from streamgen.errors import SourceError

BOX_ID = uuid.UUID("5f1c9a52-7f1e-4d8b-9a53-73747265616d")
"""Type of the MP4 box that holds the manifest."""
TAG = "STREAMGEN_MANIFEST"
"""Name of the Matroska tag that holds the manifest."""
_URI = re.compile(r'URI="([^"]+)"')
_HEAD_BYTES = 1 << 20
_LARGEST_BYTES = 1 << 20


class InputIdentity(Settings):
    """Enough of a file to notice that it is another one, without reading all of it."""

    name: str
    """File name without its folder, or the URL without its secrets."""
    size_bytes: int = 0
    """0 for a URL or a pipe."""
    mtime_ns: int = 0
    """Time of the last change, nanoseconds since 1970; 0 for a URL or a pipe."""
    head_hash: str = ""
    """SHA-256 of the first and the last MiB."""


class Manifest(Settings):
    """Everything an output depends on. Two equal manifests mean equal outputs."""

    input: InputIdentity
    """What it was made from."""
    pipeline: str
    """Digest of the pipeline."""
    models: dict[str, str] = Field(default_factory=dict)
    """Digest of each network used, by name."""
    settings: str = ""
    """Digest of the settings that the pipeline does not hold."""
    version: str = version("streamgen")
    """Version of streamgen that made it."""


def describe_input(path: Path) -> InputIdentity:
    """Identity of a regular file; of anything else only the name, because reading takes from it.

    Raises `SourceError` when it cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return InputIdentity(name=_text(path.name))
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            digest = hashlib.sha256(file.read(_HEAD_BYTES))
            if facts.st_size > _HEAD_BYTES:
                file.seek(max(_HEAD_BYTES, facts.st_size - _HEAD_BYTES))
                digest.update(file.read(_HEAD_BYTES))
    except OSError as error:
        raise SourceError(f"cannot read {path}: {reason(error)}") from error
    return InputIdentity(
        name=_text(path.name),
        size_bytes=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        head_hash=digest.hexdigest(),
    )


def _text(name: str) -> str:
    """Linux has names that are no UTF-8; JSON has not."""
    return os.fsencode(name).decode(errors="backslashreplace")


def matches(output: Path, wanted: Manifest) -> bool:
    """True when `output` is whole and was made from exactly this."""
    return read_manifest(output) == wanted and (not output.is_dir() or _complete(output))


def read_manifest(output: Path) -> Manifest | None:
    """The manifest inside a file or folder; None where there is none that can be understood."""
    try:
        text = _find(output)
        return None if text is None else Manifest.model_validate_json(text)
    except (OSError, ValidationError, av.error.FFmpegError):
        return None


def write_into_folder(folder: Path, manifest: Manifest | None) -> None:
    """Mark a folder as ours. Without a manifest it is marked, but never matches."""
    text = "{}" if manifest is None else manifest.model_dump_json(indent=2)
    (folder / FOLDER_SIGN).write_text(text + "\n", encoding="utf-8")


def append_to_mp4(path: Path, manifest: Manifest) -> None:
    """Add the box behind the last one of a finished MP4 file."""
    payload = BOX_ID.bytes + manifest.model_dump_json().encode()
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(payload), b"uuid") + payload)


def _complete(ladder: Path) -> bool:
    """True when the playlists of a ladder, and all that they name, are there and not empty."""
    try:
        renditions = _named_in(ladder / "index.m3u8")
        named = [_named_in(rendition) for rendition in renditions]
        files = [file for files in named for file in files]
        return bool(files) and all(named) and all(_filled(file) for file in files)
    except (OSError, UnicodeDecodeError):
        return False


def _filled(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _named_in(playlist: Path) -> list[Path]:
    """What a playlist leads to: the lines that are no tags, and the URIs inside tags."""
    text = playlist.read_text(encoding="utf-8")
    names = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [playlist.parent / name for name in [*names, *_URI.findall(text)]]


def _find(output: Path) -> str | bytes | None:
    if output.is_dir():
        return (output / FOLDER_SIGN).read_bytes()
    with output.open("rb") as file:
        if file.read(8)[4:] == b"ftyp":
            return next(_payloads(file), None)
    with av.open(f"file:{output.resolve()}") as container:
        tags = {key.upper(): value for key, value in container.metadata.items()}
    return tags.get(TAG)


def _payloads(file: BinaryIO) -> Iterator[bytes]:
    """What our boxes in an MP4 file hold."""
    for box in boxes(file):
        if box.kind == "uuid" and box.end - box.start <= _LARGEST_BYTES:
            file.seek(box.start)
            payload = file.read(box.end - box.start)
            if payload.startswith(BOX_ID.bytes):
                yield payload[len(BOX_ID.bytes) :]
