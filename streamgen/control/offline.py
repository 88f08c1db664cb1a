"""Offline jobs: which input becomes which output, and carrying each one out. Nothing is printed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from streamgen.control.devices import Wanted, open_hardware
from streamgen.deliver.container import CONTAINERS, FileOutlet, container_of
from streamgen.deliver.gstreamer import GstOutlet
from streamgen.deliver.hls import HlsOutlet
from streamgen.deliver.manifest import InputIdentity, Manifest, describe_input, matches
from streamgen.encode.audio import AudioSettings
from streamgen.errors import ConfigError, SourceError, StreamGenError
from streamgen.graph.lane import Lane
from streamgen.gstreamer.process import name_of
from streamgen.ingest.address import Address, find, is_pipeline, is_url, local_path
from streamgen.ingest.container import expand_inputs, open_source
from streamgen.ingest.pace import Paced
from streamgen.media.tracks import SourceInfo
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline
from streamgen.plugins import models, stage_plugins
from streamgen.protocols import Mode, Outlet
from streamgen.report import Report, measure
from streamgen.session import Session, run
from streamgen.telemetry import Telemetry


class Sound(Enum):
    """Which audio tracks of an input are carried along."""

    FIRST = "first"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user said about outputs, beside the pipeline."""

    overwrite: bool = False
    """Replace outputs that exist."""
    resume: bool = False
    """Leave outputs alone that were made from exactly this input, pipeline and settings."""
    sound: Sound = Sound.FIRST
    fragmented: bool = False
    """MP4 files in fragments."""
    pipelines: bool = False
    """Inputs and outputs may be pipelines of GStreamer. Only for what this machine's user types."""
    device: Wanted = Wanted.CPU
    trace: bool = False
    """Keep what every step did with every frame, in the run's telemetry."""


@dataclass(frozen=True, slots=True)
class Job:
    """One input and what is made of it."""

    input: str
    """Path or URL, secrets included: for people there is `name`."""
    output: Path
    ladder: bool
    """`output` is a folder with an HLS ladder; else it is one file with the top rung."""
    sending: str = ""
    """The pipeline of GStreamer that takes the top rung, secrets included. `output` is its name."""

    @property
    def name(self) -> str:
        """The input as people, reports and logs may see it."""
        return shown(self.input)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one job ended: with a report, skipped (neither), or with an error."""

    job: Job
    report: Report | None = None
    error: StreamGenError | None = None

    @property
    def skipped(self) -> bool:
        return self.report is None and self.error is None


class Audience(Protocol):
    """Who follows the jobs."""

    def watching(
        self, job: Job, session: Session, telemetry: Telemetry
    ) -> AbstractContextManager[None]:
        """Around the run of one job; may poll `report.progress(session)` meanwhile."""
        ...


def plan(inputs: Sequence[str], output: str) -> list[Job]:
    """One job for every input.

    `x.mp4` and its like take exactly one input. A folder (ending in `/`, or there already) takes
    the HLS ladder of one input; if several are named, or a directory or pattern that may hold
    several, it gets one file for each. `gst:` and a pipeline takes one input, as a live stream.
    Raises `SourceError` and `ConfigError`.
    """
    found = [name for text in inputs for name in _expanded(text, alone=len(inputs) == 1)]
    if is_pipeline(output):
        if len(found) != 1:
            raise ConfigError(f"{len(found)} inputs cannot become one live stream")
        return [Job(found[0], Path(name_of(output, sink=True)), ladder=False, sending=output)]
    path = Path(output)
    if "://" in output:
        scheme = output.partition("://")[0]
        raise ConfigError(f"an output is a file or a folder here, not a URL ({scheme}://)")
    if not output.endswith("/") and not path.is_dir():
        if path.suffix.lower() not in CONTAINERS:
            names = ", ".join(sorted(CONTAINERS))
            raise ConfigError(
                f"output '{output}': write '{output}/' for a folder, or one of {names}"
            )
        if len(found) != 1:
            raise ConfigError(
                f"{len(found)} inputs cannot become the one file '{output}'; write '{path.stem}/'"
            )
        return [Job(found[0], path, ladder=False)]
    if list(found) == list(inputs) and len(found) == 1:
        return [Job(found[0], path, ladder=True)]
    jobs = [Job(text, path / file_name(text), ladder=False) for text in found]
    _refuse_collisions(jobs)
    return jobs


def _expanded(text: str, *, alone: bool) -> list[str]:
    """What one argument names. Of several, a missing one fails later, as a job of its own."""
    try:
        return expand_inputs([text])
    except SourceError:
        if alone:
            raise
        return [text]


def file_name(text: str) -> str:
    """The input's own name, in its own container where we write that, else MP4."""
    if is_pipeline(text):
        return f"{shown(text).partition(':')[2]}.mp4"
    try:
        source = Path(unquote(urlsplit(text).path)) if is_url(text) else local_path(text)
    except ValueError:  # no possible address: fails later, as a job of its own
        source = Path()
    suffix = source.suffix.lower()
    return f"{source.stem or 'stream'}{suffix if suffix in CONTAINERS else '.mp4'}"


def shown(text: str) -> str:
    """An input for people: a path as it is written, a URL without user, password and query."""
    try:
        return address_of(text).name if is_url(text) else text
    except SourceError:  # nothing that we open
        return f"{text.partition('://')[0]}://..."


def address_of(text: str) -> Address:
    """What an input names, checked. Raises `SourceError`."""
    try:
        return find(text)
    except ValueError as error:
        raise SourceError(f"{text.partition('://')[0]}://...: is no possible address") from error


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    for output, number in Counter(job.output for job in jobs).items():
        if number > 1:
            both = [job.name for job in jobs if job.output == output]
            raise ConfigError(f"{both[0]} and {both[1]} would both become {output}")


def check_fragmented(jobs: Sequence[Job]) -> None:
    """Raise `ConfigError` when an output is no MP4 file and so cannot be written in fragments."""
    for job in jobs:
        if job.sending:
            raise ConfigError(f"--fragmented is for MP4 files, not for {job.output}")
        if job.ladder:
            raise ConfigError(f"--fragmented is for MP4 files; the ladder {job.output}/ always is")
        if container_of(job.output) == "matroska":
            raise ConfigError(f"--fragmented is for MP4 files, not for {job.output}")


def carry_all(jobs: Sequence[Job], carrying: Callable[[Job, Lane], Outcome]) -> Iterator[Outcome]:
    """Carry out one job after the other; what one job raises does not stop the next."""
    for job in jobs:
        try:
            with Lane() as lane:
                outcome = carrying(job, lane)
        except StreamGenError as error:
            outcome = Outcome(job, error=error)
        yield outcome


def carry(
    pipeline: Pipeline,
    job: Job,
    choices: Choices,
    audience: Audience,
    lane: Lane,
    *,
    notes: Sequence[str] = (),
) -> Outcome:
    """Carry out one job. Raises what the run raises; then nothing of the output is left.

    `notes` are for the user, before those of the run itself.
    """
    address = address_of(job.input)
    if job.sending and not choices.pipelines:
        raise ConfigError(f"{job.output}: pipelines of GStreamer are refused here")
    # Only a regular file has an identity: pipes and URLs may bring something else each time.
    local = local_path(job.input) if address.local else None
    if choices.sound is Sound.NONE:
        pipeline = pipeline.model_copy(update={"audio": AudioSettings(codec="none")})
    manifest = manifest_of(pipeline, job, choices, address)
    if choices.resume and local is not None and matches(job.output, manifest):
        return Outcome(job)
    with ExitStack() as leaving:  # whenever an interrupt comes, nothing stays open or half made
        source = open_source(job.input, pipelines=choices.pipelines)
        leaving.callback(source.close)
        outlet = outlet_of(job, choices, source.info, manifest, [local] if local else [])
        leaving.callback(outlet.abort)
        telemetry = Telemetry(trace=choices.trace)
        paced = bool(job.sending) and not source.info.live
        session = open_session(
            pipeline,
            Paced(source, telemetry.clock) if paced else source,
            [outlet],
            lane=lane,
            mode=Mode.LIVE if job.sending else Mode.OFFLINE,
            telemetry=telemetry,
            all_audio=choices.sound is Sound.ALL,
            top_only=not job.ladder,
            hardware=open_hardware(choices.device, pipeline, live=bool(job.sending)),
        )
        session.notes[:0] = notes
        with session, audience.watching(job, session, telemetry):
            run(session)
        return Outcome(job, measure(session))


def manifest_of(pipeline: Pipeline, job: Job, choices: Choices, address: Address) -> Manifest:
    """Everything this output depends on, for a later `--resume`."""
    known = address.local
    return Manifest(
        input=describe_input(local_path(job.input)) if known else InputIdentity(name=address.name),
        pipeline=pipeline.digest(),
        models=_models_of(pipeline),
        settings=f"audio={choices.sound.value} ladder={job.ladder} fragmented={choices.fragmented}",
    )


def _models_of(pipeline: Pipeline) -> dict[str, str]:
    """Digest of every file of every network that the stages name, and the version of every stage
    that comes from somebody else's package."""
    nodes = pipeline.nodes()[0].values()
    if not nodes:
        return {}
    known = models()
    plugins = {one.name: one for one in stage_plugins()}
    digests: dict[str, str] = {}
    for node in nodes:
        plugin = plugins.get(node.stage)
        if plugin is not None and not plugin.ours:
            digests[f"stage {node.stage}"] = f"{plugin.package} {plugin.version}"
        wanted = str(getattr(node.settings(), "model", ""))
        for name in (wanted, f"{wanted}-large"):
            for precision, path in known[name].files.items() if name in known else ():
                digests[f"{name}.{precision}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def outlet_of(
    job: Job, choices: Choices, info: SourceInfo, manifest: Manifest, inputs: Sequence[Path]
) -> Outlet:
    if job.sending:
        return GstOutlet(job.sending)
    make: Callable[..., Outlet] = HlsOutlet
    if not job.ladder:
        make = partial(FileOutlet, fragmented=choices.fragmented)
    return make(
        job.output,
        overwrite=choices.overwrite,
        metadata=info.metadata,
        chapters=info.chapters,
        manifest=manifest,
        duration_s=info.duration_s,
        inputs=inputs,
    )
