"""Any edge of a cluster serves any stream: real processes, a publisher at one edge, viewers at the
other."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from streamgen_edge.demo.media_playlist import MediaPlaylist
from tests.live.clustering import Cluster
from tests.live.playlists import Seen, renditions
from tests.live.serving import Publisher, Server, needs_ffmpeg
from tests.live.watching import View, until, watched

pytestmark = needs_ffmpeg


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as one:
        yield one
        print(one.logs())


def fetched(server: Server, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http}{path}", timeout=10) as answer:
        return bytes(answer.read())


def test_what_is_published_at_one_edge_is_watched_at_the_other(cluster: Cluster) -> None:
    there, here = cluster.edges["edge-a"], cluster.edges["edge-b"]
    publisher = Publisher(there, "cam", seconds=240)
    try:
        places = here.until(lambda: renditions(here, "cam"), "playlists at the other edge", 40)
        assert places == renditions(there, "cam")
        seen = {place: Seen() for place in places}
        edges = [there, here]
        for turn in range(12):
            for place in places:
                edge = edges[turn % 2]
                status, text = edge.get(place)
                assert status == 200
                seen[place].look(text)
                newest = MediaPlaylist.parsed(text).parts[-1]
                asked = f"{place}?_HLS_msn={newest.number}&_HLS_part={newest.index + 1}"
                status, text = edges[(turn + 1) % 2].get(asked)
                assert status == 200
                seen[place].look(text)
                part = f"{place.rpartition('/')[0]}/{newest.uri}"
                assert fetched(there, part) == fetched(here, part)
        for place, one in seen.items():
            assert one.holes == [] and one.changed == [], place

        async def scene(view: View) -> None:
            await until(lambda: len(view.shown) > 30, "motion at the other edge")
            begun = view.shown[-1].at_s
            await until(lambda: view.shown[-1].at_s > begun + 2, "more of it")

        view = watched(here, "/whep/cam", scene)
        assert view.monotonic and view.longest_s < 5

        rows = {row["name"]: row for row in here.get("/v1/streams")[1]}
        assert rows["cam"]["home"] == "edge-a" and rows["cam"]["viewers"] > 0
        assert rows["cam"]["pipeline"]["name"] == "transcode"
        whole: dict[str, Any] = here.stream("cam")
        assert whole["home"] == "edge-a" and whole["stats"]["frames_out"] > 0
        status, knobs = here.get("/v1/streams/cam/params")
        assert status == 200 and "nodes" in knobs
        assert here.get("/v1/streams/other")[0] == 404
        said = here.get("/metrics")[1]
        assert 'streamgen_mirrored{of="here",stream=""} 1.0' in said
        assert "streamgen_mirror_bytes_total" in said

        assert here.get("/v1/streams/cam", "DELETE")[0] == 204
        there.until(lambda: there.stream("cam")["state"] == "ended", "its end at home")
        here.until(lambda: "#EXT-X-ENDLIST" in here.get(places[0])[1], "its end here")
    finally:
        publisher.close()
        there.until(partial(nothing_here, here), "end of the copy", 60)


def test_only_the_rendition_that_is_asked_for_crosses(cluster: Cluster) -> None:
    """Between real edges: the sound alone, then pictures on demand, which go when nobody asks for
    them any more."""
    there, here = cluster.edges["edge-a"], cluster.edges["edge-b"]
    publisher = Publisher(there, "one", seconds=240)
    try:
        places = here.until(lambda: len(both := renditions(here, "one")) == 2 and both, "both", 40)
        (sound,) = [place for place in places if "/audio" in place]
        (pictures,) = [place for place in places if place != sound]
        at_first, begun = received(here), newest(there, sound)
        while newest(there, sound) < begun + 4:
            heard = look(there, here, sound)
        crossed = received(here) - at_first
        seen = look(there, here, pictures)
        assert 0 < crossed < heard + 30_000 < seen, (crossed, heard, seen)
        here.until(lambda: received(here) - at_first > seen, "pictures")
        ends = time.monotonic() + 12
        while time.monotonic() < ends:
            look(there, here, sound)
        before, begun = received(here), newest(there, sound)
        while (at := newest(there, sound)) < begun + 5:
            look(there, here, sound)
        later = received(here) - before
        size = sum(segment(there, sound, number) for number in range(begun, at))
        shown = sum(segment(there, pictures, number) for number in range(begun + 1, at))
        assert later < size + 30_000 and shown > 50_000, (later, size, shown)
    finally:
        publisher.close()
        there.until(partial(nothing_here, here), "end of the copy", 60)


def newest(server: Server, place: str) -> int:
    return MediaPlaylist.parsed(server.get(place)[1]).parts[-1].number


def segment(server: Server, place: str, number: int) -> int:
    """Its size, once it is whole."""
    return len(fetched(server, f"{place.rpartition('/')[0]}/{number}.m4s"))


def received(server: Server) -> int:
    """Bytes of media that have come from other edges."""
    found = re.search(
        r"mirror_bytes_total{[^}]*received[^}]*} ([\d.e+]+)", server.get("/metrics")[1]
    )
    return 0 if found is None else int(float(found[1]))


def look(there: Server, here: Server, place: str) -> int:
    """All that a rendition lists, at both edges, where it is the same; how many bytes it has."""
    status, text = here.get(place)
    assert status == 200
    newest = MediaPlaylist.parsed(text).parts[-1]
    uris = [uri for uri in text.splitlines() if uri and not uri.startswith("#")]
    folder = place.rpartition("/")[0]
    for uri in (uris[-1], newest.uri):
        assert fetched(there, f"{folder}/{uri}") == fetched(here, f"{folder}/{uri}")
    return sum(len(fetched(there, f"{folder}/{uri}")) for uri in (*uris, newest.uri))


def nothing_here(server: Server) -> bool:
    """Nobody watches here any more, so nothing is fetched."""
    return 'streamgen_mirrored{of="here",stream=""} 0.0' in server.get("/metrics")[1]
