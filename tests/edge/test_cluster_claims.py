"""At which edge a stream is, as edges see it, whatever is lost on the way and whoever leads."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streamgen.control.coordinator.homes import Home, StreamLeft, StreamSought
from streamgen.errors import ConfigError
from streamgen_edge.cluster import homes as homes_module
from streamgen_edge.cluster.homes import PATIENCE_S, ClusterHomes
from tests.edge.clustered import Processes, edge, processes, until
from tests.edge.homed import Homeland

A, B, C = EDGES = ("edge-a", "edge-b", "edge-c")


@pytest.fixture
def land() -> Iterator[Homeland]:
    one = Homeland(*EDGES)
    one.settle(4)
    yield one
    one.close()


def test_a_publisher_is_told_that_the_stream_is_here_and_all_others_where_it_is(
    land: Homeland,
) -> None:
    a, b, c = land.sites.values()
    c.seek("s")
    land.deliver()
    assert [one.edge for one in c.seen["s"]] == [""]
    first = a.publish("s")
    assert not first.done()
    land.deliver()
    assert first.result().edge == A and first.result().epoch > 0
    assert c.seen["s"][-1].place == f"/run/{A}/mirror"
    assert c.seen["s"][-1].passport == f"{A} has s"
    second = b.publish("s")
    land.deliver()
    assert second.result().passport == f"{A} has s"
    assert [(name, home.edge) for name, home in a.lost] == [("s", B)]
    assert a.homes.ours("s") is None and b.homes.ours("s") is not None
    assert c.seen["s"][-1].edge == B
    c.homes.forget("s")
    b.homes.leave("s")
    land.deliver()
    assert c.seen["s"][-1].edge == B, "who does not seek is not told"
    assert land.desk.homes.get("s") is None


def test_without_a_leader_a_stream_goes_on_alone_until_there_is_one() -> None:
    land = Homeland(*EDGES)
    try:
        a = land.sites[A]
        coming = a.publish("s")
        land.pass_time(PATIENCE_S / 2)
        assert not coming.done()
        land.pass_time(PATIENCE_S)
        assert (coming.result().edge, coming.result().epoch) == (A, 0)
        renewed: list[Home] = []
        a.homes.renewed = lambda stream, home: renewed.append(home)
        land.settle(4)
        home = a.homes.ours("s")
        assert home is not None and home.epoch > 0 and renewed == [home]
        assert home.passport == f"{A} has s"
    finally:
        land.close()


def test_of_two_that_went_on_alone_one_has_the_stream_in_the_end() -> None:
    land = Homeland(*EDGES)
    try:
        for name in (A, B):
            land.sites[name].publish("s")
        land.pass_time(PATIENCE_S + 1)
        land.settle(4)
        owners = [name for name, site in land.sites.items() if site.homes.ours("s")]
        home = land.desk.homes.get("s")
        assert home is not None and owners == [home.edge]
        [loser] = {A, B} - {home.edge}
        assert [stream for stream, _ in land.sites[loser].lost] == ["s"]
    finally:
        land.close()


@pytest.mark.parametrize("written", [True, False])
def test_a_claim_that_died_with_its_leader_is_answered_by_the_next_one(
    land: Homeland, written: bool
) -> None:
    a = land.sites[A]
    coming = a.publish("s")
    while a.out:
        land.take(A)
    a.coming.clear()  # its answer never came
    if written:
        land.write()
    land.lead(2)
    land.beat(A)
    land.deliver()
    home = land.desk.homes.get("s")
    assert home is not None and (home.edge, home.epoch) == (A, coming.result().epoch)
    assert home.epoch >> 32 == 2


def test_a_publisher_whom_a_newer_one_overtook_elsewhere_is_told_so(land: Homeland) -> None:
    a, b = land.sites[A], land.sites[B]
    first, second = a.publish("s"), b.publish("s")
    land.take(A)
    land.take(B)
    while a.coming:
        a.homes.heard(a.coming.popleft().message)  # type: ignore[arg-type]
    land.loop.step()
    land.deliver()
    assert (first.result().edge, second.result().edge) == (B, B)
    assert a.homes.ours("s") is None and a.lost == []


def test_what_was_said_before_a_publisher_came_does_not_end_it(land: Homeland) -> None:
    a, b = land.sites[A], land.sites[B]
    a.seek("s")
    land.deliver()
    b.publish("s")
    while b.out:
        land.take(B)
    coming = a.publish("s")  # and only then it is told that the stream was there
    while a.coming:
        a.hear()
    assert not coming.done() and a.seen["s"][-1].edge == B
    land.deliver()
    assert coming.result().edge == a.seen["s"][-1].edge == A
    assert [stream for stream, _ in b.lost] == ["s"]


def test_a_publisher_that_goes_before_there_was_an_answer_leaves_nothing(land: Homeland) -> None:
    a = land.sites[A]
    coming = a.publish("s")
    coming.cancel()
    land.loop.step()
    land.deliver()
    assert land.desk.homes.get("s") is None and a.homes.hello() == ()


def test_a_session_that_ends_while_the_next_publisher_comes_does_not_take_its_home(
    land: Homeland,
) -> None:
    a = land.sites[A]
    a.publish("s")
    land.deliver()
    coming = a.publish("s")
    a.homes.leave("s")
    land.deliver()
    assert coming.result().edge == A and a.homes.ours("s") == coming.result()
    assert land.desk.homes.get("s") is not None


def test_a_word_that_comes_for_what_is_over_is_answered_by_that(land: Homeland) -> None:
    a = land.sites[A]
    a.publish("s")
    land.deliver()
    a.homes.leave("s")
    a.out.clear()  # that was lost on the way
    land.deliver()
    home = land.desk.homes.get("s")
    assert home is not None
    a.homes.heard(home)
    assert a.out[-1].message == StreamLeft("s", A, home.epoch)


def test_an_edge_that_was_started_anew_has_none_of_its_former_streams(land: Homeland) -> None:
    a, c = land.sites[A], land.sites[C]
    a.publish("s")
    land.deliver()
    a.kill()
    a.seek("s")
    c.seek("s")
    land.settle(4)
    assert [(one.edge, one.passport) for one in a.seen["s"]] == [("", f"{A} has s")]
    assert c.seen["s"][-1].edge == A, "nobody else has it either"
    again = a.publish("s")
    land.deliver()
    assert again.result().passport == f"{A} has s"


def test_what_was_lost_on_the_way_is_said_again(land: Homeland) -> None:
    a, b, c = land.sites.values()
    c.seek("s")
    coming = a.publish("s")
    a.out.clear()
    c.out.clear()
    land.pass_time(1)
    land.deliver()
    assert coming.result().epoch > 0 and c.seen["s"][-1].edge == A
    b.publish("s")
    while b.out:
        land.take(B)
    a.coming.clear()
    c.coming.clear()
    land.settle(35)
    assert a.homes.ours("s") is None and c.seen["s"][-1].edge == B


def test_an_edge_that_stood_still_doubts_that_a_stream_is_its_own_until_it_is_told(
    land: Homeland,
) -> None:
    a, b, _ = land.sites.values()
    a.publish("s")
    land.deliver()
    before, said = land.desk.homes.get("s"), list[bool]()
    a.homes.doubted = lambda stream: said.append(a.homes.sure(stream))
    land.pass_time(homes_module.ASLEEP_S + 1)
    assert said == [False]
    land.deliver()
    assert said == [False, True] and a.homes.ours("s") == before and not a.lost
    assert land.desk.homes.get("s") == before
    land.pass_time(homes_module.ASLEEP_S + 1)
    b.publish("s")
    while b.out:
        land.take(B)
    assert not a.homes.sure("s")
    land.deliver()
    assert [(name, home.edge) for name, home in a.lost] == [("s", B)]
    assert said == [False, True, False], "and nothing begins there once more"


def test_a_stream_in_doubt_is_its_edge_s_after_a_while_where_nobody_leads(land: Homeland) -> None:
    a = land.sites[A]
    a.publish("s")
    land.deliver()
    land.lead(0)
    land.pass_time(homes_module.ASLEEP_S + 1)
    land.pass_time(PATIENCE_S / 2)
    assert not a.homes.sure("s")
    land.pass_time(PATIENCE_S)
    assert a.homes.sure("s") and a.homes.ours("s") is not None


def test_a_worker_that_has_seen_a_later_home_is_believed_where_no_coordinator_is_heard(
    land: Homeland,
) -> None:
    a, b, _ = land.sites.values()
    a.publish("s")
    land.deliver()
    ours = a.homes.ours("s")
    assert ours is not None
    a.homes.outdone("s", ours.epoch)
    a.homes.outdone("other", ours.epoch + 1)
    assert not a.lost
    second = b.publish("s")
    while not second.done():
        land.take(B) if b.out else b.hear()
    a.homes.outdone("s", second.result().epoch)
    assert [(name, home.edge) for name, home in a.lost] == [("s", "")]
    assert a.homes.ours("s") is None
    land.deliver()
    assert len(a.lost) == 1 and not a.over


def test_a_publisher_that_comes_is_not_ended_by_what_a_worker_saw_before(land: Homeland) -> None:
    a = land.sites[A]
    coming = a.publish("s")
    a.homes.outdone("s", 1 << 40)
    land.deliver()
    assert coming.result().edge == A and not a.lost


def test_a_passport_that_is_more_than_may_be_said_is_refused(land: Homeland) -> None:
    a = land.sites[A]
    a.publish("s")
    land.deliver()
    for wrong in ("x" * 70_000, "\0"):
        with pytest.raises(ConfigError):
            a.homes.carry("s", wrong)
    a.homes.carry("t", "of a stream that is not ours")
    assert not a.out


def test_an_edge_seeks_so_many_streams_and_no_more(
    land: Homeland, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes_module, "MOST_SOUGHT", 2)
    land.sites[A].publish("s2")
    land.deliver()
    c = land.sites[C]
    land.loop.call_soon(lambda: [c.seek(f"s{number}") for number in range(3)])
    land.loop.step()
    assert [one.message for one in c.out] == [StreamSought("s0", C), StreamSought("s1", C)]
    assert c.seen["s2"] == [Home("s2", "", 0)]


def test_over_real_wires_what_a_home_said_outlives_the_leader_that_heard_it(tmp_path: Path) -> None:
    async def test(some: Processes, a: ClusterHomes, b: ClusterHomes) -> None:
        seen: list[Home] = []
        lost: list[str] = []
        a.lost = lambda stream, home: lost.append(home.edge)
        b.seek("s", seen.append)
        await a.claim("s")
        await until(lambda: epoch(a) > 0, "a home")
        first = epoch(a)
        a.carry("s", "what it said")
        await until(lambda: bool(seen) and seen[-1].passport == "what it said", "word of it")
        assert (seen[-1].edge, seen[-1].epoch) == (A, first)
        assert seen[-1].place == str(tmp_path / "a")
        await until(lambda: remembered() == [("s", A, first, "what it said")], "a row of it")
        some.kill("c0")
        some.coordinator(1)  # which leads once the lease of the other one has ended
        await b.claim("s")
        await until(lambda: epoch(b) > 0, "the next leader's word")
        assert epoch(b) > first
        await until(lambda: lost == [B], "that it is another's now")
        assert seen[-1].passport == "what it said" and a.ours("s") is None

    def remembered() -> list[Any]:
        with closing(sqlite3.connect(tmp_path / "state.db")) as store:
            return store.execute("SELECT name, edge, epoch, passport FROM homes").fetchall()

    def epoch(homes: ClusterHomes) -> int:
        home = homes.ours("s")
        return 0 if home is None else home.epoch

    async def main(some: Processes) -> None:
        some.coordinator(0)
        async with (
            edge(tmp_path / "a", A, some.places) as a,
            edge(tmp_path / "b", B, some.places) as b,
        ):
            await test(some, a.joined.homes, b.joined.homes)

    with processes(tmp_path) as some:
        asyncio.run(main(some))
