"""What nodes measure, and what of it counts."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.control.placement.catalogue import MOST_PROFILES, Catalogue
from streamgen.control.placement.profiles import subject_of
from streamgen.control.placement.resources import Profile, Resources, Standing, Subject
from streamgen.control.placement.scheduler import Work
from streamgen.errors import ConfigError
from streamgen.pipeline import load_pipeline, parse_pipeline, pipeline_value

SUBJECT, OTHER = Subject("starry-1", 1280, 720, 30), Subject("starry-1", 1280, 720, 60)
SAID = Profile(
    "starry-720p30",
    (Resources(1400, 200, 500, 100), Resources(420, 0, 500, 100), Resources(140, 0, 500, 100)),
    frozenset({"starry@1280x720"}),
    SUBJECT,
)


def measured(*cpu_ms: int, memory_mb: int = 0, subject: Subject = SUBJECT) -> Profile:
    needs = tuple(Resources(cpu_ms=one, memory_mb=memory_mb) for one in cpu_ms)
    return Profile("starry-720p30", needs, subject=subject)


def planned(catalogue: Catalogue, said: Profile = SAID) -> tuple[Resources, ...]:
    return catalogue.planned(Work("a", said, Standing.LIVE_PAID)).profile.needs


def test_what_was_measured_takes_the_place_of_what_was_said_and_nothing_else_does() -> None:
    catalogue = Catalogue()
    assert planned(catalogue) == SAID.needs
    assert catalogue.told("one", [measured(900, 300, 90, memory_mb=620)]) == {SUBJECT}
    assert planned(catalogue) == (
        Resources(900, 200, 620, 100),
        Resources(300, 0, 620, 100),
        Resources(90, 0, 620, 100),
    )
    assert planned(catalogue, Profile("plain", (Resources(7),))) == (Resources(7),)
    sixty = Profile("starry-720p60", SAID.needs, subject=OTHER)
    assert planned(catalogue, sixty) == SAID.needs


def test_where_only_the_whole_was_measured_giving_something_up_never_costs_more() -> None:
    catalogue = Catalogue()
    catalogue.told("one", [measured(400)])
    assert [need.cpu_ms for need in planned(catalogue)] == [400, 400, 140]


def test_what_may_not_be_given_up_is_not_planned_with_as_it_was_measured() -> None:
    catalogue = Catalogue()
    catalogue.told("one", [measured(900, 300, 90)])
    never = Profile("starry-720p30", SAID.needs[:1], subject=SUBJECT)
    assert [need.cpu_ms for need in planned(catalogue, never)] == [900]


def test_of_two_nodes_the_larger_need_counts_in_each_dimension_until_its_node_is_gone() -> None:
    catalogue = Catalogue()
    catalogue.told("slow", [measured(1900, 300, memory_mb=300)])
    catalogue.told("large", [measured(1000, 400, 90, memory_mb=800)])
    cpu = [(need.cpu_ms, need.memory_mb) for need in planned(catalogue)]
    assert cpu == [(1900, 800), (400, 800), (90, 800)]
    assert catalogue.told("slow", []) == {SUBJECT}
    assert [need.cpu_ms for need in planned(catalogue)] == [1000, 400, 90]
    assert catalogue.told("large", []) == {SUBJECT}
    assert planned(catalogue) == SAID.needs
    assert catalogue.told("large", []) == set()


def test_a_node_may_say_only_so_much() -> None:
    catalogue = Catalogue()
    many = [measured(100, subject=Subject("p", 64, 64, rate)) for rate in range(MOST_PROFILES + 9)]
    assert len(catalogue.told("one", many)) == MOST_PROFILES


SAYINGS = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.lists(
            st.builds(
                lambda subject, whole, less, memory: measured(
                    whole, *([min(less, whole)] if less else []), memory_mb=memory, subject=subject
                ),
                st.sampled_from((SUBJECT, OTHER)),
                st.integers(1, 4),
                st.integers(0, 4),
                st.integers(0, 3),
            ),
            max_size=3,
        ),
        st.booleans(),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(SAYINGS)
def test_it_knows_the_most_of_what_was_said_last(
    sayings: list[tuple[str, list[Profile], bool]],
) -> None:
    catalogue, last = Catalogue(), dict[str, dict[Subject | None, Profile]]()
    for node, profiles, asked in sayings:
        catalogue.told(node, profiles)
        last[node] = {one.subject: one for one in profiles}
        if not asked:  # it is not worked out anew each time
            continue
        for subject in (SUBJECT, OTHER):
            known = [of[subject] for of in last.values() if subject in of]
            found = catalogue.most(subject)
            assert (found is None) == (not known)
            if found is not None:
                assert found.needs == reduce(Profile.most, known).needs


def test_measurements_of_different_things_are_not_mixed() -> None:
    with pytest.raises(ConfigError, match="different things"):
        SAID.most(measured(1, subject=OTHER))


def test_a_subject_is_a_pipeline_to_the_letter_at_its_size_and_rate() -> None:
    starry = load_pipeline("starry")
    found = subject_of(starry, 1280, 720, 30.0)
    assert found.pipeline.startswith("starry-") and found.text.endswith("-1280x720p30")
    again = parse_pipeline(pipeline_value("starry"))
    assert subject_of(again, 1280, 720, 29.97) == found
    assert subject_of(starry, 1280, 720, 25.0) != found
    assert subject_of(starry, 720, 720, 30.0) != found
    changed = starry.model_copy(update={"ladder": starry.ladder[:1]})
    assert subject_of(changed, 1280, 720, 30.0) != found
