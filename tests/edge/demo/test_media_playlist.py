"""The demo's reader understands low-latency playlists."""

from __future__ import annotations

from streamgen_edge.demo.media_playlist import MediaPlaylist, Part, Segment

TEXT = """#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:1
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.1
#EXT-X-PART-INF:PART-TARGET=0.334
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-MAP:URI="init.mp4"
#EXTINF:1.00000,
7.m4s
#EXT-X-PART:DURATION=0.333,URI="8.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.333,URI="8.1.m4s",GAP=YES
#EXTINF:0.66600,
8.m4s
#EXT-X-PART:DURATION=0.333,URI="9.0.m4s",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="9.1.m4s"
"""


def test_segments_and_parts_are_numbered_as_the_server_counts_them() -> None:
    playlist = MediaPlaylist.parsed(TEXT)
    assert playlist.init == "init.mp4"
    assert playlist.segments == (Segment(7, "7.m4s", 1.0), Segment(8, "8.m4s", 0.666))
    assert playlist.parts == (
        Part(8, 0, "8.0.m4s", True, False),
        Part(8, 1, "8.1.m4s", False, True),
        Part(9, 0, "9.0.m4s", True, False),
    )
    assert playlist.next_number == 9
    assert not playlist.ended


def test_the_end_is_seen() -> None:
    assert MediaPlaylist.parsed(TEXT + "#EXT-X-ENDLIST\n").ended
