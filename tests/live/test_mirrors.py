"""Any edge of a cluster serves any stream: real processes, a publisher at one edge, viewers at the
other."""

from __future__ import annotations

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


def nothing_here(server: Server) -> bool:
    """Nobody watches here any more, so nothing is fetched."""
    return 'streamgen_mirrored{of="here",stream=""} 0.0' in server.get("/metrics")[1]
