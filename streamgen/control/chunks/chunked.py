"""`carry_in_pieces`: one offline job, made by several processes, a piece of the file at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from typing import Protocol

from streamgen.control.chunks.child import Order
from streamgen.control.chunks.crew import Crew
from streamgen.control.chunks.cuts import LEAST_NS, Cuts, Needs, cut
from streamgen.control.chunks.folder import Planned, Workplace, place_of
from streamgen.control.chunks.join import Assembly
from streamgen.control.chunks.packets import Made, made_already
from streamgen.control.chunks.summing import Sum, summed
from streamgen.control.chunks.survey import survey
from streamgen.control.offline import (
    Audience,
    Choices,
    Job,
    Outcome,
    Sound,
    address_of,
    carry,
    manifest_of,
    outlet_of,
)
from streamgen.deliver.manifest import Manifest, matches
from streamgen.encode.audio import AudioPath, AudioSettings
from streamgen.errors import OutputError
from streamgen.graph.lane import Lane
from streamgen.ingest.address import local_path
from streamgen.ingest.container import ContainerSource, open_source
from streamgen.opening import source_timeline
from streamgen.pipeline import Pipeline
from streamgen.protocols import Outlet, Source
from streamgen.report import Progress, Report
from streamgen.telemetry import Telemetry

SETTLE_NS = 1_000_000_000
"""Stream time after which a stage that remembers has forgotten where it began: what ours keep
of a picture is below a code value by then."""


@dataclass
class Following:
    """What somebody who watches a job in pieces may see of it; any thread."""

    name: str
    telemetry: Telemetry
    progress: Callable[[], Progress]
    pieces: int
    notes: list[str] = field(default_factory=list)


class PieceAudience(Audience, Protocol):
    """Who follows jobs that may be made in pieces."""

    def following(self, job: Job, run: Following) -> AbstractContextManager[None]:
        """Around the making of one job in pieces."""
        ...


@dataclass(frozen=True, slots=True)
class InPieces:
    """How one job is made."""

    pipeline: Pipeline
    job: Job
    choices: Choices
    jobs: int
    """Processes at work at once."""
    least_ns: int = LEAST_NS


def carry_in_pieces(
    pipeline: Pipeline,
    job: Job,
    choices: Choices,
    audience: PieceAudience,
    lane: Lane,
    *,
    jobs: int,
    least_ns: int = LEAST_NS,
) -> Outcome:
    """Carry out one job with `jobs` processes, as `offline.carry` does with one.

    An input that cannot be cut is made whole, in this process, and the user is told why. Where the
    run fails or is interrupted, the pieces that are whole stay for `Choices.resume`.
    """
    if choices.sound is Sound.NONE:
        pipeline = pipeline.model_copy(update={"audio": AudioSettings(codec="none")})
    how = InPieces(pipeline, job, choices, jobs, least_ns)
    why_not = "only files become pieces, and only of files"
    if address_of(job.input).local and not job.sending:
        done = _carried(how, audience)
        if isinstance(done, Outcome):
            return done
        why_not = done.uncut
    notes = [f"made by one process: {why_not}"]
    return carry(pipeline, job, choices, audience, lane, notes=notes)


def _carried(how: InPieces, audience: PieceAudience) -> Outcome | Cuts:
    """The job done, or that it cannot be cut; then nothing is left of the attempt."""
    job, choices = how.job, how.choices
    manifest = manifest_of(how.pipeline, job, choices, address_of(job.input))
    if choices.resume and matches(job.output, manifest):
        if place_of(job.output).exists():  # the run was killed between its last two steps
            with Workplace(job.output) as place:
                place.remove()
        return Outcome(job)
    with ExitStack() as leaving:
        source = open_source(job.input)
        leaving.callback(source.close)
        outlet = outlet_of(job, choices, source.info, manifest, [local_path(job.input)])
        leaving.callback(outlet.abort)
        place = leaving.enter_context(Workplace(job.output))
        planned = _planned(how, identity_of(manifest), source, place)
        if isinstance(planned, Cuts):
            place.remove()
            return planned
        run = _Run(how, planned, place, source.info.name)
        with audience.following(job, run.following):
            run.make()
            report = run.join(open_source(job.input), outlet)
        place.remove()
        return Outcome(job, report)


def identity_of(manifest: Manifest) -> str:
    """Of everything that an output depends on."""
    return hashlib.sha256(manifest.model_dump_json().encode()).hexdigest()


def _planned(how: InPieces, identity: str, source: Source, place: Workplace) -> Planned | Cuts:
    """The plan of a run before, if it was for the same thing; else a new one, in an empty place."""
    before = place.load() if how.choices.resume else None
    if before is not None and before.identity == identity:
        return before
    place.clear()
    planned = plan_pieces(how, identity, source)
    if isinstance(planned, Cuts) or len(planned.chunks) < 2:
        return Cuts((), planned.uncut)
    place.save(planned)
    return planned


def plan_pieces(how: InPieces, identity: str, source: Source) -> Planned | Cuts:
    """Read a whole file and say how it is cut; `Cuts` where it cannot be made by pieces at all.

    Raises `SourceError`.
    """
    telemetry = Telemetry()
    surveyed = survey(source, source_timeline(source.info, telemetry))
    cuts = cut(
        surveyed,
        interval_ns=how.pipeline.keyframe_interval_ns(live=False),
        jobs=how.jobs,
        needs=needs_of(how.pipeline),
        least_ns=how.least_ns,
    )
    if not cuts.chunks:
        return cuts
    return Planned(identity, cuts.chunks, surveyed, telemetry.counts("corrected"), cuts.uncut)


def needs_of(pipeline: Pipeline) -> Needs:
    """What the stages of a pipeline need around the pictures of a piece."""
    nodes = pipeline.plan().nodes
    remembering = sum(node.contract.state == "ordered" for node in nodes)
    every_ns = [node.spec.every or 0 for node in nodes]
    return Needs(
        settle_ns=remembering * SETTLE_NS + sum(every_ns),
        latency=sum(node.contract.latency for node in nodes),
    )


class _Run:
    """One job while it is made."""

    def __init__(self, how: InPieces, planned: Planned, place: Workplace, name: str) -> None:
        self._how = how
        self._planned = planned
        self._place = place
        self._made = place.made(planned)
        self._before = sum(made.report.frames_out for made in self._made.values())
        left = [chunk for chunk in planned.chunks if chunk.number not in self._made]
        top_only = not how.job.ladder
        order = Order(
            how.pipeline,
            how.job.input,
            place.path,
            top_only,
            processors=(),
            identity=planned.identity,
        )
        self._crew = Crew(order, left, how.jobs)
        self._total = sum(chunk.frames for chunk in planned.chunks)
        self._telemetry = Telemetry()
        self._began_ns = self._telemetry.clock.now_ns()
        self._cpu_s = time.process_time()
        self.following = Following(name, self._telemetry, self.progress, len(planned.chunks))
        if self._made:
            had = f"{len(self._made)} of {len(planned.chunks)} pieces were made already"
            self.following.notes.append(had)

    def progress(self) -> Progress:
        frames = self._before + self._crew.frames
        elapsed_s = (self._telemetry.clock.now_ns() - self._began_ns) / 1e9
        fps = self._crew.frames / elapsed_s if elapsed_s else 0.0
        return Progress(
            frames=frames,
            total_frames=self._total,
            fps=fps,
            elapsed_s=elapsed_s,
            left_s=max(self._total - frames, 0) / fps if fps else None,
            load=self._crew.load,
        )

    def make(self) -> None:
        """Until every piece is whole."""
        self._crew.run()
        for chunk in self._planned.chunks:
            made = self._made.get(chunk.number)
            made = made or made_already(self._place.path, chunk.number, self._planned.identity)
            if made is None:
                raise OutputError(f"piece {chunk.number + 1} of {self._how.job.output} is lost")
            self._made[chunk.number] = made
        if self._crew.deaths:
            self._telemetry.count("pieces", "made again", self._crew.deaths)

    def join(self, source: ContainerSource, outlet: Outlet) -> Report:
        """Put the pieces together, with the sound; the output is there when this returns."""
        how, notes = self._how, self.following.notes
        pieces = [self._made[chunk.number] for chunk in self._planned.chunks]
        every = how.choices.sound is Sound.ALL
        whole = Assembly(how.pipeline, self._place.path, pieces, every, self._telemetry)
        with closing(source):
            sound = whole.into(source, outlet, notes)
        return self._report(pieces, sound)

    def _report(self, pieces: Sequence[Made], sound: AudioPath | None) -> Report:
        cpu_s = time.process_time() - self._cpu_s
        wall_s = (self._telemetry.clock.now_ns() - self._began_ns) / 1e9
        whole = Sum(wall_s, cpu_s, self._how.jobs, self._total, self._planned, sound)
        return summed(whole, pieces, self.following.notes)
