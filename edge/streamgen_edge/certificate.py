"""Certificates and their keys, as PEM files."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from streamgen.errors import ConfigError

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.S)


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """For a server: TLS 1.2 or later, no renegotiation. Raises `ConfigError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        reason = error.strerror or "not a certificate and its key"
        raise ConfigError(f"cannot use the certificate {certificate}: {reason}") from error
    return context


def read_certificate(cert: Path, key: Path) -> tuple[bytes, bytes]:
    """Both files. Raises `ConfigError` when they are no certificate and its key."""
    tls_context(str(cert), str(key))
    try:
        return cert.read_bytes(), key.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot use the certificate {cert}: {error.strerror}") from error


def own_certificate(cert: Path) -> bytes | None:
    """A server's own certificate is the first of its chain; in binary."""
    found = _PEM.search(cert.read_text(encoding="latin-1"))
    return None if found is None else ssl.PEM_cert_to_DER_cert(found[0])
