"""A TCP proxy in front of a PostgreSQL server, for benchmarks and tests. Its handler relays one connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import TypeVar

from psycopg.conninfo import make_conninfo


class Proxy(ThreadingTCPServer):
    """Listens on `port` of 127.0.0.1 without TLS, and connects to the server at `host` and `port`.

    `wait_timeout`: how many seconds a handler waits for the server; None for no limit.
    """

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, host: str, port: int, handler: type[BaseRequestHandler], wait_timeout: float | None) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._server = host, port
        self.port: int = self.server_address[1]
        self.wait_timeout = wait_timeout

    def dial(self) -> socket.socket:
        """A connection to the server."""
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection((host, port), timeout=self.wait_timeout)
        server = socket.socket(socket.AF_UNIX)
        server.settimeout(self.wait_timeout)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server


AnyProxy = TypeVar("AnyProxy", bound=Proxy)


@contextmanager
def serving(proxy: AnyProxy) -> Iterator[AnyProxy]:
    """Run the proxy in a thread."""
    with proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join(timeout=60)


def through(port: int, dsn: str) -> str:
    """The DSN of the same database through the proxy on that port, without TLS."""
    return make_conninfo(dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
