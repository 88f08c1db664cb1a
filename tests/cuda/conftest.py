"""The benches that kernels are tested on; what is missing is named where a test is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda.bench import CXX, Bench, HostBench, compiled


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kernels, compiled for this processor."""
    if CXX is None:
        pytest.skip("needs g++")
    return compiled(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def host(library: Path) -> HostBench:
    return HostBench(library)


@pytest.fixture(params=["host", pytest.param("cuda", marks=pytest.mark.gpu)])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "host":
        bench: Bench = request.getfixturevalue("host")
        return bench
    pytest.importorskip("cuda.core", reason="needs cuda-core (the extra gpu)")
    from tests.cuda.gpu import CudaBench

    try:
        return CudaBench()
    except RuntimeError as error:
        pytest.skip(f"needs an NVIDIA GPU: {error}")
