"""What the demo and the benchmarks say in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def painted(stats: Mapping[str, Any]) -> dict[str, Any]:
    """What became of a stream's pictures, as its own statistics have it. Painted is what every
    stage computed for this very picture; unaccounted is what nobody knows anything of."""
    stages = stats.get("stages", [])
    bypassed = max((stage["bypassed"] for stage in stages), default=0)
    reused = max((stage["reused"] for stage in stages), default=0)
    came, out, dropped = stats["frames_in"], stats["frames_out"], stats["dropped"]
    return {
        "frames_in": came,
        "frames_out": out,
        "painted_percent": round(100 * (out - bypassed - reused) / max(1, came), 2),
        "reused": reused,
        "passed_through": bypassed,
        "dropped": dropped,
        "unaccounted": came - out - sum(dropped.values()) - stats["on_the_way"],
    }
