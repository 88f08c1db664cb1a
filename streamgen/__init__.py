"""Real-time AI video streaming engine: models redraw every frame, a ladder goes out."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__"]
