"""A TCP proxy that makes a network of every connection: each chunk arrives later, none waits for another.

Run as a process of its own: `python -m benchmarks.delay SOCKET SECONDS`. It prints its port, and ends with its input.
"""

from __future__ import annotations

import ctypes
import heapq
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic

from psycopg.conninfo import make_conninfo

from benchmarks.harness import address

CHUNK = 1 << 20
PR_SET_TIMERSLACK = 29  # Linux, prctl(2): by default it wakes a process up to 50 us late.


@contextmanager
def delayed(dsn: str, one_way: float) -> Iterator[str]:
    """The address of the same database behind a proxy that holds each chunk back for so many seconds."""
    given = address(dsn)
    command = [sys.executable, "-m", "benchmarks.delay", f"{given['host']}/.s.PGSQL.{given['port']}", str(one_way)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            port = int(process.stdout.readline())
            yield make_conninfo(dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        finally:
            process.stdin.close()


class Proxy:
    """Relays between its clients and the server's Unix socket, in one thread."""

    def __init__(self, server: str, one_way: float) -> None:
        self.server = server
        self.one_way = one_way
        # Not epoll, whose timeouts are whole milliseconds.
        self.selector = selectors.SelectSelector()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        self.other: dict[socket.socket, socket.socket] = {}
        self.due: list[tuple[float, int, socket.socket, bytes]] = []
        self.order = count()

    def run(self) -> None:
        """Relay until the standard input ends."""
        while True:
            wait = max(0.0, self.due[0][0] - monotonic()) if self.due else None
            for key, _ in self.selector.select(wait):
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is self.listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self.other:
                    self._read(key.fileobj)
            while self.due and self.due[0][0] <= monotonic():
                _, _, target, chunk = heapq.heappop(self.due)
                self._write(target, chunk)

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.server)
        for one, other in ((client, server), (server, client)):
            self.other[one] = other
            self.selector.register(one, selectors.EVENT_READ)

    def _read(self, source: socket.socket) -> None:
        try:
            chunk = source.recv(CHUNK)
        except ConnectionError:
            chunk = b""
        heapq.heappush(self.due, (monotonic() + self.one_way, next(self.order), self.other[source], chunk))
        if not chunk:
            self.selector.unregister(source)

    def _write(self, target: socket.socket, chunk: bytes) -> None:
        if target not in self.other:
            return
        try:
            if chunk:
                target.sendall(chunk)
                return
        except ConnectionError:
            pass
        # One side has gone: so does the other.
        for one in (target, self.other[target]):
            del self.other[one]
            if one.fileno() in self.selector.get_map():
                self.selector.unregister(one)
            one.close()


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
    proxy = Proxy(sys.argv[1], float(sys.argv[2]))
    print(proxy.listener.getsockname()[1], flush=True)
    proxy.run()
