"""An owner for each stream: looked for, waited for, looked for once more, or refused."""

from __future__ import annotations

from streamgen.control.coordinator.alarms import About
from streamgen.control.coordinator.cluster import Cluster, Holding, Stream
from streamgen.control.coordinator.commands import Change, Refuse, Wait
from streamgen.control.placement.scheduler import Force, Full, Placed, Work


def seek(cluster: Cluster, stream: Stream, now_ms: int) -> None:
    """An owner for a stream that has none, or a place among those that wait."""
    if not cluster.settled:
        _queue(cluster, stream, now_ms + cluster.limits.settle_ms)
        return
    full = place(cluster, stream, now_ms)
    if full is None:
        return
    name = stream.work.name
    if stream.until_ms is not None and stream.until_ms <= now_ms:
        refuse(cluster, stream, full.reason, _earliest(cluster, stream.work, full, now_ms))
        return
    if name not in cluster.waiting:
        earliest_ms = _earliest(cluster, stream.work, full, now_ms)
        cluster.said.append(Wait(name, full.reason, earliest_ms))
        cluster.changed.streams[name] = None
    _queue(cluster, stream, now_ms)


def place(cluster: Cluster, stream: Stream, now_ms: int, *, only: str | None = None) -> Full | None:
    """An owner for a stream, or another one for one that has one, at once; None: done."""
    if stream.here is None:
        plan(cluster, stream)
    scheduler, work, away = cluster.scheduler, stream.work, stream.avoid
    answer: Placed | Full | None = None
    if stream.here is None and stream.fenced and only is None and work.profile.models:
        # Somebody watches: seconds in which a network is loaded count more than a node more.
        answer = scheduler.place(work, force=Force.NOBODY, away=away, warm=True)
    if not isinstance(answer, Placed):
        force = Force.ALL if stream.here is None else Force.BATCH
        answer = scheduler.place(work, force=force, only=only, away=away)
    if isinstance(answer, Full) and stream.here is None and stream.fenced:
        answer = _on_trial(cluster, stream, only) or answer
    if isinstance(answer, Full):
        return answer
    take(cluster, stream, answer, now_ms)
    return None


def plan(cluster: Cluster, stream: Stream) -> None:
    """What a stream without an owner takes, as it is measured by now. Who has one keeps what was
    planned for it."""
    work = cluster.catalogue.planned(stream.work)
    if work != stream.work:
        cluster.rename(stream, work)


def _on_trial(cluster: Cluster, stream: Stream, only: str | None) -> Placed | None:
    """Somebody watches, and no other node has room: then one will do that failed of late."""
    for name in cluster.resting if only is None else (only,):
        node = cluster.nodes.get(name)
        tried = name == stream.avoid or node is None or not node.on_trial
        if not tried and cluster.scheduler.room(stream.work, name):
            return cluster.scheduler.book(stream.work, name)
    return None


def take(cluster: Cluster, stream: Stream, placed: Placed, now_ms: int) -> None:
    """A place that is booked already. Who had to make way for it seeks another."""
    for other in cluster.own(stream, placed, now_ms):
        seek(cluster, other, now_ms)


def failed(
    cluster: Cluster,
    stream: Stream,
    holding: Holding,
    reason: str,
    now_ms: int,
    *,
    silent: bool = False,
) -> None:
    """This owner broke off: another one is looked for, later and later if that goes on. `silent`:
    its node is not heard any more."""
    name, limits = stream.work.name, cluster.limits
    stream.avoid = holding.node
    if holding is stream.coming:
        cluster.drop(stream, holding, reason)
        cluster.alarms.set(About.RETRY, name, now_ms + limits.move_again_ms)
    else:
        ran = silent and holding.attached
        if now_ms - holding.since_ms >= (limits.soon_ms if ran else limits.stable_ms):
            stream.failures = 0
        stream.failures += 1
        cluster.drop(stream, holding, reason)
    if stream.here is not None:
        if not stream.here.attached:
            cluster.alarms.set(About.ATTACH, name, now_ms + limits.attach_ms)
    elif not stream.wanted:
        cluster.forget(stream)
    elif stream.failures >= limits.failures:
        refuse(cluster, stream, f"it failed {stream.failures} times in a row: {reason}", None)
    else:
        pause_ms = limits.retry_ms << max(stream.failures - 2, 0)
        cluster.alarms.set(About.RETRY, name, now_ms + pause_ms)
        if stream.failures == 1:
            orphaned(cluster, stream, now_ms)


def try_again(cluster: Cluster, stream: Stream, now_ms: int) -> None:
    """Some time after a failure. Where it failed is as good as any other if there is no other."""
    if stream.here is not None:
        stream.avoid = None
        cluster.touched[stream.here.node] = None
    elif not cluster.settled or place(cluster, stream, now_ms) is not None:
        stream.avoid = None
        seek(cluster, stream, now_ms)


def orphaned(cluster: Cluster, stream: Stream, now_ms: int) -> None:
    """It ran, and shall run again: it waits longer than who comes anew."""
    if stream.until_ms is not None:
        stream.until_ms = max(stream.until_ms, now_ms + cluster.limits.orphan_ms)
    seek(cluster, stream, now_ms)


def refuse(cluster: Cluster, stream: Stream, reason: str, earliest_ms: int | None) -> None:
    """Say no, and forget the stream."""
    cluster.said.append(Refuse(stream.work.name, reason, earliest_ms))
    cluster.forget(stream)


def change(cluster: Cluster, stream: Stream, work: Work, now_ms: int) -> None:
    """Another profile or standing: on the same node if there is room for it, else on another one;
    where neither has any, it stays as it is, and that is said."""
    if stream.coming is not None:
        cluster.drop(stream, stream.coming, "it is changed")
    work = cluster.catalogue.planned(work)
    before, here = stream.work, stream.here
    if here is None:
        cluster.rename(stream, work)
        if work.name in cluster.waiting:
            cluster.waiting.discard(work.name)
            seek(cluster, stream, now_ms)
        return
    scheduler = cluster.scheduler
    scheduler.release(work.name, here.node)
    answer = scheduler.place(work, only=here.node)
    if isinstance(answer, Placed):
        cluster.rename(stream, work)
        here.cut = answer.cut
        cluster.expect(stream)
        cluster.said.append(Change(work, here.node, here.epoch, here.cut))
        for other in cluster.make_way(answer):
            seek(cluster, other, now_ms)
        cluster.touched[here.node] = None
        return
    scheduler.book(before, here.node, here.cut)
    cluster.expect(stream)
    answer = scheduler.place(work, away=stream.avoid)
    if isinstance(answer, Placed):
        cluster.rename(stream, work)
        here.was = before
        take(cluster, stream, answer, now_ms)
    else:
        at_ms = _earliest(cluster, work, answer, now_ms)
        cluster.said.append(Refuse(work.name, f"unchanged: {answer.reason}", at_ms))


def no_room(cluster: Cluster, work: Work, now_ms: int, *, runs: bool = False) -> Wait | None:
    """What a new stream, or one that `runs` and is to become this, would be told now; None: it
    would have room, or nobody can say. Nothing is booked."""
    stream = cluster.streams.get(work.name)
    has_owner = stream is not None and stream.here is not None
    if not cluster.settled or has_owner != runs or (stream is not None and not runs):
        return None
    full = cluster.scheduler.full(cluster.catalogue.planned(work))
    earliest_ms = None if full is None else _earliest(cluster, work, full, now_ms)
    return None if full is None else Wait(work.name, full.reason, earliest_ms)


def earliest(cluster: Cluster, work: Work, now_ms: int) -> int | None:
    """When there is room for work that waits if nothing else happens; None: that is not known."""
    full = cluster.scheduler.full(cluster.catalogue.planned(work))
    return None if full is None else _earliest(cluster, work, full, now_ms)


def _earliest(cluster: Cluster, work: Work, full: Full, now_ms: int) -> int | None:
    """When something ends, or a node that failed is trusted again."""
    found = [] if full.earliest_ms is None else [max(full.earliest_ms, now_ms)]
    for name, at_ms in cluster.resting.items():
        if cluster.scheduler.room(work, name):
            found.append(at_ms)
    return min(found, default=None)


def _queue(cluster: Cluster, stream: Stream, earliest_ms: int) -> None:
    """It waits; and that comes to an end."""
    cluster.waiting.add(stream.work)
    if stream.until_ms is not None:
        at_ms = max(stream.until_ms, earliest_ms)
        cluster.alarms.set(About.PATIENCE, stream.work.name, at_ms)
