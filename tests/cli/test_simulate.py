from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.cli.chart import COLOURS, PAPER, Line, Panel, chart

TRACE = """
length: 30min
nodes: [{name: gpu, count: 4, capacity: {gpu_ms: 1000}}]
profiles: [{name: style, needs: [{gpu_ms: 190}]}]
streams: [{profile: style, running: {low: 4, high: 8, high_at: 15min}, length: 5min}]
"""


def test_a_trace_becomes_figures_and_a_picture(tmp_path: Path) -> None:
    trace, plot = tmp_path / "small.yaml", tmp_path / "small.png"
    trace.write_text(TRACE, encoding="utf-8")
    command = ["simulate", str(trace), "--plot", str(plot)]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["name"] == "small" and answer["streams"] > 20
    with av.open(str(plot)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert all((picture == colour).all(axis=2).any() for colour in COLOURS[:3])
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1 and "--overwrite" in again.stderr
    assert CliRunner().invoke(app, [*command[:2], "--plot", "small.jpg"]).exit_code == 2


def test_a_line_is_as_high_as_its_values() -> None:
    picture = chart("", [0, 1, 2], [Panel([Line("", [0, 10, 0])])])
    drawn = (picture == COLOURS[0]).all(axis=2)
    columns = np.flatnonzero(drawn.any(axis=0))
    tops = drawn.argmax(axis=0)[columns]
    assert tops.argmin() == np.abs(columns - columns.mean()).argmin()
    assert tuple(picture[0, 0]) == PAPER


def test_a_scale_ends_at_a_number_that_is_easily_read() -> None:
    # 241 is drawn on a scale to 400: at some 0.6 of the height of a panel.
    low, high = (
        (chart("", [0, 1], [Panel([Line("", [241, value])])]) == COLOURS[0]).all(axis=2)
        for value in (241, 400)
    )
    bottom, top = (np.flatnonzero(drawn.any(axis=1)).min() for drawn in (low, high))
    assert bottom - top == round((1 - 241 / 400) * 199)
