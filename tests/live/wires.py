"""Networks between the parts of a cluster that can be cut: of the loopback, or real ones."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tests.ports import free_port

CLONE_NEWNET = 0x40000000


class Way(Protocol):
    """How parts of a cluster reach each other."""

    def place(self, name: str, port: int) -> tuple[str, str]:
        """Where a part listens, at two ports, and where others find it."""
        ...

    def command(self, name: str) -> list[str]:
        """What goes before the command of a part, so that it runs on its host."""
        ...

    def inside(self, name: str) -> AbstractContextManager[None]:
        """This thread, and what it starts, is on that part's host meanwhile."""
        ...

    def cut(self, name: str) -> None: ...

    def mend(self, name: str) -> None: ...


class Wire:
    """A port whose connections go on to another one, until it is cut: then nothing passes, nobody
    is told, and who comes anew waits."""

    def __init__(self, port: int, target: int) -> None:
        self.carried = 0
        """Reads that found something, both ways together."""
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._listening = socket.create_server(("127.0.0.1", port))
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.set()
        for one in (self._listening, *self._ends):
            _shut(one)
        for thread in self._threads:
            thread.join(10)
        for one in (self._listening, *self._ends):
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self._ends.append(near)
                self._open.wait()
                self._join(near)

    def _join(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            _shut(near)
            return
        self._ends.append(far)
        for way in ((near, far), (far, near)):
            self._threads.append(threading.Thread(target=self._carry, args=way, daemon=True))
            self._threads[-1].start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self.carried += 1
                self._open.wait()
                sink.sendall(data)
        self._open.wait()
        _shut(source)
        _shut(sink)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


class Loopback:
    """All on one host; what goes to a part that listens goes through wires."""

    def __init__(self) -> None:
        self._wires: dict[str, list[Wire]] = {}

    def __enter__(self) -> Loopback:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for wires in self._wires.values():
            for wire in wires:
                wire.close()

    def place(self, name: str, port: int) -> tuple[str, str]:
        listens, found = free_port(2), free_port(2)
        self._wires[name] = [Wire(found + n, listens + n) for n in (0, 1)]
        return f"127.0.0.1:{listens}", f"127.0.0.1:{found}"

    def command(self, name: str) -> list[str]:
        return []

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        yield

    def carried(self, name: str) -> int:
        """Messages to and from a part so far: as good as each is read by itself."""
        return sum(wire.carried for wire in self._wires[name])

    def cut(self, name: str) -> None:
        for wire in self._wires[name]:
            wire.cut()

    def mend(self, name: str) -> None:
        for wire in self._wires[name]:
            wire.mend()


def no_namespaces() -> str:
    """Why there are none on this machine, or nothing."""
    if shutil.which("ip") is None:
        return "ip is not installed (Debian: iproute2)"
    probe = f"sg-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no network namespaces here: {made.stderr.strip()}"
    line = ["ip", "-n", probe, "link", "add", "switch", "type", "bridge"]
    linked = subprocess.run(line, capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", probe], check=True)
    return f"no bridges here: {linked.stderr.strip()}" if linked.returncode else ""


class Namespaces:
    """A host for each part, with a cable to a switch: network namespaces and a bridge, which is in
    a namespace of its own. `with` makes them, and takes them away."""

    def __init__(self, *names: str) -> None:
        self._addresses = {name: f"10.77.0.{n}" for n, name in enumerate(names, 1)}
        self._tag = f"sg{os.getpid()}"
        self._switch = f"{self._tag}-switch"

    def __enter__(self) -> Namespaces:
        try:
            _ip("netns", "add", self._switch)
            _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "switch", "up")
            for number, (name, address) in enumerate(self._addresses.items()):
                self._host(self._space(name), f"port{number}", address)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _host(self, space: str, port: str, address: str) -> None:
        _ip("netns", "add", space)
        ends = ["type", "veth", "peer", "name", port, "netns", self._switch]
        _ip("-n", space, "link", "add", "eth0", *ends)
        _ip("-n", self._switch, "link", "set", port, "master", "switch", "up")
        _ip("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _ip("-n", space, "link", "set", link, "up")

    def _end(self) -> None:
        for space in (*map(self._space, self._addresses), self._switch):
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)

    def _space(self, name: str) -> str:
        return f"{self._tag}-{name}"

    def place(self, name: str, port: int) -> tuple[str, str]:
        place = f"{self._addresses[name]}:{port}"
        return place, place

    def command(self, name: str) -> list[str]:
        return ["ip", "netns", "exec", self._space(name)]

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        with open("/proc/thread-self/ns/net") as ours:
            with Path("/run/netns", self._space(name)).open() as theirs:
                _enter(theirs.fileno())
            try:
                yield
            finally:
                _enter(ours.fileno())

    def cut(self, name: str) -> None:
        """At the switch."""
        self._set(name, "down")

    def mend(self, name: str) -> None:
        self._set(name, "up")

    def _set(self, name: str, state: str) -> None:
        port = f"port{list(self._addresses).index(name)}"
        _ip("-n", self._switch, "link", "set", port, state)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")
