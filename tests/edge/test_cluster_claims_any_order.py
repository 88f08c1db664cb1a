"""Publishers and viewers come and go at any edge, edges and leaders die, words are lost: never do
two edges have a stream's newest epoch, and in the end all agree where it is."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamgen.control.coordinator.homes import KnownHome
from tests.edge.homed import Homeland

EDGES = ("edge-a", "edge-b", "edge-c")
SITES = st.sampled_from(EDGES)
STREAMS = st.sampled_from(["s", "t"])


class Anything(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.land = Homeland(*EDGES)
        self.leaders = 1
        self.given: dict[tuple[str, int], str] = {}
        """Of each stream and epoch, the edge."""
        self.newest: dict[tuple[int, str], int] = {}
        """Under each leader, and of each stream, the epoch of its home."""
        self.copies: list[dict[str, KnownHome]] = [{}]
        """Of the store, as it was at some time."""

    @rule(site=SITES, stream=STREAMS)
    def publish(self, site: str, stream: str) -> None:
        self.land.sites[site].publish(stream)

    @rule(site=SITES, stream=STREAMS)
    def end(self, site: str, stream: str) -> None:
        self.land.sites[site].homes.leave(stream)

    @rule(site=SITES, number=st.integers(0, 5))
    def give_up(self, site: str, number: int) -> None:
        claims = self.land.sites[site].claims
        if claims:
            claims[-1 - number % len(claims)][1].cancel()
            self.land.loop.step()

    @rule(site=SITES, stream=STREAMS)
    def seek(self, site: str, stream: str) -> None:
        if stream not in self.land.sites[site].seen:
            self.land.sites[site].seek(stream)

    @rule(site=SITES, stream=STREAMS)
    def forget(self, site: str, stream: str) -> None:
        self.land.sites[site].homes.forget(stream)
        self.land.sites[site].seen.pop(stream, None)

    @rule(site=SITES)
    def kill(self, site: str) -> None:
        self.land.sites[site].kill()

    @rule(site=SITES)
    def beat(self, site: str) -> None:
        self.land.beat(site)

    @rule(site=SITES, number=st.integers(1, 5), lost=st.booleans())
    def take(self, site: str, number: int, lost: bool) -> None:
        for _ in range(min(number, len(self.land.sites[site].out))):
            if lost:
                self.land.sites[site].out.popleft()
            else:
                self.land.take(site)

    @rule(site=SITES, number=st.integers(1, 5), lost=st.booleans())
    def hear(self, site: str, number: int, lost: bool) -> None:
        for _ in range(min(number, len(self.land.sites[site].coming))):
            if lost:
                self.land.sites[site].coming.popleft()
            else:
                self.land.sites[site].hear()

    @rule()
    def deliver(self) -> None:
        for name in EDGES:
            self.land.beat(name)
        self.land.deliver()

    @rule(site=SITES, stream=STREAMS)
    def publish_where_all_goes_well(self, site: str, stream: str) -> None:
        self.land.settle(32)  # what was lost of former ones has been said again
        coming = self.land.sites[site].publish(stream)
        self.land.deliver()
        assert coming.result().edge == site, "the newest publisher wins"
        others = [one for name, one in self.land.sites.items() if name != site]
        assert not any(one.homes.ours(stream) for one in others)

    @rule()
    def write(self) -> None:
        self.land.write()
        self.copies.append(dict(self.land.rows))

    @rule(seconds=st.sampled_from([0.5, 2.5, 30.0, 1_000.0]))
    def pass_time(self, seconds: float) -> None:
        self.land.pass_time(seconds)

    @rule(back=st.integers(0, 3), old=st.booleans())
    def lead(self, back: int, old: bool) -> None:
        """Another coordinator, with what is in the store, or in an old copy of it, or nothing."""
        if old:
            self.land.rows = dict(self.copies[-1 - back % len(self.copies)])
        self.leaders += 1
        self.land.lead(self.leaders)

    @invariant()
    def an_epoch_is_one_edges(self) -> None:
        """And each that is given is higher than all before it, under whichever leader."""
        for home in self.land.said:
            if home.edge and (home.stream, home.epoch) not in self.given:
                former = [epoch for stream, epoch in self.given if stream == home.stream]
                assert home.epoch > max(former, default=0)
                self.given[home.stream, home.epoch] = home.edge
            assert not home.edge or self.given[home.stream, home.epoch] == home.edge
        self.land.said.clear()

    @invariant()
    def a_leader_never_goes_back(self) -> None:
        for stream in ("s", "t"):
            home = self.land.desk.homes.get(stream)
            if home is not None:
                newest = self.newest.setdefault((self.leaders, stream), home.epoch)
                assert home.epoch >= newest
                self.newest[self.leaders, stream] = home.epoch

    @invariant()
    def never_two_edges_have_the_newest_epoch(self) -> None:
        for stream in ("s", "t"):
            homes = [site.homes.ours(stream) for site in self.land.sites.values()]
            epochs = [one.epoch for one in homes if one is not None and one.epoch]
            assert len(set(epochs)) == len(epochs)

    def teardown(self) -> None:
        try:
            self.in_the_end_all_agree()
        finally:
            self.land.close()

    def in_the_end_all_agree(self) -> None:
        """And a stream that anybody publishes is at one edge."""
        land = self.land
        land.settle()
        for stream in ("s", "t"):
            home = land.desk.homes.get(stream)
            mine = {
                name: one.epoch
                for name, site in land.sites.items()
                if (one := site.homes.ours(stream)) is not None
            }
            assert len(mine) <= 1, "two edges have it"
            if mine:
                assert home is not None and mine == {home.edge: home.epoch}
            for site in land.sites.values():
                seen = site.seen.get(stream, [])
                if mine:
                    assert not seen or {seen[-1].edge: seen[-1].epoch} == mine
                elif home is None:
                    assert not seen or seen[-1].edge == ""


Anything.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, print_blob=False
)
TestAnything = pytest.mark.timeout(300)(Anything.TestCase)
