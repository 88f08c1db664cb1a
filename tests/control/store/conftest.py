"""Both databases: SQLite in a file, and a PostgreSQL of the tests' own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.control.store.private_postgres import PrivatePostgres, missing

pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with PrivatePostgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    new: Callable[[], str] = request.getfixturevalue("postgres").new_database
    yield new()
