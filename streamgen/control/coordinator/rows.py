"""What a coordinator persists, as rows of the store, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from streamgen.control.coordinator.commands import Persist
from streamgen.control.coordinator.events import Held, KnownNode, KnownStream, LeaseGained
from streamgen.control.coordinator.homes import KnownHome
from streamgen.control.placement.resources import Cut, Profile, Resources, Standing
from streamgen.control.placement.scheduler import Work
from streamgen.control.store.rows import Home, Node, Row, Stream

GONE = "gone"


def written(persist: Persist, version: int) -> list[Row]:
    """`version` is higher each time; it comes from the one leader there is."""
    rows: list[Row] = []
    for one in persist.nodes:
        facts: dict[str, Any] = {"capacity": asdict(one.capacity), "models": list(one.models)}
        state = "draining" if one.draining else "up"
        rows.append(Node(one.name, "worker", state, facts | {"boot": one.boot}, version))
    for stream in persist.streams:
        state = "waiting" if stream.here is None else "placed"
        rows.append(Stream(stream.work.name, state, "", _facts(stream), version))
    for home in persist.homes:
        rows.append(Home(home.stream, "held", home.edge, home.epoch, home.passport, version))
    rows += [Node(name, "worker", GONE, {}, version) for name in persist.gone_nodes]
    rows += [Stream(name, GONE, "", {}, version) for name in persist.gone_streams]
    rows += [Home(name, GONE, "", 0, "", version) for name in persist.gone_homes]
    return rows


def read(
    leader: int,
    nodes: Iterable[Node],
    streams: Iterable[Stream],
    homes: Iterable[Home] = (),
) -> LeaseGained:
    """What a new leader is told."""
    return LeaseGained(
        leader,
        tuple(_node(one) for one in nodes if one.kind == "worker" and one.state != GONE),
        tuple(_stream(one) for one in streams if one.state != GONE),
        tuple(
            KnownHome(one.name, one.edge, one.epoch, one.passport)
            for one in homes
            if one.state != GONE
        ),
    )


def _node(row: Node) -> KnownNode:
    return KnownNode(
        row.name,
        Resources(**row.facts["capacity"]),
        tuple(row.facts["models"]),
        row.facts["boot"],
        row.state == "draining",
    )


def _facts(stream: KnownStream) -> dict[str, Any]:
    return _of_work(stream.work) | {"here": _of(stream.here), "coming": _of(stream.coming)}


def _of_work(work: Work) -> dict[str, Any]:
    profile = work.profile
    needs = [asdict(need) for need in profile.needs]
    return {
        "profile": {"name": profile.name, "needs": needs, "models": sorted(profile.models)},
        "standing": work.standing.name,
        "runs_ms": work.runs_ms,
    }


def _of(held: Held | None) -> dict[str, Any] | None:
    if held is None:
        return None
    was = None if held.was is None else _of_work(held.was)
    return {"node": held.node, "epoch": held.epoch, "cut": int(held.cut), "was": was}


def _stream(row: Stream) -> KnownStream:
    here, coming = row.facts["here"], row.facts["coming"]
    name = row.name
    return KnownStream(_work(name, row.facts), _held(name, here), _held(name, coming))


def _work(name: str, facts: dict[str, Any]) -> Work:
    needs = tuple(Resources(**need) for need in facts["profile"]["needs"])
    profile = Profile(facts["profile"]["name"], needs, frozenset(facts["profile"]["models"]))
    return Work(name, profile, Standing[facts["standing"]], facts["runs_ms"])


def _held(name: str, facts: dict[str, Any] | None) -> Held | None:
    if facts is None:
        return None
    was = None if facts["was"] is None else _work(name, facts["was"])
    return Held(facts["node"], facts["epoch"], Cut(facts["cut"]), was)
