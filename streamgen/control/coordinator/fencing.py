"""`Epochs`: numbers that tell the owners of streams apart, and tokens that prove them."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

COUNTER_BITS = 32


def leader_shown(message: Any) -> int:
    """The latest leader whose owners or homes are named in what somebody says; 0: none is."""
    epochs = [one.epoch for one in getattr(message, "running", ())]
    return max(epochs, default=getattr(message, "epoch", 0)) >> COUNTER_BITS


class Epochs:
    """Those of one leader: higher than any former leader's, so none of them has to be looked up,
    and never the same twice."""

    def __init__(self, leader: int, secret: bytes) -> None:
        """`leader` is the epoch of the lease to lead, `secret` is the cluster's."""
        self.leader = leader
        self._secret = secret
        self._counter = 0

    def next(self) -> int:
        """A new owner's."""
        self._counter += 1
        return self.leader << COUNTER_BITS | self._counter

    def mine(self, epoch: int) -> bool:
        """Whether this leader gave it."""
        return epoch >> COUNTER_BITS == self.leader

    def later(self, epoch: int) -> bool:
        """Whether a later leader gave it: then this one leads no more, and has not heard it yet."""
        return epoch >> COUNTER_BITS > self.leader

    def token(self, stream: str, epoch: int) -> str:
        """What the owner shows to edges and workers; whoever has the secret can check it."""
        return token(self._secret, stream, epoch)


def token(secret: bytes, stream: str, epoch: int) -> str:
    """128 bits that only who has `secret` can make, for this stream and epoch alone."""
    return blake2b(f"{epoch}:{stream}".encode(), key=secret, digest_size=16).hexdigest()
