"""Where edges are: told by edges, passed on to nodes. The scheduler does not need to know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EdgeRegistered:
    """An edge is there; said again to every new leader."""

    edge: str
    place: str
    """Where nodes find its link: `tcp://host:port`, or a folder of the same machine."""
    public_key: str = ""
    """Of its link, 64 hexadecimal digits; empty: a folder needs none."""
    mirror: str = ""
    """Where other edges find its streams, as `place`; empty: nowhere."""
    mirror_key: str = ""
    """Of that, as `public_key`."""


@dataclass(frozen=True, slots=True)
class EdgeLeft:
    """An edge went on purpose."""

    edge: str


@dataclass(frozen=True, slots=True)
class Edges:
    """To all nodes: every edge there is. An edge that is not among them any more is gone."""

    edges: tuple[EdgeRegistered, ...] = ()


class Directory:
    """The edges that a leader knows."""

    def __init__(self) -> None:
        self._edges: dict[str, EdgeRegistered] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._edges

    def add(self, edge: EdgeRegistered) -> bool:
        """Whether that is news."""
        news = self._edges.get(edge.edge) != edge
        self._edges[edge.edge] = edge
        return news

    def remove(self, names: Iterable[str]) -> bool:
        """Whether any of them was there."""
        gone = [name for name in names if self._edges.pop(name, None) is not None]
        return bool(gone)

    def all(self) -> Edges:
        return Edges(tuple(self._edges[name] for name in sorted(self._edges)))
