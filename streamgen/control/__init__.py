"""Placement, jobs and the API; comes with the live server."""
