"""Whole runs: a real clip through real codecs, or fakes that are hard to please."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from streamgen.deliver.container import FileOutlet
from streamgen.deliver.hls import HlsOutlet
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline
from streamgen.protocols import Outlet
from streamgen.report import Report, measure
from streamgen.session import run

Run = Callable[..., Report]


@pytest.fixture(scope="session")
def lane() -> Iterator[Lane]:
    with Lane() as lane:
        yield lane


@pytest.fixture(scope="session")
def carry(lane: Lane) -> Run:
    """Run one clip through a pipeline to files; the output's suffix or trailing slash decides."""

    def carry(
        pipeline: Pipeline,
        clip: Path | str,
        *outputs: Path,
        hls: Sequence[Path] = (),
        **options: object,
    ) -> Report:
        outlets: list[Outlet] = [FileOutlet(path) for path in outputs]
        outlets += [HlsOutlet(folder) for folder in hls]
        session = open_session(pipeline, open_source(str(clip)), outlets, lane=lane, **options)
        with session:
            run(session)
            return measure(session)

    return carry
