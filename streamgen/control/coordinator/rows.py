"""What a coordinator persists, as rows of the store, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from streamgen.control.coordinator.chronicle import Entry, Kind
from streamgen.control.coordinator.commands import Persist
from streamgen.control.coordinator.events import Held, KnownNode, KnownStream, LeaseGained
from streamgen.control.coordinator.homes import KnownHome
from streamgen.control.placement.resources import Cut, Profile, Resources, Standing, Subject
from streamgen.control.placement.scheduler import Work
from streamgen.control.store.rows import Event, Home, Node, Row, Stream

GONE = "gone"


def written(persist: Persist, version: int) -> list[Row]:
    """`version` is higher each time; it comes from the one leader there is."""
    rows: list[Row] = []
    for one in persist.nodes:
        facts: dict[str, Any] = {
            "capacity": asdict(one.capacity),
            "models": list(one.models),
            "profiles": [_of_profile(profile) for profile in one.profiles],
            "parts": None if one.parts is None else sorted(one.parts),
        }
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


def told(entry: Entry, number: int, ahead_ms: int) -> Event:
    """`ahead_ms`: the store's clock less the entry's; `number` is higher each time."""
    more = {
        "source": entry.source,
        "node": entry.node,
        "reason": entry.reason,
        "epoch": entry.epoch,
    }
    return Event(number, entry.kind.value, entry.name, entry.at_ms + ahead_ms, more)


def entries(events: Iterable[Event], ahead_ms: int) -> Iterator[tuple[int, Entry]]:
    """With their numbers, but those that only a later release understands."""
    for one in events:
        with suppress(ValueError, TypeError):
            entry = Entry(one.created_ms - ahead_ms, Kind(one.kind), one.about, **one.body)
            yield one.number, entry


def read(
    leader: int,
    nodes: Iterable[Node],
    streams: Iterable[Stream],
    homes: Iterable[Home] = (),
) -> LeaseGained:
    """What a new leader is told."""
    rows = Rows()
    for some in (nodes, streams, homes):
        rows.add(some)
    return rows.known(leader)


class Rows:
    """As they come from the store, some at a time."""

    def __init__(self) -> None:
        self._nodes: list[KnownNode] = []
        self._streams: list[KnownStream] = []
        self._homes: list[KnownHome] = []
        self._profiles: dict[str, Profile] = {}
        """By how they are written: streams are many, profiles few."""
        self._parts: dict[frozenset[str], frozenset[str]] = {}
        """Once each, for the same reason."""

    def add(self, some: Iterable[Node | Stream | Home]) -> None:
        for row in some:
            if row.state == GONE:
                continue
            match row:
                case Stream():
                    self._streams.append(self._stream(row))
                case Node() if row.kind == "worker":
                    self._nodes.append(self._node(row))
                case Home():
                    known = KnownHome(row.name, row.edge, row.epoch, row.passport)
                    self._homes.append(known)

    def known(self, leader: int, *, whole: bool = True) -> LeaseGained:
        """All of them, for the leader with this epoch; `whole` as there."""
        rows = tuple(self._nodes), tuple(self._streams), tuple(self._homes)
        return LeaseGained(leader, *rows, whole=whole)

    def _stream(self, row: Stream) -> KnownStream:
        name, facts = row.name, row.facts
        held = self._held(name, facts["here"]), self._held(name, facts["coming"])
        return KnownStream(self._work(name, facts), *held)

    def _work(self, name: str, facts: dict[str, Any]) -> Work:
        written = facts["profile"]
        profile = self._profiles.get(key := str(written))
        if profile is None:
            profile = self._profiles[key] = _profile(written)
        parts = self._set(facts.get("parts", ()))
        return Work(name, profile, Standing[facts["standing"]], facts["runs_ms"], parts)

    def _set(self, parts: Iterable[str]) -> frozenset[str]:
        found = frozenset(parts)
        return self._parts.setdefault(found, found)

    def _node(self, row: Node) -> KnownNode:
        parts = row.facts.get("parts")
        return KnownNode(
            row.name,
            Resources(**row.facts["capacity"]),
            tuple(row.facts["models"]),
            row.facts["boot"],
            row.state == "draining",
            tuple(_profile(written) for written in row.facts.get("profiles", ())),
            None if parts is None else self._set(parts),
        )

    def _held(self, name: str, facts: dict[str, Any] | None) -> Held | None:
        if facts is None:
            return None
        was = None if facts["was"] is None else self._work(name, facts["was"])
        return Held(facts["node"], facts["epoch"], Cut(facts["cut"]), was)


def _profile(written: dict[str, Any]) -> Profile:
    needs = tuple(Resources(**need) for need in written["needs"])
    subject = written.get("subject")
    measured = None if subject is None else Subject(**subject)
    return Profile(written["name"], needs, frozenset(written["models"]), measured)


def _facts(stream: KnownStream) -> dict[str, Any]:
    return _of_work(stream.work) | {"here": _of(stream.here), "coming": _of(stream.coming)}


def _of_work(work: Work) -> dict[str, Any]:
    return {
        "profile": _of_profile(work.profile),
        "standing": work.standing.name,
        "runs_ms": work.runs_ms,
        "parts": sorted(work.parts),
    }


def _of_profile(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "needs": [asdict(need) for need in profile.needs],
        "models": sorted(profile.models),
        "subject": None if profile.subject is None else asdict(profile.subject),
    }


def _of(held: Held | None) -> dict[str, Any] | None:
    if held is None:
        return None
    was = None if held.was is None else _of_work(held.was)
    return {"node": held.node, "epoch": held.epoch, "cut": int(held.cut), "was": was}
