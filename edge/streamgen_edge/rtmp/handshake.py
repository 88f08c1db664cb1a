"""The handshake: C0 C1 C2 from the client, S0 S1 S2 from us (RTMP 1.0 section 5.2).

Flash-era clients put an HMAC-SHA256 digest into C1 and expect one in S1 and S2; librtmp and FFmpeg
do so still. Whoever sends no digest, or a wrong one, is answered in the simple form. The encrypted
form (RTMPE) is refused: its cipher is broken; RTMPS is the answer.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from streamgen_edge.rtmp.limits import ProtocolError

SIZE = 1536
VERSION = 3
ENCRYPTED = {6, 8, 9}
_DIGEST = 32
_CROWN = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")
_SERVER_KEY = b"Genuine Adobe Flash Media Server 001"
_PLAYER_KEY = b"Genuine Adobe Flash Player 001"
_SERVER_VERSION = b"\x04\x05\x00\x01"
_PLACES = (772, 8)
"""Where the four bytes stand whose sum says where the digest lies: the two known schemes."""


def digest_at(block: bytes | bytearray, place: int) -> int:
    """Offset of the digest in a C1 or S1 block of this scheme."""
    return sum(block[place : place + 4]) % 728 + place + 4


def digest_of(block: bytes | bytearray, at: int, key: bytes) -> bytes:
    """The digest that belongs at `at`: over the block without these 32 bytes."""
    return hmac.digest(key, bytes(block[:at] + block[at + _DIGEST :]), "sha256")


def find_digest(block: bytes, key: bytes) -> tuple[int, int] | None:
    """Scheme and offset of a valid digest; None where there is none."""
    for place in _PLACES:
        at = digest_at(block, place)
        if hmac.compare_digest(block[at : at + _DIGEST], digest_of(block, at, key)):
            return place, at
    return None


class Handshake:
    """Server side. `feed` bytes until `done`; then `rest` holds what came after the handshake.

    `random` gives so many unpredictable bytes (`os.urandom`).
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self.done = False
        self.rest = b""
        self._random = random
        self._held = bytearray()
        self._answered = False

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """Take bytes, give what is to be sent. Raises `ProtocolError`."""
        self._held += data
        answer = b""
        if not self._answered and self._held:
            self._check_version(self._held[0])
            if len(self._held) > SIZE:
                answer = self._answer(bytes(self._held[1 : SIZE + 1]))
                self._answered = True
        # What C2 echoes is not looked at: encoders in the field echo all kinds of things.
        if self._answered and len(self._held) > 2 * SIZE:
            self.rest = bytes(self._held[2 * SIZE + 1 :])
            self._held.clear()
            self.done = True
        return answer

    @staticmethod
    def _check_version(version: int) -> None:
        if version in ENCRYPTED:
            raise ProtocolError("RTMPE is not spoken here: use rtmp or rtmps")
        if version == 0x16:
            raise ProtocolError("TLS on a port without TLS: use rtmp, not rtmps")
        if version != VERSION:
            raise ProtocolError(f"not RTMP: the first byte is {version}, not {VERSION}")

    def _answer(self, theirs: bytes) -> bytes:
        found = find_digest(theirs, _PLAYER_KEY) if theirs[4] else None
        if found is None:
            return bytes([VERSION]) + bytes(8) + self._random(SIZE - 8) + theirs
        place, at = found
        ours = bytearray(theirs[:4] + _SERVER_VERSION + self._random(SIZE - 8))
        mine = digest_at(ours, place)
        ours[mine : mine + _DIGEST] = digest_of(ours, mine, _SERVER_KEY)
        echo = self._random(SIZE - _DIGEST)
        key = hmac.digest(_SERVER_KEY + _CROWN, theirs[at : at + _DIGEST], "sha256")
        return bytes([VERSION]) + ours + echo + hmac.digest(key, echo, "sha256")
