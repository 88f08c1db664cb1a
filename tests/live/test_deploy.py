"""Alerts and dashboard ask for figures that a server in all kinds of trouble really gives."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from streamgen_edge.rtmp.limits import Limits
from tests.conftest import ROOT
from tests.live.serving import Publisher, Server, needs_ffmpeg
from tests.live.test_hooks import SECRET as HOOK
from tests.live.test_hooks import Listener
from tests.live.test_link import Away, made
from tests.ports import free_port

pytestmark = needs_ffmpeg
DEPLOY = ROOT / "edge" / "deploy"
SECRET = "s3cret-of-main"
OURS = re.compile(r"(streamgen_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
JUMPING = shlex.split(
    "ffmpeg -nostdin -loglevel quiet -re -f lavfi -i testsrc2=size=160x90:rate=25 -c:v libx264"
    " -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 25 -t 60"
    " -bsf:v \"setts=ts='TS+if(gte(N,50),30000,0)'\" -f flv"
)
"""After two seconds its clock jumps by thirty."""
Sample = tuple[str, dict[str, str]]


def queries() -> Iterator[str]:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "streamgen.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$stream", ".*")


def selectors() -> set[tuple[str, str]]:
    return {(name, inside) for query in queries() for name, inside in OURS.findall(query)}


def scraped(server: Server) -> list[Sample]:
    status, text = server.get("/metrics")
    assert status == 200
    return [
        (sample.name, dict(sample.labels))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


class Troubles:
    """A server, what befalls it, and every sample that it ever showed."""

    def __init__(self, folder: Path, hook: str) -> None:
        """`hook` is the address of a service that takes what it is told."""
        self.folder = folder
        self.port = free_port(2)
        self.keys = {name: made(folder / f"{name}.key") for name in ("edge", "known", "odd")}
        self.hook = hook
        self.server = Server(folder, config=self.config("0", nobody="http://127.0.0.1:9"))
        self.seen: list[Sample] = []

    def config(self, min_free: str, **hooks: str) -> str:
        here = f"127.0.0.1:{self.port}"
        services = {"well": self.hook, **hooks}
        told = {name: {"url": url, "secret": HOOK} for name, url in services.items()}
        return f"""
auth: {{publish_keys: {{main: {SECRET}}}}}
link: {{listen: "{here}", key: {self.folder}/edge.key, workers: [{self.keys["known"]}]}}
pipeline: transcode
outbound: {{allow: [127.0.0.1]}}
recording: {{folder: {self.folder}/kept, min_free: {min_free}}}
hooks: {json.dumps(told)}
streams:
  "cam": {{publish: [main], record: true, push: ["rtmp://127.0.0.1:9/live/x"]}}
  "jumping": {{publish: anyone}}
  "fat": {{publish: anyone, limits: {{bitrate: 300k}}}}
"""

    def fill_the_disk(self) -> None:
        """As the server sees it; and a service is gone for good, another one says no."""
        no = f"http://127.0.0.1:{self.server.http}/nowhere"
        (self.folder / "streamgen.yaml").write_text(self.config("1000T", no=no))
        self.server.process.send_signal(signal.SIGHUP)

    def scrape(self, name: str, **labels: str) -> bool:
        """Whether such a sample is there now; whatever is there is kept."""
        now = scraped(self.server)
        self.seen += now
        return any(name == other and labels.items() <= found.items() for other, found in now)

    def crowd(self) -> None:
        """More connections of one address than it may have, none of which publishes."""
        with ExitStack() as held:
            for _ in range(Limits().connections_per_address + 4):
                held.enter_context(socket.create_connection(("127.0.0.1", self.server.rtmp)))
            self.until("streamgen_rtmp_evicted_total")

    def until(self, name: str, **labels: str) -> None:
        self.server.until(lambda: self.scrape(name, **labels), f"{name} {labels}", 25)

    def publish(self, name: str, **options: str) -> Publisher:
        return Publisher(self.server, name, query=f"?token={SECRET}", **options)  # type: ignore[arg-type]


def _befall(one: Troubles, some: list[Publisher]) -> None:
    server = one.server
    some.append(Publisher(server, "cam", query="?token=wrong"))
    one.until("streamgen_rtmp_refused_total")
    some.append(one.publish("cam"))
    one.until("streamgen_latency_ms", stream="cam", of="p95")
    one.until("streamgen_recording_bytes_total", stream="cam")
    one.until("streamgen_push", stream="cam", of="127.0.0.1")  # nobody is there
    one.until("streamgen_hook_sent_total", reason="well")
    one.until("streamgen_hook_retried_total", reason="nobody")
    one.until("streamgen_hook_left", of="nobody")
    one.fill_the_disk()
    one.until("streamgen_recording_dropped_total", stream="cam")
    one.until("streamgen_hook_dropped_total", reason="nobody")
    worker = server.pids()[server.stream("cam")["worker"]]
    os.kill(worker, signal.SIGSTOP)  # pictures wait in it, some until they are of no use
    time.sleep(2.5)
    os.kill(worker, signal.SIGKILL)
    one.until("streamgen_takeovers_total", stream="cam", reason="worker_lost")
    one.until("streamgen_takeovers_total", stream="cam", reason="done")
    some[-1].process.send_signal(signal.SIGSTOP)  # it stands still
    one.until("streamgen_stalls_total", stream="cam")
    some[-1].kill()  # it is lost
    one.until("streamgen_filled_total", stream="cam", reason="picture")
    one.until("streamgen_rtmp_closed_total")
    some.append(one.publish("cam"))
    one.until("streamgen_resumed_total", stream="cam")
    jumping = subprocess.Popen([*JUMPING, f"rtmp://127.0.0.1:{server.rtmp}/live/jumping"])
    try:
        one.until("streamgen_corrected_total", stream="jumping")
    finally:
        jumping.terminate()
        jumping.wait(10)
    some.append(one.publish("fat", size="640x360"))
    one.until("streamgen_refused_total", stream="fat")
    one.until("streamgen_hook_failed_total", reason="no")
    one.crowd()


def _with_a_store(folder: Path, hook: str) -> list[Sample]:
    """What a server has in addition whose hooks wait in a store."""
    folder.mkdir()
    told = {"well": {"url": hook, "secret": HOOK}}
    config = f"""
store: sqlite:///{folder}/state.db
outbound: {{allow: [127.0.0.1]}}
hooks: {json.dumps(told)}
"""
    server = Server(folder, config=config)
    try:
        return scraped(server)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def hook() -> Iterator[str]:
    service = Listener()
    yield service.url
    service.close()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, hook: str) -> Iterator[list[Sample]]:
    one = Troubles(tmp_path_factory.mktemp("troubles"), hook)
    stranger = Away(one.folder, "odd", one.port, one.keys["edge"])
    some: list[Publisher] = []
    try:
        one.until("streamgen_link_refused_total", reason="unknown_key")
        stranger.stop()
        _befall(one, some)
        yield [*one.seen, *_with_a_store(one.folder / "stored", hook)]
    finally:
        stranger.stop()
        for publisher in some:
            publisher.close()
        one.server.stop()


def fits(labels: dict[str, str], inside: str) -> bool:
    """Whether Prometheus would select a sample with these labels."""
    for label, sign, value in MATCHER.findall(inside):
        found = labels.get(label, "")
        same = found == value if "~" not in sign else re.fullmatch(value, found) is not None
        if same == sign.startswith("!"):
            return False
    return True


def test_every_figure_that_is_asked_for_is_given(seen: list[Sample]) -> None:
    asked = selectors()
    assert len({name for name, _ in asked}) >= 12
    missing = [
        (name, inside)
        for name, inside in sorted(asked)
        if not any(name == other and fits(labels, inside) for other, labels in seen)
    ]
    assert not missing


def test_every_figure_that_names_a_stream_says_what_it_is_of(seen: list[Sample]) -> None:
    for query in queries():
        for label in re.findall(r"ignoring \((\w+)\)|by \(([\w, ]+)\)", query):
            for name in filter(None, re.split(r", ", "".join(label))):
                assert name == "instance" or any(name in labels for _, labels in seen), query
