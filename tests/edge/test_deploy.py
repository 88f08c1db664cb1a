"""The files in edge/deploy/ agree with the server and with each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("zmq", reason="pyzmq is not installed")

from streamgen.control.supervisor import KILL_AFTER_S
from streamgen_edge.descriptors import DESCRIPTORS
from streamgen_edge.settings import load_server
from tests.conftest import ROOT

DEPLOY = ROOT / "edge" / "deploy"
DRAIN_S = 2 * KILL_AFTER_S
"""The edge first, then the workers."""


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


ALERTS = ("alerts.yaml", "cluster-alerts.yaml")
BOARDS = ("streamgen.json", "cluster.json")


def rules() -> list[dict[str, Any]]:
    groups = [group for name in ALERTS for group in read(f"prometheus/{name}")["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def board(name: str) -> dict[str, Any]:
    path = DEPLOY / "grafana" / "dashboards" / name
    return dict(json.loads(path.read_text(encoding="utf-8")))


def unit() -> ConfigParser:
    found = ConfigParser(interpolation=None, delimiters=("=",), strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(DEPLOY / "systemd" / "streamgen.service", encoding="utf-8")
    return found


def test_the_server_takes_the_file_of_compose() -> None:
    service = read("compose.yaml")["services"]["streamgen"]
    told = {
        key: re.sub(r"\$\{(\w+):\?[^}]*\}", r"secret-\1", value)
        for key, value in service["environment"].items()
    }
    server = load_server(DEPLOY / "streamgen.yaml", told)
    assert server.auth.publish_keys == {"main": "secret-PUBLISH_KEY"}
    assert server.auth.admin_keys == {"ops": "secret-ADMIN_KEY"}
    ports = {f"127.0.0.1:{p}:{p}/tcp" for p in (server.http.number, server.rtmp.number)}
    udp = server.webrtc.udp_ports
    assert set(service["ports"]) == ports | {f"127.0.0.1:{udp}:{udp}/udp"}
    targets = read("prometheus/prometheus.yaml")["scrape_configs"][0]["static_configs"][0]
    assert {target.partition(":")[0] for target in targets["targets"]} <= set(server.http.hosts)


def test_what_compose_mounts_and_asks_for_is_there() -> None:
    whole = read("compose.yaml")
    named = (DEPLOY / "env.example").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    assert asked == set(re.findall(r"^(\w+)=$", named, re.M))
    for service in whole["services"].values():
        assert all(str(port).startswith("127.0.0.1:") for port in service["ports"])
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            known = (DEPLOY / source).exists() if source[0] == "." else source in whole["volumes"]
            assert known, volume


def test_everybody_waits_longer_than_the_server_drains() -> None:
    grace = read("compose.yaml")["services"]["streamgen"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > DRAIN_S
    service = unit()["Service"]
    assert int(service["TimeoutStopSec"]) > DRAIN_S
    assert service["KillMode"] == "mixed"  # the first process tells the others, in their order
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    [told] = re.findall(r"--stop-timeout (\d+)", text)
    assert int(told) > DRAIN_S


def test_descriptors_are_as_many_as_the_edge_takes() -> None:
    limits = read("compose.yaml")["services"]["streamgen"]["ulimits"]["nofile"]
    assert limits == {"soft": DESCRIPTORS, "hard": DESCRIPTORS}
    assert int(unit()["Service"]["LimitNOFILE"]) == DESCRIPTORS


def test_the_image_copies_what_the_distribution_is_made_of() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        word for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.M) for word in line.split()
    }
    assert {name for name in copied if (ROOT / name).exists()} == copied
    kept = re.findall(r"^!(\S+)", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.M)
    assert {name.partition("/")[0] for name in kept} == copied
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.M)
    bases = re.findall(r"^FROM (\S+)", text, re.M)
    assert len(bases) == 2 and all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases)


def test_the_health_check_tells_a_server_from_none() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    command = json.loads(re.findall(r"^HEALTHCHECK .*\\\n *CMD (\[.*\])$", text, re.M)[0])
    python = shutil.which(command[0]) or "python3"
    nobody = {"HEALTH_URL": "http://127.0.0.1:9/healthz", "PATH": "/usr/bin"}
    done = subprocess.run([python, *command[1:]], env=nobody, capture_output=True, timeout=20)
    assert done.returncode == 1


def test_every_alert_says_what_it_is_and_how_bad() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) >= 10
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "warn", "info"}
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_lies_on_another(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    panels = board(name)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (at["x"] + column, at["y"] + row) for column in range(at["w"]) for row in range(at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_prometheus_reads_all_alerts() -> None:
    assert tuple(read("prometheus/prometheus.yaml")["rule_files"]) == ALERTS


def test_boards_are_told_apart() -> None:
    for key in ("uid", "title"):
        assert len({board(name)[key] for name in BOARDS}) == len(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_the_board_asks_the_source_that_is_provided(name: str) -> None:
    [source] = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    used = set(re.findall(r'"type": "prometheus",\s*"uid": "(\w+)"', json.dumps(board(name))))
    assert used == {source["uid"]}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    folder = DEPLOY / "prometheus"
    tests = [f"{Path(name).stem}_test.yaml" for name in ALERTS]
    for path in (*(Path(__file__).with_name(one) for one in tests), *map(folder.joinpath, ALERTS)):
        shutil.copy(path, tmp_path)
    for command in (
        ["check", "config", "--syntax-only", str(folder / "prometheus.yaml")],
        ["check", "rules", *ALERTS],
        ["test", "rules", *tests],
    ):
        done = subprocess.run(
            ["promtool", *command], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_knows_every_line_of_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / "streamgen.service").read_text(encoding="utf-8")
    here = tmp_path / "streamgen.service"
    here.write_text(text.replace("/opt/streamgen/bin/streamgen", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and "streamgen.service" not in done.stderr, done.stderr
