"""What our pages must be for their content security policy, and for machines without a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ELSEWHERE = re.compile(r"""["'(]\s*(https?:)?//""")
INLINE = re.compile(r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src=)")


def assert_by_itself(files: Mapping[str, Path]) -> None:
    """Nothing comes from elsewhere, and nothing is inline."""
    for name, path in files.items():
        for line in path.read_text(encoding="utf-8").splitlines():
            plain = line.replace("http://www.w3.org/2000/svg", "")
            assert not ELSEWHERE.search(plain), f"{name}: {line}"
            assert not (name.endswith(".html") and INLINE.search(line)), f"{name}: {line}"
