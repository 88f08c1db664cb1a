"""`Resources`: what work needs and what a node has, as one vector of whole numbers.

Whole numbers, so that what fits is exact and the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from operator import attrgetter

from streamgen.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Resources:
    """What a second of a stream takes, or what a node has to give in one.

    A processor core, a GPU and a codec engine give 1000 ms a second each.
    """

    cpu_ms: int = 0
    gpu_ms: int = 0
    memory_mb: int = 0
    gpu_memory_mb: int = 0
    decoder_ms: int = 0
    """Of hardware engines; what decodes on the processor is in `cpu_ms`."""
    encoder_ms: int = 0

    def __post_init__(self) -> None:
        for name, value in zip(DIMENSIONS, amounts(self), strict=True):
            if value < 0:
                raise ConfigError(f"{name} must not be negative, got {value}")

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(a + b for a, b in zip(amounts(self), amounts(other), strict=True)))

    def fits(self, capacity: Resources) -> bool:
        """Whether an empty node with this capacity has enough of everything."""
        return all(a <= b for a, b in zip(amounts(self), amounts(capacity), strict=True))

    def most(self, other: Resources) -> Resources:
        """The larger one in every dimension."""
        return Resources(*(max(a, b) for a, b in zip(amounts(self), amounts(other), strict=True)))

    def least(self, other: Resources) -> Resources:
        """The smaller one in every dimension."""
        return Resources(*(min(a, b) for a, b in zip(amounts(self), amounts(other), strict=True)))

    def over(self, other: Resources) -> Resources:
        """This one, and the other's where this one says nothing (0)."""
        return Resources(*(a or b for a, b in zip(amounts(self), amounts(other), strict=True)))

    def under(self, head_room: float) -> Resources:
        """What may be planned with: time is left free for what is dearer than usual; memory is
        not, as it does not come and go with the picture."""
        return Resources(
            *(
                int(value * (1 - head_room)) if name.endswith("_ms") else value
                for name, value in zip(DIMENSIONS, amounts(self), strict=True)
            )
        )


DIMENSIONS = tuple(one.name for one in fields(Resources))
amounts: Callable[[Resources], tuple[int, ...]] = attrgetter(*DIMENSIONS)
"""In the order of `DIMENSIONS`."""


class Standing(IntEnum):
    """Who goes first where not all can: live before batch, paid before free. Only simulations have
    batch work: jobs of a real cluster are made in what its streams leave (`control.filler`)."""

    LIVE_PAID = 0
    LIVE_FREE = 1
    BATCH_PAID = 2
    BATCH_FREE = 3

    @property
    def live(self) -> bool:
        return self <= Standing.LIVE_FREE


class Cut(IntEnum):
    """What a live stream gives up where it is short, in this order."""

    NOTHING = 0
    ENHANCEMENT = 1
    RUNGS = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """What can be measured: two measurements with the same one are of the same thing."""

    pipeline: str
    """Its name, and a hash of all that it says."""
    width: int
    height: int
    rate: int
    """Pictures a second, to the next whole number: 29.97 cost what 30 do."""

    @property
    def text(self) -> str:
        return f"{self.pipeline}-{self.width}x{self.height}p{self.rate}"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a pipeline at one size takes: as somebody says, assumes or measured it."""

    name: str
    needs: tuple[Resources, ...]
    """Whole, without enhancement, without the top rungs either; at least the first."""
    models: frozenset[str] = field(default_factory=frozenset)
    """Networks that are loaded for it: a node that has them starts sooner."""
    subject: Subject | None = None
    """None: of something that nobody can measure."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.needs) <= len(Cut):
            raise ConfigError(f"profile {self.name}: 1 to {len(Cut)} needs, got {len(self.needs)}")
        for more, less in zip(self.needs, self.needs[1:], strict=False):
            if not less.fits(more):
                raise ConfigError(f"profile {self.name}: giving up something costs more")

    def need(self, cut: Cut) -> Resources:
        """With so much given up, as far as there is anything."""
        return self.needs[min(cut, len(self.needs) - 1)]

    def least(self, cut: Cut) -> Cut:
        """The same need by its first name: some profiles have nothing to give up."""
        return Cut(min(cut, len(self.needs) - 1))

    def most(self, other: Profile) -> Profile:
        """Enough wherever it runs: the larger need of two measurements on different machines. One
        of them may know nothing of what it takes with something given up."""
        if self.subject != other.subject:
            raise ConfigError(f"profile {self.name}: two measurements of different things")
        longer = max(self.needs, other.needs, key=len)
        both = [a.most(b) for a, b in zip(self.needs, other.needs, strict=False)]
        return replace(self, needs=(*both, *longer[len(both) :]))

    def measured(self, found: Profile) -> Profile:
        """With what was measured in place of what was said; what was not measured (0) stays."""
        whole = found.needs[0].over(self.needs[0])
        memory = {"memory_mb": whole.memory_mb, "gpu_memory_mb": whole.gpu_memory_mb}
        needs = [whole]
        for number, said in enumerate(self.needs[1:], 1):
            need = found.needs[number].over(said) if number < len(found.needs) else said
            needs.append(replace(need, **memory).least(needs[-1]))
        return replace(self, needs=tuple(needs))


def lower_bound(needs: Sequence[Resources], capacities: Sequence[Resources]) -> int:
    """Fewer nodes than this cannot carry all: of every dimension, the largest nodes that together
    have enough. Real packings need more, since work cannot be split."""
    most = 0
    for dimension in range(len(DIMENSIONS)):
        left = sum(amounts(need)[dimension] for need in needs)
        number = 0
        for have in sorted((amounts(one)[dimension] for one in capacities), reverse=True):
            if left <= 0:
                break
            left -= have
            number += 1
        most = max(most, number)
    return most
