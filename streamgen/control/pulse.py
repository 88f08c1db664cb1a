"""A process that stands still as a whole ends itself: no other thread of it could."""

from __future__ import annotations

import faulthandler
import threading
import time

STILL_S = 30.0
"""As long as one call may take that lets others run (`media/vigil.py`)."""
BEATS = 4


def keep_pulse(still_s: float = STILL_S) -> None:
    """From now on: when no Python code has run for `still_s` seconds, since a library holds the
    interpreter's lock and does not come back, say on standard error where, and exit with 1."""

    def beat() -> None:
        while True:
            faulthandler.dump_traceback_later(still_s, exit=True)
            time.sleep(still_s / BEATS)

    threading.Thread(target=beat, name="pulse", daemon=True).start()
