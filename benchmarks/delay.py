"""A proxy that simulates a network: each chunk arrives later, and chunks do not wait for each other.

It runs in its own process: `python -m benchmarks.delay HOST PORT SECONDS`. It prints its port and ends when its
standard input ends.
"""

from __future__ import annotations

import ctypes
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select
from socketserver import BaseRequestHandler
from time import monotonic

from benchmarks.harness import address
from benchmarks.proxy import Proxy, serving, through

CHUNK = 1 << 20
PR_SET_TIMERSLACK = 29  # Linux, prctl(2): by default timers may be up to 50 us late.


@contextmanager
def delayed(dsn: str, one_way: float) -> Iterator[str]:
    """The DSN of the same database through a proxy that delays each chunk by `one_way` seconds."""
    given = address(dsn)
    command = [sys.executable, "-m", "benchmarks.delay", given["host"], given["port"], str(one_way)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield through(int(process.stdout.readline()), dsn)
        finally:
            process.stdin.close()


class DelayingProxy(Proxy):
    """Forwards each chunk `one_way` seconds after it arrived."""

    def __init__(self, host: str, port: int, one_way: float) -> None:
        super().__init__(host, port, _Relay, wait_timeout=None)
        self.one_way = one_way


class _Relay(BaseRequestHandler):
    """One connection of a client."""

    server: DelayingProxy
    request: socket.socket

    def handle(self) -> None:
        """Relay until one side closes, then close the other."""
        with suppress(OSError), self.server.dial() as server:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            other = {self.request: server, server: self.request}
            readable = [*other]
            due: deque[tuple[float, socket.socket, bytes]] = deque()
            while True:
                # Not epoll: its timeouts are whole milliseconds.
                for source in select(readable, [], [], max(0.0, due[0][0] - monotonic()) if due else None)[0]:
                    chunk = source.recv(CHUNK)
                    due.append((monotonic() + self.server.one_way, other[source], chunk))
                    if not chunk:
                        readable.remove(source)
                while due and due[0][0] <= monotonic():
                    _, target, chunk = due.popleft()
                    if not chunk:
                        return
                    target.sendall(chunk)


if __name__ == "__main__":
    if sys.platform == "linux":  # The threads of the connections inherit it.
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
    with serving(DelayingProxy(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))) as proxy:
        print(proxy.port, flush=True)
        sys.stdin.read()
