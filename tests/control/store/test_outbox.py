"""What others have to be told: claimed by one at a time, in order, kept until it is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from streamgen.control.notices import Backlog, ClaimedNotice, Notice
from streamgen.control.store import Store
from tests.control.store.test_store import HandClock, done
from tests.control.store.writing import wall_ms

TTL_MS = 5_000


def notice(event: str, about: str = "cam", target: str = "hook", **changes: Any) -> Notice:
    made = Notice(target, event, about, 1_000_000, {"event": "on_end", "text": "é\0"})
    return replace(made, **changes)


def trial(url: str, work: Callable[[Store, HandClock], Awaitable[None]]) -> None:
    async def opened() -> None:
        clock = HandClock()
        async with Store(url, clock, own_clock=True) as store:
            await work(store, clock)

    done(opened())


async def claimed(store: Store, target: str = "hook") -> ClaimedNotice:
    claim = await store.outbox.claim(target, TTL_MS)
    assert claim is not None
    return claim


def test_a_notice_is_one_sender_s_until_it_was_silent_for_too_long(url: str) -> None:
    async def work(store: Store, clock: HandClock) -> None:
        await store.write(notice("e1"))
        first = await claimed(store)
        assert (first.notice, first.attempt) == (notice("e1"), 1)
        assert await store.outbox.claim("hook", TTL_MS) is None
        clock.ms += TTL_MS  # the sender died
        second = await claimed(store)
        assert (second.notice, second.attempt) == (notice("e1"), 2)
        await store.outbox.postpone(first, 0)  # it was only slow: it has no say any more
        assert await store.outbox.claim("hook", TTL_MS) is None
        await store.outbox.postpone(second, 1_000)
        clock.ms += 999
        assert await store.outbox.claim("hook", TTL_MS) is None
        clock.ms += 1
        third = await claimed(store)
        await store.outbox.settle(third.notice)
        clock.ms += 60_000
        assert await store.outbox.claim("hook", TTL_MS) is None

    trial(url, work)


def test_notices_of_one_stream_go_in_their_order_and_hold_up_no_other(url: str) -> None:
    async def work(store: Store, clock: HandClock) -> None:
        await store.write(notice("a1", "a"), notice("a2", "a"))
        await store.write(notice("b1", "b"), notice("a1", "a", target="other"))
        first = await claimed(store)
        assert first.notice.event == "a1"
        assert (await claimed(store)).notice.event == "b1"
        assert await store.outbox.claim("hook", TTL_MS) is None
        await store.outbox.postpone(first, 60_000)
        clock.ms += TTL_MS
        assert (await claimed(store)).notice.event == "b1"
        assert await store.outbox.claim("hook", TTL_MS) is None
        await store.outbox.settle(first.notice)
        assert (await claimed(store)).notice.event == "a2"
        assert (await claimed(store, "other")).notice.event == "a1"

    trial(url, work)


def test_each_notice_is_claimed_once_however_many_ask_and_its_stream_one_after_the_other(
    url: str,
) -> None:
    told: list[tuple[str, int]] = []
    busy: set[str] = set()

    async def tell(store: Store) -> None:
        while (await store.outbox.backlog("hook")).left:
            claim = await store.outbox.claim("hook", 60_000)
            if claim is None:
                continue
            stream, _, number = claim.notice.event.partition("-")
            assert stream not in busy and claim.attempt == 1
            busy.add(stream)
            await asyncio.sleep(0)
            told.append((stream, int(number)))
            busy.remove(stream)
            await store.outbox.settle(claim.notice)

    async def work() -> None:
        stores = [Store(url, wall_ms) for _ in range(3)]
        async with stores[0], stores[1], stores[2]:
            for number in range(10):
                await stores[number % 3].write(
                    *(notice(f"s{n}-{number}", f"s{n}", created_ms=wall_ms()) for n in range(5))
                )
            await asyncio.gather(*(tell(stores[n % 3]) for n in range(9)))

    done(work())
    assert len(told) == 50
    for n in range(5):
        assert [number for stream, number in told if stream == f"s{n}"] == list(range(10))


def test_a_notice_that_is_written_again_is_the_same_one(url: str) -> None:
    async def work(store: Store, clock: HandClock) -> None:
        await store.write(notice("e1"))
        await store.write(notice("e1"), notice("e2"))
        for event in ("e1", "e2"):
            claim = await claimed(store)
            assert claim.notice.event == event
            await store.outbox.settle(claim.notice)
        assert await store.outbox.backlog("hook") == Backlog(0, None)

    trial(url, work)


def test_a_backlog_tells_how_many_wait_and_when_one_may_be_claimed(url: str) -> None:
    async def work(store: Store, clock: HandClock) -> None:
        assert await store.outbox.backlog("hook") == Backlog(0, None)
        await store.write(notice("a1", "a"), notice("a2", "a"), notice("e1", target="other"))
        assert await store.outbox.backlog("hook") == Backlog(2, 0)
        claim = await claimed(store)
        assert await store.outbox.backlog("hook") == Backlog(2, TTL_MS)
        await store.outbox.postpone(claim, 700)
        clock.ms += 300
        assert await store.outbox.backlog("hook") == Backlog(2, 400)
        await store.outbox.settle(claim.notice)
        assert await store.outbox.backlog("hook") == Backlog(1, 0)

    trial(url, work)


def test_what_is_too_old_or_too_much_is_thrown_away_and_what_is_nobody_s_after_that(
    url: str,
) -> None:
    async def work(store: Store, clock: HandClock) -> None:
        old, now = clock.ms - 1_500, clock.ms
        await store.write(*(notice(f"old{n}", created_ms=old) for n in range(3)))
        await store.write(*(notice(f"new{n}", created_ms=now) for n in range(5)))
        await store.write(notice("e", target="other", created_ms=old))
        await store.write(notice("e", target="gone", created_ms=now - 2_500))
        assert await store.outbox.shed("hook", 4, 1_000) == 4
        assert await store.outbox.shed("hook", 4, 1_000) == 0
        assert (await claimed(store)).notice.event == "new1"
        lefts = [(await store.outbox.backlog(one)).left for one in ("hook", "other", "gone")]
        assert lefts == [4, 1, 0]

    trial(url, work)
