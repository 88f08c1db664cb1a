"""The control page: a few static files of our own, served from memory."""

from streamgen_edge.page.app import PageApp

__all__ = ["PageApp"]
