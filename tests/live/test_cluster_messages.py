"""What a stream costs the coordinator while it runs: nothing for a picture, however many there are.
Counted by the coordinator itself, each message that it hears or says, by kind."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live.clustering import Cluster, Watched
from tests.live.serving import Publisher, needs_ffmpeg

pytestmark = needs_ffmpeg
RATE = 50
PICTURES = 150
BY_THE_CLOCK = frozenset({"heard Alive", "heard NodeReport", "said Beat"})
NOW_AND_THEN = 4
"""Messages of other kinds in either time: what is said again twice a minute, a measurement."""
UNEVEN = 10
"""Heartbeats that a busy machine may let come in one heap."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, ("edge-a",)) as one:
        yield one
        print(one.logs())


def messages(cluster: Cluster) -> Counter[str]:
    """So far, by kind."""
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster.http[0]}/metrics", timeout=10) as told:
        families = text_string_to_metric_families(told.read().decode())
    return Counter(
        {
            f"{family.name.rpartition('_')[2]} {sample.labels['kind']}": round(sample.value)
            for family in families
            if family.name.startswith("streamgen_coordinator_messages_")
            for sample in family.samples
            if "kind" in sample.labels
        }
    )


def test_no_message_of_a_coordinator_is_for_a_picture(cluster: Cluster) -> None:
    edge = cluster.edges["edge-a"]
    publisher = Publisher(edge, "one", size="160x90", rate=RATE, gop=RATE, seconds=240)
    try:
        stream = Watched(edge, "one")
        stream.moves(PICTURES)
        assert messages(cluster)["heard StreamAttached"] == 1
        for pictures in (PICTURES, 2 * PICTURES):
            before, shown = messages(cluster), edge.frames_out("one")
            stream.moves(pictures)
            after = messages(cluster) - before
            assert edge.frames_out("one") - shown >= pictures
            print(pictures, dict(after))
            rest = sum(number for kind, number in after.items() if kind not in BY_THE_CLOCK)
            assert rest <= NOW_AND_THEN, after
            # Once a second to each peer; they say twice that they live. Time goes by unevenly in
            # different processes, and none of them may keep the time of pictures.
            assert after["heard Alive"] <= 4 * after["said Beat"] + UNEVEN, after
            assert after["heard NodeReport"] <= 2 * after["said Beat"] + UNEVEN, after
            assert after["said Beat"] <= after["heard Alive"] + UNEVEN, after
        stream.whole()
    finally:
        publisher.close()
