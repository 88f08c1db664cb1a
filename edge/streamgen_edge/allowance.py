"""`Allowance` and `Audience`: what one stream may take of the server, and who makes use of it."""

from __future__ import annotations

WINDOW_S = 10.0
"""A publisher may be ahead of its bitrate by what that allows in this time: bursts are normal."""
WATCHES_S = 10.0
"""Who has asked for a playlist so lately is watching: players ask at least every segment."""


class Allowance:
    """A bitrate, over a time: a leaky bucket that a sender within it never fills."""

    def __init__(self, bitrate_bps: int, window_s: float = WINDOW_S) -> None:
        self.bitrate_bps = bitrate_bps
        self._most_bytes = bitrate_bps / 8 * window_s
        self._level = 0.0
        self._seen = 0
        self._at_s: float | None = None

    def exceeded(self, received_bytes: int, now_s: float) -> bool:
        """Whether the sender, that has sent so much since it came, sends too much for long."""
        passed_s = 0.0 if self._at_s is None else now_s - self._at_s
        self._at_s = now_s
        drained = max(0.0, self._level - passed_s * self.bitrate_bps / 8)
        self._level = drained + received_bytes - self._seen
        self._seen = received_bytes
        return self._level > self._most_bytes


class Audience:
    """The viewers of one stream's playlists: by token and address, as HLS knows no sessions."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str | None, str | None], float] = {}

    def goes_on(self, token: str | None, address: str | None, now_s: float) -> bool:
        """Whether this viewer watches already."""
        who = (token, address)
        if who not in self._seen or now_s - self._seen[who] > WATCHES_S:
            return False
        del self._seen[who]
        self._seen[who] = now_s
        return True

    def admits(self, token: str | None, address: str | None, most: int, now_s: float) -> bool:
        """Whether this viewer may watch, beside those who do already."""
        if self.goes_on(token, address, now_s):
            return True
        if self.count(now_s) >= most:
            return False
        self._seen[token, address] = now_s
        return True

    def count(self, now_s: float) -> int:
        while self._seen:  # the one that was seen first stands first
            first = next(iter(self._seen))
            if now_s - self._seen[first] <= WATCHES_S:
                break
            del self._seen[first]
        return len(self._seen)
