"""The endpoint answers players by the rules, and everybody else with a reason."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from streamgen.deliver.grid import NS
from streamgen.deliver.live import LivePackager
from streamgen.media.packet import Packet
from streamgen_edge.hls import HlsApp, Viewer, hls_app
from tests.deliver.live_packets import mixed
from tests.deliver.live_trace import read

from .asking import Answer, ask
from .conftest import SESSION, Line, everybody, packaged

TOP = "/hls/cam/index.m3u8"
RUNG = f"/hls/cam/{SESSION}/180p"
Ask = Callable[..., Coroutine[Any, Any, Answer]]


@pytest.fixture
def packager(lines: tuple[Line, ...]) -> LivePackager:
    """Ten seconds of a stream: segment 10 is growing and has parts 0 and 1."""
    return packaged(lines, until_s=9.7)


@pytest.fixture
def rest(lines: tuple[Line, ...]) -> list[Packet]:
    """What comes after these ten seconds."""
    return [p for p in mixed(*(packets for _, packets in lines)) if p.time_s >= 9.7]


@pytest.fixture
def served(packager: LivePackager) -> HlsApp:
    return hls_app({"cam": packager}, everybody)


def get(app_: HlsApp, path: str, query: str = "", **more: str) -> Answer:
    return asyncio.run(ask(app_, path, query, **more))


def test_playlists_lead_to_playlists_and_to_media(served: HlsApp) -> None:
    top = get(served, TOP)
    assert top.status == 200
    assert top.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert f"{SESSION}/180p/index.m3u8" in top.text
    rung = get(served, f"{RUNG}/index.m3u8")
    assert rung.headers["cache-control"] == "max-age=1"
    found = read(rung.text)
    assert found.newest == (10, 1)
    header = get(served, f"{RUNG}/{found.segments[0].header}")
    assert header.headers["content-type"] == "video/mp4"
    assert header.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert header.body[4:8] == b"ftyp"
    parts = [get(served, f"{RUNG}/{part['URI']}").body for part in found.segments[9].parts]
    assert len(parts) == 3
    assert get(served, f"{RUNG}/9.m4s").body == b"".join(parts)
    sound = get(served, f"/hls/cam/{SESSION}/audio-0/9.0.m4s")
    assert sound.headers["content-type"] == "audio/mp4"


def test_one_viewer_too_many_is_told_to_come_again(packager: LivePackager) -> None:
    async def full(_: Viewer) -> int | None:
        return 503

    answer = get(hls_app({"cam": packager}, full), f"{RUNG}/index.m3u8")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "too many viewers" in answer.text


def test_pages_of_other_sites_may_play(served: HlsApp) -> None:
    for path in (TOP, f"{RUNG}/index.m3u8", f"{RUNG}/9.m4s", f"{RUNG}/nothing"):
        assert get(served, path).headers["access-control-allow-origin"] == "*"
    before = get(served, f"{RUNG}/index.m3u8", method="OPTIONS")
    assert before.status == 204
    assert "range" in before.headers["access-control-allow-headers"]


def test_playlists_are_packed_for_those_who_take_it(served: HlsApp) -> None:
    plain, packed = (
        get(served, f"{RUNG}/index.m3u8", accept_encoding=accepted)
        for accepted in ("identity", "br, gzip")
    )
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2
    assert plain.headers["vary"] == packed.headers["vary"] == "accept-encoding"
    assert plain.headers["etag"] != packed.headers["etag"]


def test_a_playlist_that_has_not_changed_is_not_sent_again(
    served: HlsApp, packager: LivePackager, rest: list[Packet]
) -> None:
    tag = get(served, f"{RUNG}/index.m3u8").headers["etag"]
    again = get(served, f"{RUNG}/index.m3u8", if_none_match=tag)
    assert (again.status, again.body) == (304, b"")
    for packet in rest[:100]:
        packager.write(packet)
    assert get(served, f"{RUNG}/index.m3u8", if_none_match=tag).status == 200


def test_head_says_the_same_without_a_body(served: HlsApp) -> None:
    for path in (TOP, f"{RUNG}/index.m3u8", f"{RUNG}/9.m4s", f"{RUNG}/9.1.m4s"):
        full, head = get(served, path), get(served, path, method="HEAD")
        assert head.body == b""
        assert (head.status, head.headers) == (full.status, full.headers)


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, None),
        ("bytes=-7", -7, None),
        ("bytes=5-99999999", 5, None),
        ("bytes=3000-9000", 3000, 9001),
    ],
)
def test_ranges_of_segments_go_across_parts(
    served: HlsApp, asked: str, begin: int, end: int | None
) -> None:
    whole = get(served, f"{RUNG}/9.m4s")
    assert whole.headers["accept-ranges"] == "bytes"
    answer = get(served, f"{RUNG}/9.m4s", range=asked)
    assert answer.status == 206
    assert answer.body == whole.body[begin:end]
    first, last = answer.headers["content-range"].removeprefix("bytes ").split("/")[0].split("-")
    assert whole.body[int(first) : int(last) + 1] == answer.body


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=9-3", "bytes=-", "x"])
def test_ranges_that_are_none_get_the_whole(served: HlsApp, asked: str) -> None:
    assert get(served, f"{RUNG}/9.m4s", range=asked).status == 200


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_ranges_outside_are_refused_with_the_size(served: HlsApp, asked: str) -> None:
    answer = get(served, f"{RUNG}/9.m4s", range=asked)
    assert answer.status == 416
    assert answer.headers["content-range"].startswith("bytes */")


def test_what_left_the_window_is_gone_and_what_never_was_is_not_found(
    lines: tuple[Line, ...],
) -> None:
    served = hls_app({"cam": packaged(lines, until_s=20, window_ns=4 * NS)}, everybody)
    assert get(served, f"{RUNG}/1.m4s").status == 410
    assert get(served, f"{RUNG}/1.0.m4s").status == 410
    assert get(served, f"{RUNG}/14.m4s").status == 200
    for never in ("99.m4s", "14.7.m4s", "init-0.mp4", "..%2f14.m4s", "14.m4s/", "", "-1.m4s"):
        assert get(served, f"{RUNG}/{never}").status == 404
    for never in ("1" * 40 + ".m4s", "01.m4s", "14.0.0.m4s", "14.m4s\x00", "14.m4s\n"):
        assert get(served, f"{RUNG}/{never}").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/hls",
        "/hls/",
        "/hls/cam",
        "/hls/cam/",
        "/hls/other/index.m3u8",
        "/hls/cam/other/180p/index.m3u8",
        f"/hls/cam/{SESSION}/1080p/index.m3u8",
        f"/hls/cam/{SESSION}/../../etc/passwd",
        "/hls/cam/../../../../etc/passwd",
        f"/hls/cam/{SESSION}/180p/9.m4s/../9.m4s",
    ],
)
def test_other_paths_are_not_found(served: HlsApp, path: str) -> None:
    answer = get(served, path)
    assert answer.status == 404
    assert "no-store" in answer.headers["cache-control"]


def test_only_reading_is_allowed(served: HlsApp) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert get(served, TOP, method=method).status == 405


@pytest.mark.parametrize(
    "query",
    [
        "_HLS_part=1",
        "_HLS_msn=-1",
        "_HLS_msn=x",
        "_HLS_msn=",
        "_HLS_msn=1.5",
        "_HLS_msn=%D9%A1",
        f"_HLS_msn={'9' * 500}",
        "_HLS_msn=10&_HLS_part=-1",
        "_HLS_msn=10&_HLS_part=x",
        "_HLS_msn=12",
        "_HLS_msn=999999999999",
        "_HLS_msn=10&_HLS_part=11",
        "_HLS_msn=11&_HLS_part=10",
        "token=%22&token=a%0D%0Ab&x=" + "y" * 15_000,
        "token=a b",
        'token="',
    ],
)
def test_directives_that_make_no_sense_are_bad_requests(served: HlsApp, query: str) -> None:
    began = time.monotonic()
    assert get(served, f"{RUNG}/index.m3u8", query).status == 400
    assert time.monotonic() - began < 0.5


def test_what_is_there_already_is_answered_at_once(served: HlsApp) -> None:
    for query in (
        "_HLS_msn=0",
        "_HLS_msn=9",
        "_HLS_msn=9&_HLS_part=2",
        "_HLS_msn=9&_HLS_part=3",  # no such part: it means the first of the next segment
        "_HLS_msn=10&_HLS_part=1",
    ):
        answer = get(served, f"{RUNG}/index.m3u8", query)
        assert read(answer.text).newest == (10, 1)
        assert answer.headers["cache-control"] == "max-age=6"


def test_a_delta_update_is_given_to_those_who_ask(served: HlsApp) -> None:
    for value in ("YES", "v2"):
        assert "#EXT-X-SKIP" in get(served, f"{RUNG}/index.m3u8", f"_HLS_skip={value}").text
    assert "#EXT-X-SKIP" not in get(served, f"{RUNG}/index.m3u8", "_HLS_skip=no").text


@pytest.mark.parametrize("query", ["_HLS_skip=YES", "_HLS_skip=v2&_HLS_msn=0", "_HLS_skip="])
def test_of_a_fresh_stream_nothing_is_skipped(lines: tuple[Line, ...], query: str) -> None:
    served = hls_app({"cam": packaged(lines, until_s=0.7)}, everybody)
    answer = get(served, f"{RUNG}/index.m3u8", query)
    assert "#EXT-X-SKIP" not in answer.text
    assert answer.text == get(served, f"{RUNG}/index.m3u8").text


def test_a_rung_that_never_comes_is_left_out_of_the_top_playlist(lines: tuple[Line, ...]) -> None:
    packager = packaged(lines)
    for packet in mixed(lines[0][1], lines[2][1]):
        packager.write(packet)
    began = time.monotonic()
    answer = get(hls_app({"cam": packager}, everybody), TOP)
    assert "180p" in answer.text
    assert "90p" not in answer.text
    assert time.monotonic() - began < 0.5


def test_who_may_not_play_gets_no_playlist(packager: LivePackager) -> None:
    seen: list[Viewer] = []

    async def authorize(viewer: Viewer) -> int | None:
        seen.append(viewer)
        return {"good": None, None: 401}.get(viewer.token, 403)

    served = hls_app({"cam": packager}, authorize)
    for path in (TOP, f"{RUNG}/index.m3u8"):
        assert get(served, path).status == 401
        assert get(served, path).headers["www-authenticate"] == "Bearer"
        assert get(served, path, "token=bad").status == 403
        assert get(served, path, "token=good").status == 200
        assert get(served, path, authorization="Bearer good").status == 200
        assert get(served, path, "_HLS_msn=1&token=%67ood").status == 200
    assert seen[-1] == Viewer("cam", "good", "127.0.0.1")
    assert f"{SESSION}/180p/index.m3u8?token=good" in get(served, TOP, "token=good").text
    assert "good" not in get(served, f"{RUNG}/index.m3u8", "token=good").text
