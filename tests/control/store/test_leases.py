"""Leases: one owner each, told apart by epochs that never go back."""

from __future__ import annotations

import asyncio

import pytest

from streamgen.control.store import Store, Stream
from streamgen.errors import Fenced
from tests.control.store.test_store import HandClock, done, numbers, stream
from tests.control.store.writing import wall_ms


def test_a_lease_has_one_owner_and_its_epoch_goes_up_with_each(url: str) -> None:
    async def work() -> None:
        clock = HandClock()
        async with Store(url, clock, own_clock=True) as store:
            first = await store.leases.acquire("stream/me", "a", 1_000)
            assert first is not None
            assert first.epoch == 1
            assert await store.leases.acquire("stream/me", "b", 1_000) is None
            assert await store.leases.holder("stream/me") == first
            clock.ms += 1_000
            assert await store.leases.holder("stream/me") is None
            second = await store.leases.acquire("stream/me", "b", 1_000)
            assert second is not None
            assert (second.owner, second.epoch) == ("b", 2)
            with pytest.raises(Fenced):
                await store.leases.renew(first, 1_000)
            await store.leases.release(first)  # not its own any more
            assert await store.leases.holder("stream/me") == second
            await store.leases.release(second)
            third = await store.leases.acquire("stream/me", "a", 1_000)
            assert third is not None
            assert third.epoch == 3

    done(work())


def test_a_lease_may_be_asked_for_above_epochs_that_the_store_does_not_know(url: str) -> None:
    async def work() -> None:
        async with Store(url, HandClock(), own_clock=True) as store:
            for name, above, epoch in (("new", 7, 8), ("new", 3, 9), ("new", 20, 21)):
                lease = await store.leases.acquire(name, "a", 1_000, above=above)
                assert lease is not None and lease.epoch == epoch
                await store.leases.release(lease)

    done(work())


def test_a_late_owner_keeps_its_lease_while_nobody_took_it(url: str) -> None:
    async def work() -> None:
        clock = HandClock()
        async with Store(url, clock, own_clock=True) as store:
            lease = await store.leases.acquire("x", "a", 1_000)
            assert lease is not None
            clock.ms += 5_000
            renewed = await store.leases.renew(lease, 1_000)
            assert renewed.expires_ms == clock.ms + 1_000
            await store.write(Stream("x", "live"), fences=[renewed])

    done(work())


def test_one_of_many_who_ask_at_once_gets_the_lease(url: str) -> None:
    async def work() -> None:
        stores = [Store(url, wall_ms) for _ in range(4)]
        async with stores[0], stores[1], stores[2], stores[3]:
            asked = [
                stores[n % 4].leases.acquire(f"lease-{n // 8}", f"owner-{n}", 60_000)
                for n in range(64)
            ]
            got = [lease for lease in await asyncio.gather(*asked) if lease is not None]
            assert sorted(lease.name for lease in got) == [f"lease-{n}" for n in range(8)]

    done(work())


def test_rows_of_one_who_was_taken_over_are_refused_and_others_are_not(url: str) -> None:
    async def work() -> None:
        clock = HandClock()
        async with Store(url, clock, own_clock=True) as store:
            zombie = await store.leases.acquire("me", "a", 1_000)
            clock.ms += 2_000
            owner = await store.leases.acquire("me", "b", 1_000)
            assert zombie is not None
            assert owner is not None
            answers = await asyncio.gather(
                store.write(stream(0), fences=[zombie]),
                store.write(stream(1), fences=[owner]),
                store.write(stream(2)),
                return_exceptions=True,
            )
            assert isinstance(answers[0], Fenced)
            assert answers[1:] == [None, None]
            assert await numbers(store) == [1, 2]

    done(work())
