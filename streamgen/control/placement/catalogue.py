"""`Catalogue`: what the nodes of a cluster have measured. Of several measurements of one thing the
larger one counts in each dimension, so that it is enough wherever the work goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

from streamgen.control.placement.resources import Profile, Subject, amounts
from streamgen.control.placement.scheduler import Work

MOST_PROFILES = 64
"""Of one node."""
MOST_PLANNED = 1_000
"""What streams take as measured is kept for so many that edges say."""


class Catalogue:
    """Cheap to ask and to be told: nodes are many, and most of them say about the same."""

    def __init__(self) -> None:
        self._said: dict[str, dict[Subject, Profile]] = {}
        """By node."""
        self._values: dict[Subject, Counter[Profile]] = {}
        self._most: dict[Subject, Profile] = {}
        """As far as that is worked out."""
        self._planned: dict[Profile, Profile] = {}

    def told(self, node: str, profiles: Iterable[Profile]) -> set[Subject]:
        """All that this node has measured, in place of what it said before. Of what something
        else may count now."""
        former = self._said.pop(node, {})
        found = {one.subject: one for one in profiles if one.subject is not None}
        found = dict(list(found.items())[:MOST_PROFILES])
        changed = {
            subject
            for subject in former.keys() | found.keys()
            if former.get(subject) != found.get(subject)
        }
        for subject in changed:
            if subject in found:
                self._add(subject, found[subject])
            if subject in former:
                self._remove(subject, former[subject])
        if found:
            self._said[node] = found
        if changed:
            self._planned.clear()
        return changed

    def planned(self, work: Work) -> Work:
        """The work with what it takes as measured, as far as that is known."""
        said = work.profile
        most = None if said.subject is None else self.most(said.subject)
        if most is None:
            return work
        found = self._planned.get(said)
        if found is None:
            if len(self._planned) >= MOST_PLANNED:
                self._planned.clear()
            found = self._planned[said] = said.measured(most)
        return replace(work, profile=found)

    def most(self, subject: Subject) -> Profile | None:
        """What is enough on every node that has measured it; None: nobody has."""
        if subject not in self._most and subject in self._values:
            self._most[subject] = reduce(Profile.most, self._values[subject])
        return self._most.get(subject)

    def _add(self, subject: Subject, profile: Profile) -> None:
        self._values.setdefault(subject, Counter())[profile] += 1
        if subject in self._most:
            self._most[subject] = self._most[subject].most(profile)

    def _remove(self, subject: Subject, profile: Profile) -> None:
        values = self._values[subject]
        values[profile] -= 1
        if not values[profile]:
            del values[profile]
            if subject in self._most and _reaches(profile, self._most[subject]):
                del self._most[subject]
        if not values:
            del self._values[subject]


def _reaches(profile: Profile, most: Profile) -> bool:
    """Whether anything that is the most is so by this one."""
    return any(
        a and a == b
        for need, highest in zip(profile.needs, most.needs, strict=False)
        for a, b in zip(amounts(need), amounts(highest), strict=True)
    )
