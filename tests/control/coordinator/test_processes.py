"""Coordinators as they are started: one leads, one stands by, and any of them may die."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.control.keys import new_key
from tests.control.coordinator.acting import Cluster, Coordinator, Edge, Node, owners, until

pytest.importorskip("zmq")
pytest.importorskip("fastapi")


@pytest.fixture
def cluster(tmp_path: Path, url: str) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, url)
    yield cluster
    cluster.close()


async def leader_of(cluster: Cluster) -> Coordinator:
    await until(lambda: any(one.leads() for one in cluster.running), "a leader")
    return next(one for one in cluster.running if one.leads())


async def there(stack: AsyncExitStack, cluster: Cluster) -> tuple[list[Node], Edge]:
    """Two nodes and an edge."""
    nodes = [await stack.enter_async_context(Node(f"node-{i}").there(cluster)) for i in (1, 2)]
    edge = await stack.enter_async_context(Edge("edge-1").there(cluster))
    return nodes, edge


def carried(nodes: list[Node]) -> dict[str, tuple[str, int]]:
    return {name: (node.name, one.epoch) for node in nodes for name, one in node.running.items()}


def test_a_standby_leads_after_a_leader_that_was_killed_and_streams_keep_their_owners(
    cluster: Cluster,
) -> None:
    async def work() -> None:
        first = cluster.start(0)
        await until(first.leads, "the first one leads")
        second = cluster.start(1)
        await until(second.stands_by, "the second one stands by")
        async with AsyncExitStack() as stack:
            nodes, edge = await there(stack, cluster)
            await until(lambda: all(node.edges for node in nodes), "nodes know the edge")
            assert nodes[0].edges[0].edge == "edge-1"
            edge.want("a", "b", "c")
            await edge.gets("a", "b", "c")
            await until(lambda: owners(first) == edge.owners, "all run")
            before = dict(edge.owners)

            cluster.end(first, signal.SIGKILL)
            await until(second.leads, "the second one leads")
            await until(lambda: owners(second) == before, "the second one knows the owners")
            edge.want("d")
            await edge.gets("d")
            assert edge.owners["d"][1] > max(epoch for _, epoch in before.values())
            assert {name: edge.owners[name] for name in before} == before
            await until(lambda: carried(nodes) == edge.owners, "nodes have heard all")
            assert not any(node.revoked for node in nodes)

            third = cluster.start(0)
            await until(third.stands_by, "who was killed comes back and stands by")
            assert cluster.end(second, signal.SIGTERM) == 0
            await until(third.leads, "it leads again")
            await until(lambda: owners(third) == edge.owners, "and knows all owners")
            assert not any(node.revoked for node in nodes)

    asyncio.run(work())


def news(leader: Coordinator) -> list[dict[str, Any]]:
    """From old to new."""
    _, told = leader.get("/v1/cluster")
    return list(reversed(told["events"]))


def written(leader: Coordinator, kind: str) -> bool:
    """It has told of this, and the store has all of it."""
    _, told = leader.get("/v1/cluster")
    return told["store"]["unwritten_rows"] == 0 and kind in {one["kind"] for one in told["events"]}


def test_what_happened_is_known_to_the_next_leader_and_to_the_one_after_that(
    tmp_path: Path, url: str
) -> None:
    cluster = Cluster(tmp_path, url, lease="2s")

    async def work() -> None:
        first = cluster.start(0)
        await until(first.leads, "the first one leads")
        async with AsyncExitStack() as stack:
            _, edge = await there(stack, cluster)
            edge.want("a")
            await edge.gets("a")
            source = edge.owners["a"][0]
            assert first.get(f"/v1/nodes/{source}/drain", "POST")[0] in (200, 202, 204)
            await until(lambda: written(first, "drained"), "a move that is remembered")
            before = news(first)
            told = [(one["kind"], one["name"]) for one in before]
            assert {("node came", "node-1"), ("node came", "node-2"), ("moves", "a")} <= set(told)
            cluster.end(first, signal.SIGKILL)
            second = cluster.start(1)
            await until(second.leads, "the second one leads")
            known = news(second)
            assert [one | {"ago_ms": 0} for one in known[: len(before)]] == [
                one | {"ago_ms": 0} for one in before
            ]
            assert known[len(before)]["kind"] == "leads"
            ages = [one["ago_ms"] for one in known]
            assert ages == sorted(ages, reverse=True)
            assert known[0]["ago_ms"] >= before[0]["ago_ms"]
            assert cluster.end(second, signal.SIGTERM) == 0
            third = cluster.start(0)
            await until(third.leads, "it leads again")
            leaders = [one for one in news(third) if one["kind"] == "leads"]
            assert len(leaders) == 3 and all(one["name"] for one in leaders)
            assert [one["epoch"] for one in leaders] == [1, 2, 3]

    try:
        asyncio.run(work())
    finally:
        cluster.close()


def test_a_leader_that_is_told_to_end_gives_its_lease_back(tmp_path: Path, url: str) -> None:
    # A minute is as long as anything is waited for here: who waits for its end is too late.
    patient = Cluster(tmp_path, url, lease="60s")

    async def work() -> None:
        first = patient.start(0)
        await until(first.leads, "the first one leads")
        second = patient.start(1)
        await until(second.stands_by, "the second one stands by")
        assert patient.end(first, signal.SIGTERM) == 0
        await until(second.leads, "the second one leads although a minute has not gone by")

    try:
        asyncio.run(asyncio.wait_for(work(), 55))
    finally:
        patient.close()


class Locked:
    """Another process writes to the file of SQLite, and does not come to an end."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )

    def stop(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def start(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


def test_while_the_store_is_away_a_leader_leads_until_its_lease_would_have_ended(
    cluster: Cluster, url: str, request: pytest.FixtureRequest
) -> None:
    lite = url.startswith("sqlite:///")
    store: Any = Locked(url.removeprefix("sqlite:///")) if lite else None
    store = store or request.getfixturevalue("postgres")

    async def work() -> None:
        leader = cluster.start(0)
        await until(leader.leads, "it leads")
        async with AsyncExitStack() as stack:
            nodes, edge = await there(stack, cluster)
            edge.want("a", "b")
            await edge.gets("a", "b")
            await until(lambda: owners(leader) == edge.owners, "both run")
            await asyncio.to_thread(store.stop)
            try:
                edge.want("c")
                await edge.gets("c")
                before = dict(edge.owners)
                await until(leader.stands_by, "it leads no more")
                edge.want("d")
                peer = edge.peer
                assert peer is not None
                await until(lambda: peer.leader is None, "nobody leads")
                assert "d" not in edge.owners
            finally:
                await asyncio.to_thread(store.start)
            await until(leader.leads, "it leads again")
            await edge.gets("d")
            await until(lambda: owners(leader) == edge.owners, "all four run")
            assert {name: edge.owners[name] for name in before} == before
            await until(lambda: carried(nodes) == edge.owners, "nodes have heard all")
            assert not any(node.revoked for node in nodes)
            # What happened while nothing could be written is not forgotten.
            kinds = [one["kind"] for one in news(leader) if one["kind"].startswith("leads")]
            assert kinds == ["leads", "leads no more", "leads"]
            assert cluster.end(leader, signal.SIGTERM) == 0
            other = cluster.start(1)
            await until(other.leads, "another one leads")
            kinds = [one["kind"] for one in news(other) if one["kind"].startswith("leads")]
            assert kinds == ["leads", "leads no more", "leads", "leads"]

    asyncio.run(work())


def test_streams_of_a_node_that_is_drained_or_dies_get_other_owners(cluster: Cluster) -> None:
    def on(node: Node, leader: Coordinator, edge: Edge) -> bool:
        """All three run there, as the leader, the edge and the node say."""
        found = owners(leader)
        where = {name for name, _ in found.values()}
        return len(found) == 3 and where == {node.name} and found == edge.owners == carried([node])

    async def work() -> None:
        leader = cluster.start(0)
        await until(leader.leads, "it leads")
        async with AsyncExitStack() as stack:
            edge = await stack.enter_async_context(Edge("edge-1").there(cluster))
            first = await stack.enter_async_context(Node("node-1").there(cluster))
            edge.want("a", "b", "c")
            await until(lambda: on(first, leader, edge), "all run on the only node")
            async with Node("node-2").there(cluster) as second:
                await until(lambda: len(leader.get("/v1/nodes")[1]["nodes"]) == 2, "two nodes")
                assert leader.get("/v1/nodes/node-1/drain", "POST")[0] == 202
                await until(lambda: on(second, leader, edge), "all have moved to the other one")
                await until(lambda: first.drained and not first.running, "the first is empty")
                assert leader.get("/v1/nodes/node-1/drain", "DELETE")[0] == 200
            # It said nothing when it went.
            await until(lambda: on(first, leader, edge), "all run on the node that is left")
            _, text = leader.get("/metrics")
            assert "streamgen_coordinator_moves_total 3.0" in text
            # Three when the second node went; an owner that is slow to begin gets another one, too.
            taken = re.search(r"^streamgen_coordinator_takeovers_total (\S+)$", text, re.MULTILINE)
            assert taken is not None and float(taken[1]) >= 3

    asyncio.run(work())


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")
    yield cluster
    cluster.close()


def test_a_leader_of_a_store_that_was_wiped_leads_above_all_that_peers_have_seen(
    alone: Cluster, tmp_path: Path
) -> None:
    async def work() -> None:
        leader = alone.start(0)
        await until(leader.leads, "it leads")
        assert alone.end(leader, signal.SIGTERM) == 0
        leader = alone.start(0)
        await until(leader.leads, "it leads again")
        async with AsyncExitStack() as stack:
            nodes, edge = await there(stack, alone)
            edge.want("a", "b")
            await edge.gets("a", "b")
            await until(lambda: owners(leader) == edge.owners, "both run")
            before = dict(edge.owners)
            assert {epoch >> 32 for _, epoch in before.values()} == {2}
            alone.end(leader, signal.SIGKILL)

            alone.url = f"sqlite:///{tmp_path}/wiped.db"
            leader = alone.start(0)
            await until(lambda: owners(leader).keys() == before.keys(), "it knows what runs")
            edge.want("c")
            await edge.gets("c")
            assert edge.owners["c"][1] >> 32 > 2
            # No owner is older than it was. Who was heard within two seconds kept its streams.
            assert all(edge.owners[name][1] >= epoch for name, (_, epoch) in before.items())
            await until(lambda: carried(nodes) == edge.owners, "nodes and edge agree")

    asyncio.run(work())


def test_who_is_not_known_or_takes_the_name_of_another_is_not_heard(alone: Cluster) -> None:
    async def work() -> None:
        leader = alone.start(0)
        await until(leader.leads, "it leads")
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(Node("node-1").there(alone))
            await until(lambda: len(leader.get("/v1/nodes")[1]["nodes"]) == 1, "a node")
            heard: list[object] = []
            key = alone.known("node-2")
            await stack.enter_async_context(
                alone.peer("node-1", "worker", heard.append, one.hello, key)
            )
            (alone.folder / "elsewhere").mkdir()
            stranger = Node("node-3")
            unknown = new_key(alone.folder / "elsewhere" / "key")
            await stack.enter_async_context(
                alone.peer("node-3", "worker", heard.append, stranger.hello, unknown)
            )

            def counted() -> bool:
                text = leader.get("/metrics")[1]
                return all(
                    f'messages_lost_total{{reason="{reason}"}} 0' not in text and reason in text
                    for reason in ("unknown_key", "name_taken")
                )

            await until(counted, "both were refused, and counted")
            assert not heard
            assert [row["name"] for row in leader.get("/v1/nodes")[1]["nodes"]] == ["node-1"]

    asyncio.run(work())


def test_the_command_line_shows_a_cluster_and_empties_a_node(
    alone: Cluster,
) -> None:
    async def work() -> None:
        leader = alone.start(0)
        await until(leader.leads, "it leads")
        standby = alone.start(1)
        await until(standby.stands_by, "the other one stands by")
        where = [
            part
            for one in (standby, leader)
            for part in ("--coordinator", f"http://127.0.0.1:{one.http}")
        ]
        run: Callable[..., Any] = CliRunner().invoke

        async def says(*words: str) -> str:
            answer = await asyncio.to_thread(run, app, [*words, *where])
            assert answer.exit_code == 0, answer.output
            return str(answer.output)

        async with AsyncExitStack() as stack:
            _, edge = await there(stack, alone)
            edge.want("a", "b")
            await edge.gets("a", "b")
            await until(lambda: owners(leader) == edge.owners, "both run")
            assert "node-1" in await says("nodes", "list")
            assert '"cpu_ms"' in await says("nodes", "show", "node-2", "--json")
            told = await says("nodes", "show", "node-2")
            assert told.startswith("node-2: up") and re.search(r"\ncpu_ms +\d+ +3600 +4000 ", told)
            text = await says("top", "--once")
            assert "2 nodes, 1 edges" in text and "2 running" in text
            listed = json.loads(await says("top", "--json"))
            assert {one["kind"]: one["name"] for one in listed}.keys() == {"node", "edge", "stream"}
            [busy] = {node for node, _ in edge.owners.values()}
            told = await says("nodes", "drain", busy, "--json")
            assert json.loads(told) == {"name": busy, "draining": True}
            await until(lambda: busy not in {n for n, _ in edge.owners.values()}, "it is empty")

    asyncio.run(work())
