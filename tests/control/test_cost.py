"""What a worker sees of the cost of its streams: only what is certain."""

from __future__ import annotations

from dataclasses import dataclass, replace

from streamgen.control.cost import ENOUGH, PICTURES, Carried, CostMeter, Done
from streamgen.control.placement.resources import Cut, Profile, Resources, Subject

A = Profile("a-180p25", (Resources(900), Resources(300)), subject=Subject("a-1", 320, 180, 25))
B = Profile("b-180p25", (Resources(900),), subject=Subject("b-1", 320, 180, 25))


@dataclass
class Process:
    """A worker's, with streams in it; pictures of each cost so much."""

    cpu_s: float = 7.0
    memory_mb: float = 100.0

    def __post_init__(self) -> None:
        self.meter = CostMeter(lambda: self.cpu_s, lambda: self.memory_mb)
        self.streams: dict[str, Carried] = {}

    def begin(self, name: str, profile: Profile = A) -> None:
        self.streams[name] = Carried(name, profile, Cut.NOTHING, Done(0, 0, True))

    def change(self, name: str, *, spared: int = 0, whole: bool = True) -> None:
        one = self.streams[name]
        assert one.done is not None
        self.streams[name] = replace(one, done=replace(one.done, spared=spared, whole=whole))

    def go_on(self, pictures: int, cost_ms: float = 1000 / 256) -> list[Resources]:
        """So many of each, a look at every tenth of them; what was said of it."""
        said = []
        for _ in range(10):
            for name, one in self.streams.items():
                assert one.done is not None
                done = replace(one.done, pictures=one.done.pictures + pictures // 10)
                self.streams[name] = replace(one, done=done)
                self.cpu_s += cost_ms / 1000 * (pictures // 10)
            found = self.meter.look(list(self.streams.values()))
            if found is not None:
                [need] = found.needs
                assert found.subject == next(iter(self.streams.values())).profile.subject
                said.append(need)
        return said


def long(process: Process, cost_ms: float = 1000 / 256) -> list[Resources]:
    """As many pictures as are needed to say anything."""
    return process.go_on((ENOUGH + 1) * PICTURES, cost_ms)


def test_a_stream_alone_is_measured_by_the_picture_and_said_once() -> None:
    process = Process()
    assert process.meter.look([]) is None
    process.begin("one")
    process.memory_mb = 150
    assert process.go_on(PICTURES) == []
    assert long(process) == [Resources(cpu_ms=98, memory_mb=50)]  # 25 pictures a second
    assert long(process) == []


def test_streams_of_the_same_share_what_the_process_takes() -> None:
    process = Process()
    for name in ("one", "two", "three"):
        process.begin(name)
    [need] = long(process)
    assert need == Resources(cpu_ms=98)  # of memory it cannot be told


def test_what_costs_more_later_is_said_and_what_costs_less_is_not() -> None:
    process = Process()
    process.begin("one")
    assert [need.cpu_ms for need in long(process)] == [98]
    assert [need.cpu_ms for need in long(process, 1500 / 256)] == [147]
    assert long(process, 2.0) == []
    assert long(process, 6.2) == []  # no news


def test_one_burst_says_nothing() -> None:
    process = Process()
    process.begin("one")
    long(process)
    assert process.go_on(PICTURES, 40.0) == []
    assert long(process) == []


def test_nothing_is_said_of_a_mixture_or_of_what_is_not_whole() -> None:
    mixed = Process()
    mixed.begin("one", A)
    mixed.begin("two", B)
    assert long(mixed) == []

    cut = Process()
    cut.begin("one")
    cut.streams["one"] = replace(cut.streams["one"], cut=Cut.ENHANCEMENT)
    assert long(cut) == []

    late = Process()
    late.begin("one")
    late.change("one", whole=False)
    assert long(late) == []

    unknown = Process()
    unknown.begin("one", replace(A, subject=None))
    assert long(unknown) == []


def test_a_measurement_begins_anew_where_something_was_lost_or_somebody_comes() -> None:
    process = Process()
    process.begin("one")
    for number in range(2 * ENOUGH):
        assert process.go_on(PICTURES - 20) == []
        process.change("one", spared=number + 1)
    for number in range(2 * ENOUGH):
        assert process.go_on(PICTURES - 20) == []
        process.begin(f"more {number}")
        assert process.go_on(PICTURES - 20) == []
        del process.streams[f"more {number}"]


def test_memory_that_others_left_behind_is_nobodys() -> None:
    process = Process()
    process.begin("one", B)
    process.memory_mb = 900
    process.go_on(PICTURES)
    process.streams.clear()
    process.begin("two", A)
    assert long(process) == [Resources(cpu_ms=98)]
