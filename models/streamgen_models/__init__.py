"""Networks, weights and their manifest. The engine reads `manifest.toml` and nothing else."""

from .fold import fold_color
from .networks import enlarge, paint

__all__ = ["enlarge", "fold_color", "paint"]
