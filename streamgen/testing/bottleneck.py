"""`Bottleneck`: a narrow way for packets: so fast, with a queue, losses, delay and jitter."""

from __future__ import annotations

import numpy as np


class Bottleneck:
    """A link without a clock and sockets. All may be changed while it is in use."""

    def __init__(
        self,
        rate_bps: float | None = None,
        *,
        queue_ms: float = 300.0,
        delay_ms: float = 0.0,
        jitter_ms: float = 0.0,
        loss: float = 0.0,
        seed: int = 1,
    ) -> None:
        """`rate_bps` None: as fast as they come. A packet is dropped that would wait for longer
        than `queue_ms`; each is late by a time of its own up to `jitter_ms`, so that they overtake
        each other; `loss` is the part that is lost anyhow."""
        self.rate_bps = rate_bps
        self.queue_ms = queue_ms
        self.delay_ms = delay_ms
        self.jitter_ms = jitter_ms
        self.loss = loss
        self.dropped = 0
        """By a full queue."""
        self._free_s = 0.0
        self._chance = np.random.default_rng(seed)

    def carry(self, octets: int, now_s: float) -> float | None:
        """When a packet that comes now is out at the other end; None: never."""
        if self.loss and self._chance.random() < self.loss:
            return None
        out_s = now_s
        if self.rate_bps is not None:
            begin_s = max(now_s, self._free_s)
            if begin_s - now_s > self.queue_ms / 1000:
                self.dropped += 1
                return None
            out_s = self._free_s = begin_s + octets * 8 / self.rate_bps
        late_ms = self.delay_ms
        if self.jitter_ms:
            late_ms += self.jitter_ms * self._chance.random()
        return out_s + late_ms / 1000
