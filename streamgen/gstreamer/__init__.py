"""GStreamer as a door: pipelines in a process of their own, encoded data through a pipe."""
