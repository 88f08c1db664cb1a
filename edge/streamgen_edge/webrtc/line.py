"""`SecureLine`: the way out to one peer.

Packets that say so are numbered across all lines of the transport, for its feedback (header
extension transport-wide-cc-01; RFC 8285, 4.2).
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from typing import Any

import pylibsrtp
from aiortc.rtcdtlstransport import RTCDtlsTransport

from streamgen.deliver.congestion.sent import Sent

_SOL_UDP, _UDP_SEGMENT = 17, 103
_NO_SEGMENTS = {errno.EINVAL, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EMSGSIZE}
_SLOT = 1500
_HEAD, _LONG_HEAD = 12, 20
"""Bytes of a packet's header, without and with its number in the transport."""
_MOST = 40
"""Packets in one system call; the kernel takes 64 and 64 KiB."""
_srtp: Any = pylibsrtp
_scratch = _srtp.ffi.new("char[]", _SLOT * _MOST)
_view = memoryview(_srtp.ffi.buffer(_scratch))
_slots = [_scratch + _SLOT * at for at in range(_MOST)]
_length = _srtp.ffi.new("int *")
_protect = _srtp.lib.srtp_protect
_EXTENSION = struct.Struct(">HHBHx")
_ONE_BYTE_HEADERS = 0xBEDE
_COUNTED = 0x10
"""The header's bit for an extension: ours is always the number in the transport."""


class SecureLine:
    """`deliver.webrtc.Line` on a connected transport: encrypts into one buffer, and gives the
    kernel as many packets at once as it takes (UDP segmentation)."""

    def __init__(self, dtls: RTCDtlsTransport) -> None:
        self._dtls = dtls
        self._nominated: dict[int, Any] = dtls.transport._connection._nominated
        self._srtp = dtls._tx_srtp._srtp[0]
        self._session = dtls._tx_srtp
        self._segments = True
        self._extension = 0
        self.sent: Sent | None = None
        """What was numbered; None when nothing is."""

    def count(self, extension_id: int) -> Sent:
        """Number packets whose header has the bit of an extension."""
        self._extension = extension_id << 4 | 1
        if self.sent is None:
            self.sent = Sent()
        return self.sent

    def send(self, packets: list[tuple[bytes, bytes]]) -> bool:
        pair = self._nominated.get(1)
        if pair is None or not packets:
            return False
        sock, address = pair.protocol.plain_socket, pair.remote_addr
        srtp, view, length = self._srtp, _view, _length
        sent = self.sent if packets[0][0][0] & _COUNTED else None
        head = _HEAD if sent is None else _LONG_HEAD
        now_us = 0 if sent is None else time.monotonic_ns() // 1000
        for begin in range(0, len(packets), _MOST):
            ready: list[memoryview] = []
            at = 0
            for slot, (header, payload) in zip(
                _slots, packets[begin : begin + _MOST], strict=False
            ):
                size = head + len(payload)
                view[at : at + _HEAD] = header
                if sent is not None:
                    _EXTENSION.pack_into(
                        view,
                        at + _HEAD,
                        *(_ONE_BYTE_HEADERS, 1, self._extension, sent.next & 0xFFFF),
                    )
                    sent.add(size, now_us)
                view[at + head : at + size] = payload
                length[0] = size
                if _protect(srtp, slot, length):
                    return False
                ready.append(view[at : at + length[0]])
                at += _SLOT
            if not self._out(sock, address, ready):
                return False
        return True

    def _out(self, sock: socket.socket, address: tuple[str, int], ready: list[memoryview]) -> bool:
        begin, number = 0, len(ready)
        try:
            while begin < number:
                end, size = begin + 1, len(ready[begin])
                if self._segments:
                    while end < number and len(ready[end]) == size:
                        end += 1
                    if end < number and len(ready[end]) < size and end > begin:
                        end += 1
                if end - begin == 1:
                    sock.sendto(ready[begin], address)
                else:
                    flag = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", size))]
                    sock.sendmsg(ready[begin:end], flag, 0, address)
                begin = end
        except BlockingIOError:
            return False
        except OSError as error:
            if self._segments and error.errno in _NO_SEGMENTS:
                self._segments = False
                return self._out(sock, address, ready[begin:])
            return False
        return True

    def control(self, packet: bytes) -> None:
        pair = self._nominated.get(1)
        if pair is None:
            return
        try:
            pair.protocol.plain_socket.sendto(self._session.protect_rtcp(packet), pair.remote_addr)
        except (OSError, pylibsrtp.Error):
            return
