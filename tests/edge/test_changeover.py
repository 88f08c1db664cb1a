"""A stream changes over from one worker to the next at one picture, whatever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streamgen.media.envelope import Kind, opened, seal
from streamgen.media.packet import Packet
from streamgen_edge import coming
from streamgen_edge.changeover import cut_after
from streamgen_edge.timeline import BASE, HZ
from tests.edge.test_link import FakeWorker, joined, until
from tests.edge.test_stream import FACTS, TRACKS, Ends, asked, pictures, seated

OTHER = {"name": "other"}
STEP = 3600
"""Of 25 pictures a second."""


class Two:
    """A stream with a first worker that has it, and a second one that is asked for it."""

    def __init__(self, ends: Ends, former: FakeWorker, following: FakeWorker) -> None:
        self.ends, self.former, self.following = ends, former, following
        self.stream = ends.stream
        self.terms: dict[FakeWorker, int] = {}
        self.at_ms = 0

    def send(self, number: int) -> None:
        for _ in range(number):
            self.at_ms += 40
            self.ends.picture(self.at_ms)

    async def change(self) -> dict[str, Any]:
        """Want another pipeline; the second worker is ready for it."""
        self.stream.use(OTHER)
        return await self.ready()

    async def ready(self) -> dict[str, Any]:
        message = await seated(self.following)
        self.terms[self.following] = message["term"]
        await until(lambda: self._changes_over)
        return message

    @property
    def _changes_over(self) -> bool:
        found = self.stream.tenure.replacement._coming
        return found is not None and found.changeover is not None

    async def give(self, worker: FakeWorker, *numbers: int) -> None:
        """Pictures that a worker has made, by their place on the output's timeline."""
        for number in numbers:
            packet = Packet(b"\0\0\0\1\x65x", number * STEP, number * STEP, STEP, BASE, True, "")
            header = seal(packet, stream=7, term=self.terms[worker], track=0)
            await worker.media.send_multipart((header, packet.data))

    async def end(self, worker: FakeWorker, error: str = "", **stats: Any) -> None:
        ids = {"stream": 7, "term": self.terms[worker]}
        await worker.say(type="ended", **ids, error=error, stats=stats or None)

    @property
    def last(self) -> int:
        return self.stream.viewing.last.get("video/90p", -STEP) // STEP

    @property
    def has_it(self) -> int | None:
        live = self.stream.tenure.live
        return None if live is None else live.term


def run(folder: Path, test: Callable[[Two], Awaitable[None]]) -> None:
    async def main() -> None:
        async with joined(folder, "one", "two") as (link, workers):
            ends = Ends(link)
            ends.picture(0, key=True)
            attachment = ends.stream.tenure.attachment
            assert attachment is not None
            if attachment.worker.name == "two":
                workers.reverse()
            two = Two(ends, *workers)
            two.terms[two.former] = (await seated(two.former))["term"]
            await until(lambda: ends.stream.tenure.live)
            await test(two)
            ends.stream.end()

    asyncio.run(main())


async def got(worker: FakeWorker) -> list[tuple[int, bool]]:
    """Pictures by number, and whether they are to be shown, up to the mark of the end."""
    found = []
    while True:
        one = opened(*await asyncio.wait_for(worker.media.recv_multipart(), 5))
        if one.kind is Kind.END:
            return found
        if one.track == 0:
            found.append(((one.packet.pts or 0) // STEP, not one.packet.discard))


def test_both_workers_get_every_picture_and_each_is_shown_by_one(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        two.send(5)
        message = await two.change()
        assert message["beside"] and message["pipeline"]["name"] == "other"
        two.send(25)
        former = await got(two.former)
        following = [
            ((e.packet.pts or 0) // STEP, not e.packet.discard)
            for e in await pictures(two.following, 31)
        ]
        assert former == [(0, False), *((number, True) for number in range(1, 25))]
        assert following == [(number, number >= 25) for number in range(31)]

    run(tmp_path, test)


def test_what_the_next_worker_gives_waits_for_the_last_of_the_former(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        await two.change()
        two.send(30)
        await two.give(two.following, 25, 26)
        await two.give(two.former, *range(1, 24))
        await until(lambda: two.last == 23)
        await two.give(two.former, 24)
        await until(lambda: two.last == 26)  # before the former one says that it is done
        assert two.has_it == two.terms[two.former]
        await two.give(two.former, 25)  # it was not asked for that
        await two.end(two.former, frames_in=24, dropped={"late": 0})
        await until(lambda: two.has_it == two.terms[two.following])
        await two.give(two.following, 27)
        await until(lambda: two.last == 27)
        stats = two.stream.ledger.stats()
        assert (stats["frames_in"], stats["frames_out"], stats["on_the_way"]) == (31, 27, 3)
        assert stats["dropped"] == {"starting": 1}
        assert two.stream.tenure.took_over_s == []
        assert two.stream.telemetry.counts("double") == {}

    run(tmp_path, test)


def test_the_reports_of_both_workers_add_up(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        await two.change()
        two.send(30)
        await two.give(two.former, *range(1, 20))
        ids = {"stream": 7, "term": two.terms[two.following]}
        await two.following.say(type="stats", **ids, stats={"dropped": {"late": 1}})
        await two.give(two.following, 25, 27, 28, 29, 30)
        await two.end(two.former, dropped={"overflow": 3})
        await until(lambda: two.last == 30)
        stats = two.stream.ledger.stats()
        # 20 and up of the former: three it has told of, two it has not.
        lost = {"starting": 1, "overflow": 3, "changed_over": 2, "late": 1}
        assert stats["dropped"] == lost and stats["on_the_way"] == 0

    run(tmp_path, test)


def test_a_pipeline_that_cannot_be_opened_leaves_the_stream_as_it_was(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        before = two.stream.pipeline
        two.stream.use(OTHER)
        message, _ = await asked(two.following, "attach")
        two.terms[two.following] = message["term"]
        two.send(3)
        await two.end(two.following, "no network of this name")
        await until(lambda: two.stream.error)
        assert two.stream.pipeline == before and "no network" in two.stream.error
        assert not two.stream.tenure.replacement.renewing
        await two.give(two.former, 1, 2, 3)
        await until(lambda: two.last == 3)
        two.send(40)
        assert all(not e.packet.discard for e in (await pictures(two.former, 44))[1:])

    run(tmp_path, test)


def test_a_worker_that_does_not_open_it_in_time_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coming, "OPEN_S", 0.05)

    async def test(two: Two) -> None:
        two.stream.use(OTHER)
        await asked(two.following, "attach")
        await asked(two.following, "detach")
        assert "in time" in two.stream.error and not two.stream.tenure.replacement.renewing

    run(tmp_path, test)


def test_it_waits_for_a_key_frame_where_what_was_so_far_is_of_no_use(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        two.send(3)
        two.stream.use(OTHER)
        two.stream.arrive(two.ends)  # another publisher: its first picture is to come
        two.stream.describe("video/0", "h264", b"", None)
        message = await seated(two.following)
        two.terms[two.following] = message["term"]
        replacement = two.stream.tenure.replacement
        await until(lambda: replacement._coming is not None and replacement._coming.ready)
        assert not two._changes_over
        await asyncio.sleep(0.3)  # stills go on
        assert not two._changes_over and two.ends.asked > 0
        two.ends.picture(two.at_ms + 40, key=True)
        assert two._changes_over

    run(tmp_path, test)


def test_a_next_worker_that_dies_before_its_first_picture_costs_none(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        two.send(3)
        await two.change()
        two.send(3)
        found = two.stream.tenure.replacement._coming
        assert found is not None
        two.stream.tenure._link.lose(found.seat.worker.name)
        two.send(30)
        shown = [not e.packet.discard for e in (await pictures(two.former, 37))[1:]]
        assert all(shown)

    run(tmp_path, test)


def test_a_former_worker_that_dies_when_it_has_all_is_not_waited_for(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        await two.change()
        two.send(30)
        await two.give(two.former, *range(1, 20))
        await two.give(two.following, 25, 26)
        await until(lambda: two.last == 19)
        attachment = two.stream.tenure.attachment
        assert attachment is not None
        two.stream.tenure._link.lose(attachment.worker.name)
        await until(lambda: two.last == 26 and two.has_it == two.terms[two.following])
        assert two.stream.ledger.stats()["dropped"]["changed_over"] == 5

    run(tmp_path, test)


def test_parameters_set_while_the_pipeline_changes_are_of_the_next_one(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        two.stream.use(OTHER)
        message, _ = await asked(two.following, "attach")
        two.terms[two.following] = message["term"]
        answer = await two.stream.change("style", {"strength": 0.5}, "0s")
        assert answer["pts"] is None  # what runs knows no such node
        tracks = [{**FACTS, **track} for track in TRACKS]
        ids = {"stream": 7, "term": message["term"]}
        await two.following.say(type="attached", **ids, tracks=tracks, notes=[])
        told, _ = await asked(two.following, "params")
        assert (told["node"], told["values"]) == ("style", {"strength": 0.5})
        await two.stream.change("style", {"strength": 0.6}, "0s")
        assert (await asked(two.following, "params"))[0]["values"] == {"strength": 0.6}

    run(tmp_path, test)


def test_a_pipeline_wanted_while_another_one_is_taking_over_comes_after_it(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        await two.change()
        two.send(30)
        two.stream.use({"name": "third"})
        await two.give(two.former, *range(1, 25))
        await two.end(two.former)
        message, _ = await asked(two.former, "attach")
        assert message["pipeline"]["name"] == "third" and message["term"] == 3
        assert two.has_it == two.terms[two.following]

    run(tmp_path, test)


def test_a_stream_that_ends_meanwhile_shows_what_both_workers_have(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        await two.change()
        two.send(27)
        two.stream.end()
        await got(two.former)
        await got(two.following)
        await two.give(two.following, 25, 26, 27)
        await two.end(two.following)
        await two.give(two.former, *range(1, 25))
        await two.end(two.former)
        await until(lambda: two.ends.over)
        assert two.last == 27

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("front_s", "interval", "cut_s"),
    [(0.3, "1s", 1.0), (0.9, "1s", 2.0), (4.1, "2s", 6.0), (1.0, "10s", 1.2), (9.5, "10s", 10.0)],
)
def test_it_is_at_a_key_frame_that_is_due_if_one_is_near(
    front_s: float, interval: str, cut_s: float
) -> None:
    pipeline = {"name": "plain", "keyframe_interval": interval}
    assert cut_after(round(front_s * HZ), pipeline) == round(cut_s * HZ)
