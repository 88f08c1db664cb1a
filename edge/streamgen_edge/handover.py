"""What a worker gets before a stream goes on live on it, and what it owes to viewers then."""

from __future__ import annotations

from streamgen.ingest.link import VIDEO, Description
from streamgen_edge.attachment import Attachment
from streamgen_edge.gop import Gop
from streamgen_edge.timeline import HZ
from streamgen_edge.viewing import SOUND_HZ, Viewing

SOUND_BACK = HZ
"""How much sound before the last that was sent a new worker gets, to make up for what died."""
DEADLY = 2
"""After so many deaths one after the other, what the dead owed may be what they died of."""


def hand_over(
    gop: Gop, sound: Description | None, viewing: Viewing, attachment: Attachment, *, whole: bool
) -> int:
    """Send the GOP and the sound so far, coded so. If it is the `whole` of it, the pictures that
    some rung has not shown are shown; else all are only decoded. How many the top rung gets."""
    top = viewing.last.get(viewing.tracks[0].name, 0)
    owed = 0
    for kept in gop.replay(_sound_from(viewing), _shown(viewing) if whole else None):
        packet = kept.packet
        owed += packet.track == VIDEO and not packet.discard and kept.at > top
        attachment.send(packet, kept.received_ns, sound)
    return owed


def pass_over(viewing: Viewing, at: int) -> None:
    """What lies before this time is not for viewers any more: another edge had the stream."""
    for track in viewing.tracks:
        last = at if track.kind == "video" else at * SOUND_HZ // HZ
        viewing.last[track.name] = max(last, viewing.last.get(track.name, last))


def _shown(viewing: Viewing) -> int:
    """Time of the last picture on every rung, but for rungs that get none now."""
    renditions = () if viewing.packager is None else viewing.packager.renditions.values()
    fed = [r.track.name for r in renditions if r.track.video and not r.cutter.absent]
    return min((viewing.last.get(name, 0) for name in fed), default=0)


def _sound_from(viewing: Viewing) -> int:
    """Where the sound for the worker begins: before the last that was sent."""
    last = viewing.last.items()
    sent = [at * HZ // SOUND_HZ for name, at in last if name.startswith("audio/")]
    return min(sent) - SOUND_BACK if sent else 0
