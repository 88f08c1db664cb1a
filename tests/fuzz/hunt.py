"""Hunts in one target: `python -m tests.fuzz.hunt TARGET [libFuzzer's options]`; needs atheris.

What breaks the target is written to where libFuzzer's `-artifact_prefix` says.
"""

from __future__ import annotations

import importlib
import sys
import warnings

import atheris

TRACED = ["streamgen", "streamgen_edge", "aiortc.sdp", "aiortc.rtp", "aiortc.codecs", "aioice.stun"]


def main() -> None:
    warnings.simplefilter("ignore")
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=TRACED):
        target = importlib.import_module("tests.fuzz.table").TARGETS[name]
        check = importlib.import_module("tests.fuzz.target").check
    atheris.Setup([sys.argv[0], *options], lambda data: check(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
