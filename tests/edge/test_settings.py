"""What a user writes about the server is taken, or refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgen.errors import ConfigError
from streamgen_edge.settings import fits, is_loopback, load_server

EVERYTHING = """
http: {listen: "127.0.0.1:8080", tls: {cert: a.pem, key: b.pem}, hosts: [localhost]}
rtmp: {listen: "127.0.0.1:1935", tls: null}
webrtc: {listen: [127.0.0.1], udp_ports: 50000-50999, advertise: [], ice_servers: [], turn: null}
auth: {publish_keys: {key-one: abc}, jwt: {jwks: x, audience: y, algorithms: [ES256]}}
hls: {part: 333ms, window: 30s}
streams:
  "live-*": {pipeline: starry, publish: [key-one], play: anyone, record: false, push: [],
    grace: 20s, limits: {bitrate: 12M, viewers: 500}}
"""


def test_without_a_file_everything_is_open_to_this_machine_only() -> None:
    server = load_server(None, {})
    assert server.http.loopback and server.rtmp.loopback
    assert (server.http.number, server.rtmp.number) == (8080, 1935)
    stream = server.stream("any_Name-1")
    assert stream is not None and server.may_publish(stream, None)
    assert stream.grace == 20_000_000_000


def test_the_whole_file_of_the_documentation_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "streamgen.yaml"
    path.write_text(EVERYTHING)
    server = load_server(path, {})
    stream = server.stream("live-7")
    assert stream is not None and stream.limits.bitrate == 12_000_000
    assert server.stream("other") is None
    assert server.may_publish(stream, "abc")
    assert not server.may_publish(stream, "abd") and not server.may_publish(stream, None)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("http: {listen: 8080}\n", 1, "listen"),
        ("rtmp:\n  listen: localhost\n", 2, "not an address"),
        ("hls: {part: 333}\n", 1, "not a duration"),
        ("streams:\n  a: {publish: [nobody]}\n", None, "unknown key 'nobody'"),
        ("streams:\n  'a b': {}\n", None, "no name or pattern"),
        ("rtmp: {listen: '0.0.0.0:1935'}\n", None, "anyone may publish"),
        ("color: blue\n", 1, "unknown key 'color'"),
        ("webrtc: {udp_ports: 9-1}\n", 1, "not a range"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(
    tmp_path: Path, text: str, line: int | None, said: str
) -> None:
    path = tmp_path / "streamgen.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_server(path, {})
    if line is not None:
        assert caught.value.line == line


def test_the_environment_and_the_command_line_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "streamgen.yaml"
    path.write_text("rtmp: {listen: '127.0.0.1:7000'}\npipeline: wave\n")
    environment = {"STREAMGEN_RTMP__PORT": "1936", "STREAMGEN_CACHE": "/x", "PATH": "/bin"}
    server = load_server(path, environment)
    assert (server.rtmp.number, server.pipeline) == (1936, "wave")
    assert load_server(path, environment, rtmp__port=0, pipeline=None).rtmp.number == 0


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="STREAMGEN_RTMP__PORT"):
        load_server(None, {"STREAMGEN_RTMP__PORT": "many"})


def test_names_that_are_no_names_have_no_stream() -> None:
    server = load_server(None, {})
    for name in ("", "../x", "a b", "x" * 65, "a\n", "a%2f"):
        assert server.stream(name) is None


def test_loopback_is_what_nobody_else_can_reach() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "testclient")))


def test_a_secret_fits_whole_or_not_at_all() -> None:
    assert fits("abc", ["x", "abc"])
    assert not fits("ab", ["abc"]) and not fits("", ["abc"]) and not fits("abc", [])
