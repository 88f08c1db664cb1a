"""Files that cost time to make: whole, and made once."""

from __future__ import annotations

import threading
from pathlib import Path

from streamgen.cache import CachedFiles


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    CachedFiles(tmp_path / "deep" / "er", ".bin").write("name", b"made")
    files = CachedFiles(tmp_path / "deep" / "er", ".bin")
    assert files.read("name") == b"made"
    assert files.read("other") is None
    assert [path.name for path in files.folder.iterdir()] == ["name.bin"]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    files = CachedFiles(tmp_path, ".bin")
    files.write("name", b"a longer one")
    files.write("name", b"short")
    assert files.read("name") == b"short"


def test_only_one_makes_a_file_at_a_time(tmp_path: Path) -> None:
    files = CachedFiles(tmp_path, ".bin")
    order: list[str] = []

    def second() -> None:
        with CachedFiles(tmp_path, ".bin").making("name"):
            order.append("second")

    thread = threading.Thread(target=second)
    with files.making("name"), files.making("another"):
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
