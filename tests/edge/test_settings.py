"""What a user writes about the server is taken, or refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgen.control.origin import is_loopback
from streamgen.errors import ConfigError
from streamgen_edge.auth.settings import fits
from streamgen_edge.settings import Server, load_server, restart_needed

EVERYTHING = """
http: {listen: 127.0.0.1:8080, tls: {cert: , key: }, hosts: [localhost]}
rtmp: {listen: 127.0.0.1:1935, tls: null}
webrtc: {listen: [127.0.0.1], udp_ports: 50000-50999, advertise: [], ice_servers: [], turn: null}
auth: {publish_keys: {key-one: abc}, jwt: {jwks: , audience: , algorithms: [ES256]}, callback: null}
hls: {part: 333ms, window: 30s}
streams:
  "live-*": {pipeline: starry, publish: [key-one], play: anyone, record: false, push: [],
    grace: 20s, limits: {bitrate: 12M, viewers: 500}}
"""
PUBLIC = "0123456789abcdef" * 4


def test_without_a_file_everything_is_open_to_this_machine_only() -> None:
    server = load_server(None, {})
    assert server.http.loopback and server.rtmp.loopback
    assert (server.http.number, server.rtmp.number) == (8080, 1935)
    stream = server.stream("any_Name-1")
    assert stream is not None and stream.publish == stream.play == "anyone"
    assert stream.grace == 20_000_000_000


def test_the_whole_file_of_the_documentation_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "streamgen.yaml"
    path.write_text(EVERYTHING)
    server = load_server(path, {})
    stream = server.stream("live-7")
    assert stream is not None and stream.limits.bitrate == 12_000_000
    assert server.stream("other") is None
    assert stream.publish == ("key-one",) and server.auth.publish_keys == {"key-one": "abc"}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("auth: {jwt: {jwks: 'ftp://x/keys', audience: a}}\n", 1, "begins with https or http"),
        ("auth: {jwt: {jwks: keys.json}}\n", 1, "jwks and audience go together"),
        ("auth: {jwt: {jwks: k, audience: a, algorithms: [HS256]}}\n", 1, "algorithms"),
        ("auth: {jwt: {jwks: k, audience: a, algorithms: [none]}}\n", 1, "algorithms"),
        ("auth: {publish_keys: {a: ''}}\n", 1, "publish_keys.a is empty"),
        ("auth: {play_keys: {a: x}, admin_keys: {b: x}}\n", 1, "no scope implies another"),
        ("auth: {play_keys: {a: x}, publish_keys: {a: y}}\n", 1, "a name in publish_keys and in"),
        ("auth: {callback: 'https://a:b@c/may'}\n", 1, "no names and passwords"),
        ("auth: {callback: {url: 'https://c/', secret: short}}\n", 1, "openssl rand -base64 32"),
        ("auth: {callback: {url: 'https://c/', keep: 1h}}\n", 1, "not a duration"),
        ("auth: {callback: {url: 'https://c/', keep: 6min}}\n", 1, "less than or equal"),
        ("recording: {split: 5}\n", 1, "recording.split"),
        ("recording: {split: soon}\n", 1, "neither a length nor a size"),
        ("recording: {split: 10ms}\n", 1, "files of less than 1s"),
        ("recording: {min_free: much}\n", 1, "not a size"),
        ("streams: {a: {push: ['rtmp://x/y']}}\n", 1, "application and key are missing"),
        ("streams: {a: {push: ['srt://x/y']}}\n", 1, "a URL begins with rtmp or rtmps or"),
        ("streams: {a: {push: [{url: 'rtmp://x/y/z', token: t}]}}\n", 1, "token is for WHIP"),
        ("streams: {a: {push: [{url: 'rtmp://u:p@x/y/z'}]}}\n", 1, "no names and passwords"),
        ("http: {tls: {cert: a.pem, key: }}\n", 1, "tls.key"),
        ("streams: {a: {play: [nobody]}}\n", None, "unknown key 'nobody'"),
        ("http: {listen: '0.0.0.0:8080'}\n", None, "http listens to others and anyone may"),
        ("workers: 0\n", None, "nobody would do the work"),
        ("link: {listen: '127.0.0.1:7000', key: k}\n", 1, "missing key 'link.workers'"),
        ("link: {listen: '0.0.0.0:7000', key: k, workers: []}\n", 1, "link.workers"),
        (f"link: {{listen: '127.0.0.1:0', key: k, workers: [{PUBLIC}]}}\n", 1, "not an address"),
        ("link: {listen: '127.0.0.1:7000', key: k, workers: [abc]}\n", 1, "not a public key"),
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


def test_every_key_of_the_file_is_a_variable_too() -> None:
    environment = {
        "STREAMGEN_HTTP__LISTEN": "127.0.0.1:9000",
        "STREAMGEN_HTTP__TLS": "{cert: a.pem, key: b.pem}",
        "STREAMGEN_WEBRTC__UDP_PORTS": "4000-4001",
        "STREAMGEN_WEBRTC__TURN__SECRET": "s",
        "STREAMGEN_AUTH__PUBLISH_KEYS": "{one: abc}",
        "STREAMGEN_HLS__PART": "500ms",
        "STREAMGEN_WORKERS": "3",
        "STREAMGEN_LINK": f"{{listen: 127.0.0.1:7000, key: k, workers: [{PUBLIC}]}}",
        "STREAMGEN_STREAMS": "{'*': {publish: [one], grace: 5s}}",
    }
    server = load_server(None, environment)
    assert (server.http.number, server.workers) == (9000, 3)
    assert server.http.tls is not None and str(server.http.tls.key) == "b.pem"
    assert server.webrtc.udp_ports == "4000-4001" and server.webrtc.turn == {"secret": "s"}
    assert server.hls.part == 500_000_000
    assert server.link is not None and server.link.workers == (PUBLIC,)
    stream = server.stream("a")
    assert stream is not None and stream.grace == 5_000_000_000
    assert stream.publish == ("one",) and server.auth.publish_keys == {"one": "abc"}


def test_only_what_is_read_at_the_start_needs_another_start() -> None:
    tls = {"cert": "a.pem", "key": "a.key"}
    link = {"listen": "127.0.0.1:7000", "key": "k", "workers": [PUBLIC]}
    before = Server.model_validate({"http": {"tls": tls}, "link": link})
    again = {"cert": "b.pem", "key": "b.key"}
    more = {**link, "workers": [PUBLIC, PUBLIC[::-1]]}
    change = {"http": {"tls": again}, "link": more, "pipeline": "wave", "streams": {"a": {}}}
    assert restart_needed(before, Server.model_validate(change)) == []
    change = {"http": {"port": 1}, "rtmp": {"tls": tls}, "link": {**link, "key": "x"}, "workers": 3}
    assert restart_needed(before, Server.model_validate(change)) == [
        "http",
        "rtmp",
        "workers",
        "link",
    ]


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="STREAMGEN_RTMP__PORT"):
        load_server(None, {"STREAMGEN_RTMP__PORT": "many"})


def test_what_a_file_lacks_may_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "streamgen.yaml"
    path.write_text('http: {listen: "0.0.0.0:80"}\nstreams:\n  "*": {publish: [main]}\n')
    told = {"STREAMGEN_AUTH__PUBLISH_KEYS": "{main: secret}"}
    assert load_server(path, told).auth.publish_keys == {"main": "secret"}
    for other in ({}, {"STREAMGEN_WORKERS": "1"}):
        with pytest.raises(ConfigError, match=r"streamgen.yaml line 1: .*unknown key 'main'"):
            load_server(path, other)
    with pytest.raises(ConfigError, match="STREAMGEN_WORKERS"):
        load_server(path, {**told, "STREAMGEN_WORKERS": "many"})


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
