"""TensorRT: does its builder start?"""

from __future__ import annotations

import sys

import tensorrt


def main() -> None:
    try:
        tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
    except (RuntimeError, TypeError) as error:
        sys.exit(f"TensorRT {tensorrt.__version__} does not start: {error}")
    print(tensorrt.__version__)


if __name__ == "__main__":
    main()
