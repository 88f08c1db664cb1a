"""`python -m streamgen.graph.isolation.child STAGE CONTROL LIFELINE`: a stage's class, loaded in a
process of its own interpreter, from which workers are forked in a few milliseconds.

The host holds the other end of CONTROL (questions, and a channel for each node that uses the
stage) and of LIFELINE, a pipe on which nothing is ever sent. When the host is gone, however it
died, the lifeline ends, and so do we and all our workers. One thread, which only ever waits.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

from pydantic import ValidationError

import streamgen
from streamgen.errors import StreamGenError
from streamgen.graph.isolation.channel import Channel
from streamgen.graph.isolation.worker import Worker, root
from streamgen.media.port import Contract
from streamgen.plugins import find_stage

PROTOCOL = 1
"""Of the messages between host and child; both must have the same."""
OPTIONAL = ("prepare", "flush", "bypass")
"""Methods a stage may have."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Child:
    """Answers the host and forks workers. Ends with its lifeline."""

    def __init__(self, stage: Any, control: Channel, lifeline: int) -> None:
        self._stage = stage
        self._control = control
        self._lifeline = lifeline
        self._poll = select.poll()
        self._clients: dict[int, Channel] = {}
        self._workers: dict[int, tuple[int, Channel]] = {}  # by pidfd: pid, whose it is
        for fd in (control.fileno(), lifeline):
            self._poll.register(fd, select.POLLIN)

    def run(self) -> None:
        """Serve until the host is gone."""
        while True:
            for fd, _ in self._poll.poll():
                if fd in self._workers:
                    self._reap(fd)
                elif fd in self._clients:
                    self._serve(self._clients[fd])
                elif fd == self._lifeline or not self._answer():
                    self._end()
                    return

    def _answer(self) -> bool:
        data, fds = self._control.receive_with_fds()
        if not data:
            return False
        question = json.loads(data)
        if "check" in question:
            self._control.send(json.dumps(self._checked(question["check"])).encode())
        for fd in fds:
            client = Channel(socket.socket(fileno=fd))
            self._clients[fd] = client
            self._poll.register(fd, select.POLLIN)
        return True

    def _checked(self, values: dict[str, Any]) -> dict[str, Any]:
        """Validated parameters, or what is wrong with them."""
        try:
            params = self._stage.Params.model_validate(values)
        except ValidationError as error:
            return {
                "errors": [
                    {"loc": list(one["loc"]), "type": one["type"], "msg": one["msg"]}
                    for one in error.errors()
                ]
            }
        return {"values": params.model_dump(mode="json")}

    def _serve(self, client: Channel) -> None:
        data, fds = client.receive_with_fds()
        if not data:
            self._drop(client)
            return
        order = json.loads(data)
        end, output = fds
        pid = os.fork()
        if pid == 0:
            root(partial(self._become_worker, end, output, order))
        os.close(end)
        os.close(output)
        pidfd = os.pidfd_open(pid)  # nobody else reaps: the number cannot be another's by now
        self._workers[pidfd] = (pid, client)
        self._poll.register(pidfd, select.POLLIN)
        with suppress(OSError):
            client.send(json.dumps({"forked": pid}).encode(), [pidfd])

    def _become_worker(self, end: int, output: int, order: dict[str, Any]) -> None:
        """In the new process: let go of everything that is the child's, and work."""
        parent = os.getppid()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.setsid()  # what the plugin starts itself is ended with it
        os.dup2(output, 1)
        os.dup2(output, 2)
        mine = (output, self._lifeline, self._control.fileno(), *self._clients, *self._workers)
        for fd in mine:
            os.close(fd)
        limit(order.get("cpus"))
        Worker(Channel(socket.socket(fileno=end)), self._stage).serve()

    def _reap(self, pidfd: int) -> None:
        pid, client = self._workers.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it started, and is left
        _, status = os.waitpid(pid, 0)
        with suppress(OSError):
            client.send(json.dumps({"exited": pid, "status": status}).encode())

    def _drop(self, client: Channel) -> None:
        """A node of the host is closed: its worker has been told, and gets no second chance."""
        self._poll.unregister(client.fileno())
        del self._clients[client.fileno()]
        client.close()
        for pid, owner in self._workers.values():
            if owner is client:
                os.kill(pid, signal.SIGKILL)

    def _end(self) -> None:
        for pid, _ in self._workers.values():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def limit(cpus: int | None) -> None:
    """No core files, and at most `cpus` processors, not always the same for everybody."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    allowed = sorted(os.sched_getaffinity(0))
    if cpus is not None and cpus < len(allowed):
        first = os.getpid() % len(allowed)
        os.sched_setaffinity(0, (allowed + allowed)[first : first + cpus])


def hold_on_to(lifeline: int, armed: bool) -> None:
    """`armed`: the kernel ends us with the host, even in the middle of an import that hangs."""
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    if armed:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC if armed else flags & ~os.O_ASYNC)


def hello(stage: Any) -> dict[str, Any]:
    """What the host has to know of the stage. Raises `ConfigError`."""
    contract = Contract.of(stage)
    return {
        "protocol": PROTOCOL,
        "streamgen": streamgen.__version__,
        "pid": os.getpid(),
        "inputs": {name: asdict(port) for name, port in contract.inputs.items()},
        "outputs": {name: asdict(port) for name, port in contract.outputs.items()},
        "state": contract.state,
        "latency": contract.latency,
        "fixed": sorted(contract.fixed),
        "skippable": contract.skippable,
        "api": contract.api,
        "schema": stage.Params.model_json_schema(),
        "methods": [name for name in OPTIONAL if hasattr(stage, name)],
    }


def main() -> None:
    name, control_fd, lifeline = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    hold_on_to(lifeline, armed=True)
    control = Channel(socket.socket(fileno=control_fd))
    try:
        stage = find_stage(name)
        greeting = hello(stage)
    except StreamGenError as error:
        control.send(json.dumps({"error": str(error)}).encode())
        sys.exit(1)
    child = Child(stage, control, lifeline)
    control.send(json.dumps(greeting).encode())
    gc.collect()
    gc.freeze()  # workers share these pages as long as nobody touches them
    hold_on_to(lifeline, armed=False)
    child.run()


if __name__ == "__main__":
    main()
