"""Who may come in, and under which names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamgen.control.coordinator.known import Known, read_known
from streamgen.errors import ConfigError
from streamgen.telemetry import Telemetry

A, B = "ab" * 32, "cd" * 32


def test_a_key_opens_the_door_to_its_names_only(tmp_path: Path) -> None:
    path = tmp_path / "peers"
    path.write_text(f"# a node\n{A} node-1\n\n{B} edge-a*  # and its workers\n")
    known = Known(path, Telemetry())
    assert known.guests.keys == {bytes.fromhex(A), bytes.fromhex(B)}
    assert known.may(bytes.fromhex(A), "node-1") and not known.may(bytes.fromhex(A), "node-2")
    assert known.may(bytes.fromhex(B), "edge-a") and known.may(bytes.fromhex(B), "edge-a-worker-0")
    assert not known.may(bytes.fromhex(B), "node-1")


def test_a_file_that_changed_counts_at_once_and_one_that_is_wrong_changes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "peers"
    path.write_text(f"{A}\n")
    known = Known(path, Telemetry())
    assert known.may(bytes.fromhex(A), "anything")
    for text, keys in ((f"{A}\n{B}\n", {A, B}), ("nonsense\n", {A, B}), (f"{B}\n", {B})):
        new = tmp_path / "new"
        new.write_text(text)
        os.replace(new, path)
        known.renew()
        assert known.guests.keys == {bytes.fromhex(key) for key in keys}
    path.unlink()
    known.renew()
    assert known.guests.keys == {bytes.fromhex(B)}


@pytest.mark.parametrize("text", ["zz", f"{A} one two", f"{A}\n{A}", A[:-1]])
def test_a_line_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "peers"
    path.write_text(f"# keys\n{text}\n")
    with pytest.raises(ConfigError, match=r"line [23]"):
        read_known(path)
