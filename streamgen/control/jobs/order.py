"""`JobOrder`: what is to be made of one file, as the row of a job holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from streamgen.control.chunks.chunked import InPieces
from streamgen.control.chunks.folder import Planned, read_plan
from streamgen.control.offline import Choices, Job, Sound, address_of, manifest_of, outlet_of
from streamgen.deliver.manifest import Manifest
from streamgen.encode.audio import AudioSettings
from streamgen.errors import OutputError
from streamgen.ingest.address import local_path
from streamgen.media.tracks import SourceInfo
from streamgen.pipeline import Pipeline, parse_pipeline
from streamgen.protocols import Outlet


class JobOrder(BaseModel):
    """Plain values; every path is absolute, and the same on all machines that work on it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    pipeline: dict[str, Any]
    """As written, with all overrides."""
    input: str
    output: str
    ladder: bool
    sound: Sound = Sound.FIRST
    fragmented: bool = False
    overwrite: bool = False
    place: str = ""
    """Where the pieces lie."""
    identity: str = ""
    pieces: int = 0
    frames: int = 0
    """Pictures announced; 0 where that is not known."""
    uncut: str = ""
    """Why it cannot be cut, in words for the user: it is one piece, made when that is joined."""

    @property
    def job(self) -> Job:
        return Job(self.input, Path(self.output), ladder=self.ladder)

    @property
    def choices(self) -> Choices:
        return Choices(self.overwrite, sound=self.sound, fragmented=self.fragmented)

    def loaded(self) -> Pipeline:
        """The pipeline, with the sound as it was asked for. Raises `ConfigError`."""
        found = parse_pipeline(self.pipeline)
        if self.sound is Sound.NONE:
            return found.model_copy(update={"audio": AudioSettings(codec="none")})
        return found

    def how(self, jobs: int) -> InPieces:
        """As `jobs` processes would make it."""
        return InPieces(self.loaded(), self.job, self.choices, jobs)

    @property
    def here(self) -> bool:
        """Whether this machine has the folders of its input and its output."""
        return all(path.parent.is_dir() for path in (local_path(self.input), Path(self.place)))

    def planned(self) -> Planned:
        """How the input is cut. Raises `OutputError` where that is lost."""
        found = read_plan(Path(self.place))
        if found is None or found.identity != self.identity:
            raise OutputError(f"the plan of {self.output} is lost: {self.place}")
        return found

    def manifest(self) -> Manifest:
        """What the output depends on, now. Raises `SourceError` where the input is gone."""
        return manifest_of(self.loaded(), self.job, self.choices, address_of(self.input))

    def outlet(self, info: SourceInfo, manifest: Manifest) -> Outlet:
        """Where the output goes; its name is checked. Raises `ConfigError`, `OutputError`."""
        paths = [local_path(self.input)]
        return outlet_of(self.job, self.choices, info, manifest, paths)
