"""NVRTC: does it compile our kernels? That takes no GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from streamgen.cuda.program import ARCHITECTURES, compiler, cubin
from streamgen.errors import DeviceError


def main() -> None:
    try:
        with TemporaryDirectory() as folder:
            cubin("planes", ARCHITECTURES[0], Path(folder))
        print(f"{compiler()}, compiles our kernels")
    except DeviceError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
