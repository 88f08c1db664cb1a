"""Outbound: whatever this server asks or tells others of its own accord, and where it never goes.

`ranges` (what an address is), `settings` (what is allowed nevertheless), `resolving` (a host to
addresses, once), `url`, `client` (HTTP to those addresses), `signing` (that it was this server).
"""
