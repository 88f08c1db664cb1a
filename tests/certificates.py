"""Certificates for the tests, and what a client is shown."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed"
)


def certified(folder: Path, name: str) -> tuple[Path, Path]:
    """A new certificate and its key, signed by itself."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "1", "-subj", f"/CN={name}", "-keyout", str(key)]
    subprocess.run([*command, "-out", str(cert)], check=True, capture_output=True)
    return cert, key


def connected(port: int, *protocols: str) -> ssl.SSLSocket:
    """A TLS client that believes everything."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    if protocols:
        anyone.set_alpn_protocols(list(protocols))
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    return anyone.wrap_socket(plain)


def shown(client: ssl.SSLSocket) -> str:
    """The certificate that it was shown."""
    binary = client.getpeercert(binary_form=True)
    assert binary is not None
    return ssl.DER_cert_to_PEM_cert(binary)
