"""`open_session`: a pipeline, a source and outlets become a session, checked before it runs.

Everything that can be refused is refused here, before the first output byte is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from fractions import Fraction
from typing import Any

from streamgen.config import cache_dir, check, cores
from streamgen.encode.audio import AudioPath, open_audio
from streamgen.encode.clock import FrameClock, RateCap
from streamgen.encode.ladder import Ladder, PictureFormat, plan_rungs, same_rungs
from streamgen.graph.director import Director
from streamgen.graph.governor import Governor, warning
from streamgen.graph.graph import Graph
from streamgen.graph.lane import Lane
from streamgen.graph.plan import PlannedNode
from streamgen.graph.rehearsal import rehearse
from streamgen.graph.seat import AHEAD, INBOX
from streamgen.graph.slate import Dissolve, Slate
from streamgen.intake import Intake, open_intake
from streamgen.media.timeline import Presentation, Timeline
from streamgen.media.tracks import EncodedTrack, SourceInfo, VideoTrack
from streamgen.media.vigil import Vigil, WatchedDecoder, WatchedEncoder
from streamgen.pipeline import Pipeline
from streamgen.plugins import models
from streamgen.protocols import (
    Engines,
    Hardware,
    Mode,
    Outlet,
    Source,
    Stage,
    StageContext,
)
from streamgen.runtimes.choose import MeasuredEngines
from streamgen.session import LIVE_AHEAD, Mending, Session
from streamgen.telemetry import Telemetry

PATIENCE = {Mode.LIVE: 30, Mode.OFFLINE: 600}
"""Looks (`media/vigil.py`), one a second, at one call for one picture before it counts as stuck.
By AV1 on two cores that 20 programs wanted, the longest call took 2.1 s at 1080p live (preset
medium), and 41 s at 2160p offline (preset placebo)."""
FIRST = 900
"""Where a stage has given nothing yet: its first picture may be what it compiles for."""


def open_session(
    pipeline: Pipeline,
    source: Source,
    outlets: Sequence[Outlet],
    *,
    lane: Lane,
    mode: Mode = Mode.OFFLINE,
    telemetry: Telemetry | None = None,
    engines: Engines | None = None,
    all_audio: bool = False,
    top_only: bool = False,
    time_of_day: Callable[[], datetime] | None = None,
    timeline: Mending | None = None,
    sounds: Mapping[str, AudioPath] | None = None,
    rungs: Sequence[tuple[str, int, int]] = (),
    hardware: Hardware | None = None,
) -> Session:
    """Build every part of the journey; open encoders and outlets.

    `timeline` is for a source whose times somebody else has mended, `sounds` for one whose sound is
    opened by the caller, by the source's track name. `time_of_day` is the wall clock, for stages
    that show it. `rungs` (name, width, height) are those of a session that goes on; `top_only`
    leaves out all but the largest. `hardware` is the device that the lane is for: pictures stay on
    it, unless it cannot decode this source. The lane runs, and outlives the session. Raises
    `ConfigError`, `SourceError`, `ModelError`, `EncodeError` or `OutputError`; then the source is
    closed, and no output is left.
    """
    telemetry = telemetry or Telemetry()
    chosen = engines or MeasuredEngines(mode, cache=cache_dir(), cores=cores(), telemetry=telemetry)
    with ExitStack() as undo:  # an interrupt in the middle must leave as little behind as an error
        undo.callback(source.close)
        for outlet in outlets:
            undo.callback(outlet.abort)
        intake = open_intake(pipeline, source.info.video, mode, telemetry, hardware)
        context = _context(intake, mode, chosen, telemetry, source.info.name, time_of_day)
        graph = open_graph(pipeline, context, telemetry)
        undo.callback(graph.close)
        session = _open(
            pipeline,
            source,
            outlets,
            intake,
            graph,
            lane,
            context,
            telemetry,
            timeline=timeline or source_timeline(source.info, telemetry),
            sounds=sounds,
            all_audio=all_audio,
            top_only=top_only,
            rungs=rungs,
        )
        undo.pop_all()
    return session


def _context(
    intake: Intake,
    mode: Mode,
    engines: Engines,
    telemetry: Telemetry,
    title: str,
    time_of_day: Callable[[], datetime] | None,
) -> StageContext:
    return StageContext(
        intake.device,
        mode,
        intake.pool,
        intake.pool.meter,
        engines,
        models(),
        count=telemetry.count,
        title=title,
        time_of_day=time_of_day,
        blitter=intake.blitter,
    )


def open_graph(pipeline: Pipeline, context: StageContext, telemetry: Telemetry) -> Graph:
    """The stages of a pipeline, built with their parameters and joined."""
    plan = pipeline.plan()

    def build(node: PlannedNode, params: Any) -> Stage:
        stage: Stage = node.stage_class()(params, context)
        return stage

    params = [
        check(node.stage_class().Params, node.spec.params, name=f"stage {node.name}")
        for node in plan.nodes
    ]
    return Graph(plan, build, params, telemetry)


def _open(
    pipeline: Pipeline,
    source: Source,
    outlets: Sequence[Outlet],
    intake: Intake,
    graph: Graph,
    lane: Lane,
    context: StageContext,
    telemetry: Telemetry,
    *,
    timeline: Mending,
    sounds: Mapping[str, AudioPath] | None,
    all_audio: bool,
    top_only: bool,
    rungs: Sequence[tuple[str, int, int]],
) -> Session:
    info, mode = source.info, context.mode
    video = info.video
    cap = None
    if pipeline.fps_cap is not None:
        cap = RateCap(pipeline.fps_cap, video.rate, telemetry)
    ladder, notes = _open_ladder(pipeline, video, graph, cap, context, top_only, rungs, intake)
    graph.prepare(video.width, video.height, video.color)
    notes += [note for node in graph.nodes for note in getattr(node.stage, "notes", [])]
    if sounds is None:
        sounds, dropped = open_sounds(pipeline, info, outlets, telemetry, all_audio)
        notes += dropped
    tracks = [*ladder.tracks, *(track for path in sounds.values() for track in path.tracks)]
    carried, left_out = carried_tracks(info, outlets)
    notes += left_out
    for outlet in outlets:
        outlet.open([*tracks, *carried])
        notes += outlet.dropped_tracks
    director = None
    if mode is Mode.LIVE:
        director, warned = _open_director(pipeline, graph, context, telemetry, video, ladder)
        notes += warned
    decoder = WatchedDecoder(intake.decoder, f"decoder {video.codec}")
    return Session(
        director=director,
        vigil=_vigil(mode, decoder, ladder, graph),
        source=source,
        outlets=outlets,
        mode=mode,
        telemetry=telemetry,
        meter=context.meter,
        timeline=timeline,
        presentation=Presentation(telemetry),
        decoder=decoder,
        cap=cap,
        graph=graph,
        lane=lane,
        clock=FrameClock(pipeline.keyframe_interval_ns(live=mode is Mode.LIVE)),
        ladder=ladder,
        sounds=dict(sounds),
        carried=frozenset(track.name for track in carried),
        notes=notes,
        parallel=1 if mode is Mode.LIVE else context.engines.requests,
        engines=context.engines,
    )


def _vigil(mode: Mode, decoder: WatchedDecoder, ladder: Ladder, graph: Graph) -> Vigil:
    """Over every call into a codec or stage of the session."""
    encoders = [
        WatchedEncoder(one, f"encoder {one.track.codec} of rung {one.track.name.partition('/')[2]}")
        for one in ladder.encoders
    ]
    ladder.encoders = [*encoders]
    vigil = Vigil(PATIENCE[mode], FIRST)
    vigil.watch(decoder.under_way, *(one.under_way for one in encoders))
    vigil.watch(*(node.under_way for node in graph.nodes))
    return vigil


def _open_director(
    pipeline: Pipeline,
    graph: Graph,
    context: StageContext,
    telemetry: Telemetry,
    video: VideoTrack,
    ladder: Ladder,
) -> tuple[Director, list[str]]:
    """What keeps a live stream's latency, rehearsed; and whether its budget may be missed."""
    live = pipeline.live
    governor = Governor(
        live.latency_budget,
        live.when_late,
        [node.name for node in graph.nodes],
        frozenset(node.name for node in graph.nodes if node.contract.skippable),
        inbox=INBOX,
    )
    spent_ns = rehearse(
        graph, context.pool, telemetry.clock, video.width, video.height, video.color
    )
    for name, duration_ns in spent_ns.items():
        governor.took(name, duration_ns)
    inside = [INBOX, 1, AHEAD, LIVE_AHEAD]
    warned = warning(inside, sum(spent_ns.values()), live.latency_budget)
    slate = Slate(live.slate, context.pool)
    director = Director(
        governor,
        telemetry,
        Dissolve(context.pool),
        slate,
        rungs=len(ladder.encoders),
        slate_in_gaps=live.slate_in_gaps or video.codec_context is None,
    )
    return director, [] if warned is None else [warned]


def _open_ladder(
    pipeline: Pipeline,
    video: VideoTrack,
    graph: Graph,
    cap: RateCap | None,
    context: StageContext,
    top_only: bool,
    before: Sequence[tuple[str, int, int]],
    intake: Intake,
) -> tuple[Ladder, list[str]]:
    if before:
        plan = same_rungs(pipeline.ladder, before)
        width, height = plan.rungs[0].width, plan.rungs[0].height
    else:
        width, height = graph.output_size(video.width, video.height)
        plan = plan_rungs(pipeline.ladder, width, height, sar=video.sar)
    picture = PictureFormat(
        width=width,
        height=height,
        time_base=video.time_base,
        rate=video.rate if cap is None else cap.rate,
        sar=video.sar,
        rotation=video.rotation,
        color=video.color,
    )
    rungs = plan.rungs[:1] if top_only else plan.rungs
    ladder = Ladder(
        rungs,
        picture,
        pipeline.encoder,
        mode=context.mode,
        pool=context.pool,
        meter=context.meter,
        hardware=intake.hardware,
    )
    notes = [*intake.notes, *plan.notes]
    for name, why in ladder.refused.items():
        context.count("encoded_on_host", name)
        notes.append(f"rung {name} is encoded on the processor: {why}")
    return ladder, notes


def open_sounds(
    pipeline: Pipeline,
    info: SourceInfo,
    outlets: Sequence[Outlet],
    telemetry: Telemetry,
    all_audio: bool,
) -> tuple[dict[str, AudioPath], list[str]]:
    """The ways of the chosen audio tracks by the source's track name, and what was left out."""
    if pipeline.audio.codec == "none":
        return {}, [f"{track.name} is left out: audio is switched off" for track in info.audio]

    def taken(codec: str) -> bool:
        return all(outlet.takes(codec) for outlet in outlets)

    chosen = info.audio if all_audio else info.audio[:1]
    paths = {
        track.name: open_audio(
            track,
            pipeline.audio,
            container_takes=taken,
            telemetry=telemetry,
            name=f"audio/{number}",
            default=number == 0,
        )
        for number, track in enumerate(chosen)
    }
    rest = info.audio[len(chosen) :]
    return paths, [f"{track.name} is left out: only the first track is asked for" for track in rest]


def carried_tracks(
    info: SourceInfo, outlets: Sequence[Outlet]
) -> tuple[list[EncodedTrack], list[str]]:
    """Subtitles and attachments that some outlet takes as they are, and what no outlet takes."""
    carried: list[EncodedTrack] = []
    notes: list[str] = []
    for track in info.data:
        if any(outlet.takes(track.codec) for outlet in outlets):
            carried.append(
                EncodedTrack(
                    name=track.name,
                    kind=track.kind,
                    codec=track.codec,
                    time_base=Fraction(track.stream.time_base),
                    template=track.stream,
                    language=track.language,
                )
            )
        else:
            notes.append(f"{track.name} ({track.codec}) is left out: no output takes it")
    return carried, notes


def source_timeline(info: SourceInfo, telemetry: Telemetry) -> Timeline:
    video = info.video
    rates = {} if video.rate is None else {video.name: video.rate}
    return Timeline(telemetry, start=info.start, rates=rates)
