"""How many sockets a process of the server may have open."""

from __future__ import annotations

import resource

DESCRIPTORS = 65_536


def take_descriptors() -> None:
    """As many open sockets as this process may have: 1024, the usual number, are for programs that
    wait by select(), and every viewer is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
