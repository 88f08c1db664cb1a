"""Servers for the tests: on loopback, real sockets, and as bad as they are told to be."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streamgen_edge.outbound.settings import OutboundSettings

HOME = OutboundSettings(allow=("127.0.0.0/8", "::1"))
"""What lets the tests reach their own servers."""
Behave = Callable[["Heard", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Heard:
    """One request, as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Service:
    """What one server heard so far, and how it answers."""

    behave: Behave
    port: int = 0
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ask?secret=behind-the-host"


def answers(*statuses: int, body: bytes = b"", headers: str = "") -> Behave:
    """One after the other; the last one for ever."""
    rest = list(statuses)

    async def behave(_: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = rest.pop(0) if len(rest) > 1 else rest[0]
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return behave


def says(*parts: bytes, pause_s: float = 0.0, last_forever: bool = False) -> Behave:
    """These bytes, slowly; then silence, or the last of them again and again."""

    async def behave(_: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        while last_forever:
            writer.write(parts[-1])
            await writer.drain()
            await asyncio.sleep(pause_s)

    return behave


async def silence(_: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the other has enough


async def reset(_: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@asynccontextmanager
async def serving(behave: Behave, tls: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    """One server, until the block is left."""
    service = Service(behave)
    open_now: set[asyncio.Task[None]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        service.connections += 1
        try:
            heard = await _heard(reader)
            service.heard.append(heard)
            await service.behave(heard, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has left, or the test is over
        finally:
            writer.close()
            open_now.discard(task)

    server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=tls)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _heard(reader: asyncio.StreamReader) -> Heard:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    return Heard(head[0], headers, await reader.readexactly(int(headers["content-length"])))


@dataclass(frozen=True)
class Authority:
    """One that signs certificates, and is believed by who uses `believed`."""

    key: ec.EllipticCurvePrivateKey
    cert: x509.Certificate

    @classmethod
    def new(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        builder = _builder(name, name, key, days=1)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        usage = x509.KeyUsage(*[False] * 5, key_cert_sign=True, crl_sign=True, **_NEITHER)
        builder = builder.add_extension(usage, True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def context(self, folder: Path, *names: str, days: int = 1) -> ssl.SSLContext:
        """A server's, with a certificate for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        builder = _builder(subject, self.cert.subject, key, days=days)
        builder = builder.add_extension(x509.SubjectAlternativeName(_named(names)), False)
        cert = builder.sign(self.key, hashes.SHA256())
        file = folder / f"{len(list(folder.iterdir()))}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file.write_bytes(private + cert.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    @property
    def believed(self) -> ssl.SSLContext:
        """A client's, as the server makes its own, that knows this authority only."""
        pem = self.cert.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)


_NEITHER = {"encipher_only": False, "decipher_only": False}


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    begin, end = sorted((now - datetime.timedelta(days=2), now + datetime.timedelta(days=days)))
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), begin, end
    )


def _named(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found
