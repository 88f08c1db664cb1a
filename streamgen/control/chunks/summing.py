"""The report of a job that was made in pieces, as if one process had made it."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamgen.control.chunks.folder import Planned
from streamgen.control.chunks.packets import Made
from streamgen.encode.audio import AudioPath
from streamgen.report import AudioReport, Latency, Report, RungReport, StageReport


@dataclass(frozen=True, slots=True)
class Sum:
    """What the pieces do not know."""

    wall_s: float
    cpu_s: float
    """Of this process."""
    jobs: int
    announced: int
    """Pictures that the file announces."""
    planned: Planned
    sound: AudioPath | None


def summed(whole: Sum, pieces: Sequence[Made], notes: Sequence[str]) -> Report:
    """Counts are added up; times are those of the slowest piece; memory is what all processes
    took at once. Work that was done twice, before the beginning of pieces, is in the sums of
    stages, conversions and copies, and in no count of pictures."""
    reports = [piece.report for piece in pieces]
    frames_out = sum(report.frames_out for report in reports)
    cpu_ms = whole.cpu_s * 1e3 + sum(r.cpu_ms_per_frame * r.frames_out for r in reports)
    copies = _added(reports, lambda report: report.copies)
    most_mb = max(report.peak_rss_mb for report in reports)
    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    frames = max(frames_out, 1)
    return Report(
        frames_in=whole.announced,
        frames_out=frames_out,
        dropped=_dropped(whole, reports, frames_out),
        fps=frames_out / whole.wall_s if whole.wall_s else 0.0,
        wall_s=whole.wall_s,
        cpu_ms_per_frame=cpu_ms / frames,
        copies_per_frame=sum(copies.values()) / frames,
        peak_rss_mb=own_mb + most_mb * min(whole.jobs, len(pieces)),
        latency_ms=_slowest([report.latency_ms for report in reports]),
        stages=_stages(reports),
        rungs=_rungs(whole, pieces),
        audio=_audio(whole.sound),
        environment=reports[0].environment,
        steps={
            step: _slowest([report.steps[step] for report in reports if step in report.steps])
            for step in dict.fromkeys(step for report in reports for step in report.steps)
        },
        queues={
            name: max(report.queues.get(name, 0) for report in reports)
            for name in dict.fromkeys(name for report in reports for name in report.queues)
        },
        corrected=whole.planned.corrected,
        lost=_added(reports, lambda report: report.lost),
        corrupt=_added(reports, lambda report: report.corrupt),
        converted=_added(reports, lambda report: report.converted),
        copies=copies,
        notes=list(notes),
    )


def _dropped(whole: Sum, reports: Sequence[Report], frames_out: int) -> dict[str, int]:
    """By reason. What a cap left out of warm-ups is nobody's loss, so the sum decides."""
    missing = whole.announced - frames_out
    if missing <= 0:
        return {}
    reasons = _added(reports, lambda report: report.dropped)
    capped = min(reasons.pop("fps_cap", 0), missing)
    rest = missing - capped
    dropped = {"fps_cap": capped} if capped else {}
    for reason, number in reasons.items():
        if share := min(number, rest):
            dropped[reason], rest = share, rest - share
    if rest:
        dropped["decode"] = dropped.get("decode", 0) + rest
    return dropped


def _added(
    reports: Sequence[Report], counts: Callable[[Report], Mapping[str, int]]
) -> dict[str, int]:
    total: Counter[str] = Counter()
    for report in reports:
        total.update(counts(report))
    return dict(total)


def _slowest(some: Sequence[Latency]) -> Latency:
    return Latency(
        p50=max(one.p50 for one in some),
        p95=max(one.p95 for one in some),
        p99=max(one.p99 for one in some),
    )


def _stages(reports: Sequence[Report]) -> list[StageReport]:
    rows: list[StageReport] = []
    for same in zip(*(report.stages for report in reports), strict=True):
        rows.append(
            StageReport(
                name=same[0].name,
                p50_ms=max(one.p50_ms for one in same),
                p99_ms=max(one.p99_ms for one in same),
                frames=sum(one.frames for one in same),
                reused=sum(one.reused for one in same),
                bypassed=sum(one.bypassed for one in same),
                failed=sum(one.failed for one in same),
            )
        )
    return rows


def _rungs(whole: Sum, pieces: Sequence[Made]) -> list[RungReport]:
    rows: list[RungReport] = []
    survey = whole.planned.survey
    times_ns = survey.times_ns(survey.rows["pts"])
    step_ns = survey.times_ns(survey.rows["duration"])
    length_s = (int((times_ns + step_ns).max()) - int(times_ns.min())) / 1e9
    for same in zip(*(piece.tracks for piece in pieces), strict=True):
        size_bytes = sum(one.size_bytes for one in same)
        track = same[0].track
        rows.append(
            RungReport(
                name=str(track["name"]).removeprefix("video/"),
                width=track["width"],
                height=track["height"],
                bitrate_bps=round(size_bytes * 8 / length_s) if length_s > 0 else 0,
                frames=sum(one.frames for one in same),
                keyframes=sum(one.keyframes for one in same),
            )
        )
    return rows


def _audio(path: AudioPath | None) -> AudioReport | None:
    if path is None:
        return None
    return AudioReport(
        codec=path.track.codec,
        samples=path.samples_out,
        av_offset_ms=round(path.worst_offset_ms, 3),
    )
