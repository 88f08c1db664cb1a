"""Stages joined by edges, and the lane that runs them."""
