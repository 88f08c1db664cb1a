"""HTTP/2 by hand (RFC 9113): what no well-behaved client library lets one send."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    *(0, 1, 3, 4, 6, 7, 8, 9),
)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + _number(stream) + payload


def _number(value: int) -> bytes:
    return struct.pack(">I", value)


def settings(**values: int) -> bytes:
    """`window=0`: nothing may be sent on a new stream."""
    window = values.get("window")
    told = b"" if window is None else struct.pack(">HI", INITIAL_WINDOW, window)
    return frame(SETTINGS, 0, 0, told)


def head(path: str, method: str = "GET", *more: tuple[str, str]) -> bytes:
    """A block of header fields (RFC 7541), nothing in it compressed."""
    block = bytes([{"GET": 0x82, "POST": 0x83}[method], 0x87])
    block += b"\x04" + _text(path) + b"\x01" + _text("localhost")
    return block + b"".join(b"\x00" + _text(key) + _text(value) for key, value in more)


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, length = len(data) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + data


class Talk:
    """A connection to a server, from its preface on."""

    def __init__(self, port: int, *, window: int | None = None, preface: bool = True) -> None:
        anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        anyone.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", port), 10)
        self.sock = anyone.wrap_socket(plain)
        assert self.sock.selected_alpn_protocol() == "h2"
        self._heard = b""
        if preface:
            told = settings() if window is None else settings(window=window)
            self.say(PREFACE + told)

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(self, stream: int, path: str, method: str = "GET", *, end: bool = True) -> None:
        self.say(
            frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, head(path, method))
        )

    def heard(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Kind, flags, stream and payload of each frame until the server ends the connection."""
        while True:
            while len(self._heard) < 9 or len(self._heard) < 9 + self._length:
                try:
                    more = self.sock.recv(65_536)
                except (ConnectionError, ssl.SSLError):
                    return
                if not more:
                    return
                self._heard += more
            kind, flags = self._heard[3:5]
            stream = int.from_bytes(self._heard[5:9], "big") & 0x7FFFFFFF
            payload = self._heard[9 : 9 + self._length]
            self._heard = self._heard[9 + self._length :]
            yield kind, flags, stream, payload

    @property
    def _length(self) -> int:
        return int.from_bytes(self._heard[:3], "big")

    def close(self) -> None:
        self.sock.close()
