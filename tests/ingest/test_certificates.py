"""Servers that are pulled from over TLS are believed as this machine believes others."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import certified, needs_openssl
from tests.ingest.opening import refusal

pytestmark = needs_openssl
FIRST = {"https": b"GET ", "rtmps": b"\x03", "rtsps": b"OPTI"}
"""What a client says once it believes the server."""
schemes = pytest.mark.parametrize("scheme", FIRST)


@contextmanager
def listening(cert: Path, key: Path, heard: list[bytes]) -> Iterator[int]:
    """A TLS server on a port that hears how its clients begin, and hangs up."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)

    def serve() -> None:
        while True:
            try:
                plain, _ = server.accept()
            except OSError:
                return
            try:
                with tls.wrap_socket(plain, server_side=True) as client:
                    heard.append(client.recv(4))
            except OSError:
                heard.append(b"")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@schemes
def test_who_shows_a_certificate_that_nobody_signed_hears_nothing(
    tmp_path: Path, scheme: str
) -> None:
    heard: list[bytes] = []
    with listening(*certified(tmp_path, "localhost"), heard) as port:
        assert "certificate" in refusal(f"{scheme}://localhost:{port}/live/a?token=secret")
    assert heard
    assert not any(heard)


@schemes
def test_a_certificate_for_another_name_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    heard: list[bytes] = []
    cert, key = certified(tmp_path, "elsewhere.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    with listening(cert, key, heard) as port:
        assert "certificate" in refusal(f"{scheme}://localhost:{port}/live/a")
    assert not any(heard)


@schemes
def test_a_certificate_of_ones_own_is_believed_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    heard: list[bytes] = []
    cert, key = certified(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    with listening(cert, key, heard) as port:
        refusal(f"{scheme}://localhost:{port}/live/a")
    assert any(first.startswith(FIRST[scheme]) for first in heard)
