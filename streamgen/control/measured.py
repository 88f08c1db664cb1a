"""`MeasuredProfiles`: what pipelines take of this machine, as `streamgen profile` measured it, in
the cache: one JSON file each. Another processor or version of streamgen is another machine."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import TypeAdapter, ValidationError

from streamgen import __version__
from streamgen.control.placement.catalogue import MOST_PROFILES
from streamgen.control.placement.resources import Profile
from streamgen.errors import ConfigError
from streamgen.runtimes.cache import processor

_PROFILE = TypeAdapter(Profile)


class MeasuredProfiles:
    """Safe between processes: files are written whole."""

    def __init__(self, cache: Path) -> None:
        """`cache`: as `config.cache_dir` has it."""
        machine = f"{processor()} {__version__}".encode()
        self._folder = cache / "profiles" / blake2b(machine, digest_size=8).hexdigest()

    def write(self, profile: Profile) -> None:
        """Keep it, in place of an earlier measurement of the same. Raises `OSError`."""
        assert profile.subject is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("wb", dir=self._folder, suffix=".partial", delete=False) as file:
            file.write(_PROFILE.dump_json(profile, indent=1))
        # Not by its name: people give pipelines any.
        name = blake2b(profile.subject.text.encode(), digest_size=16).hexdigest()
        os.replace(file.name, self._folder / f"{name}.json")

    def read(self) -> tuple[Profile, ...]:
        """The latest ones, as many as a node may have. A damaged file counts as none."""
        found = []
        files = sorted(self._folder.glob("*.json"), key=lambda one: (-_written_ns(one), one.name))
        for file in files[:MOST_PROFILES]:
            try:
                found.append(_PROFILE.validate_json(file.read_bytes()))
            except (OSError, ValidationError, ConfigError):
                continue
        return tuple(one for one in found if one.subject is not None)


def _written_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # it was replaced a moment ago
        return 0
