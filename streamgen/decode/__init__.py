"""Packets to pictures."""
