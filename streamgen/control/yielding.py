"""`yield_to_others`: this process takes only what the rest of the machine leaves."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

SELF = Path("/proc/self")
NICENESS = 19
_TRIES = 50
_AGAIN_S = 0.1


def yield_to_others() -> None:
    """Put every thread of this process, and all that they start, behind everybody else's.

    No privilege is needed. On Linux that is SCHED_IDLE, with which the kernel also asks disks last;
    elsewhere, and where that is refused, the lowest priority there is. It cannot be taken back.

    The kernel may share the processors among sessions (autogroup) before it looks at single
    threads. So a process that leads its session, as one does that was started with
    `start_new_session`, makes that as light as can be, too.
    """
    try:
        _idle()
    except OSError:  # by a sandbox, say
        _low()
    if hasattr(os, "getsid") and os.getsid(0) == os.getpid():
        _lighten_session()


def _idle() -> None:
    if not hasattr(os, "SCHED_IDLE"):
        _low()
        return
    # Ours first: what it starts from now on is like it. Libraries have threads of theirs already,
    # and those may start others while we look.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while others := [thread for thread in _threads() if _policy(thread) != os.SCHED_IDLE]:
        for thread in others:
            with suppress(ProcessLookupError):
                os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def _low() -> None:
    if hasattr(os, "nice"):
        os.nice(NICENESS)


def _threads() -> list[int]:
    return [int(task.name) for task in (SELF / "task").iterdir()]


def _policy(thread: int) -> int:
    try:
        return os.sched_getscheduler(thread)
    except ProcessLookupError:  # it has ended meanwhile
        return os.SCHED_IDLE


def _lighten_session() -> None:
    for _ in range(_TRIES):
        try:
            (SELF / "autogroup").write_text(str(NICENESS))
        except OSError as error:
            if error.errno != errno.EAGAIN:
                return  # there are no such groups here
            time.sleep(_AGAIN_S)  # the kernel lets all users together do that ten times a second
        else:
            return
