"""torch: was it built for CUDA, and does it compute on the GPU?"""

from __future__ import annotations

import sys

import torch


def main() -> None:
    if torch.version.cuda is None:
        sys.exit(f"torch {torch.__version__} was built without CUDA")
    if not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} for CUDA {torch.version.cuda} finds no GPU")
    try:
        ones = torch.ones(8, 8, device="cuda", dtype=torch.float16)
        total = float((ones @ ones).sum())
    except RuntimeError as error:
        sys.exit(f"torch {torch.__version__}: {error}")
    if total != 512:
        sys.exit(f"torch {torch.__version__} computes 512 as {total:g}")
    print(f"{torch.__version__}, CUDA {torch.version.cuda}")


if __name__ == "__main__":
    main()
