"""A proxy that counts round trips: PostgreSQL messages go only as far as a client may go without an answer.

It fails on demand, in either direction.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from socketserver import BaseRequestHandler
from time import sleep
from typing import BinaryIO, Literal

import benchmarks.proxy
from benchmarks.proxy import serving
from tests.support.waits import ended, started

# Message types and codes: PostgreSQL documentation, "Message Formats".
FLUSH, SYNC, QUERY, TERMINATE = b"H", b"S", b"Q", b"X"
AUTHENTICATION, READY = b"R", b"Z"
AUTHENTICATION_OK, SASL_FINAL = 0, 12
DELAY = 0.3
"""Seconds: longer than the tenth of a second after which psycopg resumes our wait."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a round trip: so much of the request or answer gets through, and then this happens.

    cut: both sides are closed. stall: nothing more comes until the client has gone, or the proxy's timeout is over.
    delay: the rest comes after DELAY seconds. crawl: it comes byte by byte. trickle: it comes byte by byte, slowly. A
    fault of the answer comes when the server has done its work.
    """

    of: Literal["request", "answer"]
    share: float
    then: Literal["cut", "stall", "delay", "crawl", "trickle"]


class Proxy(benchmarks.proxy.Proxy):
    """Relays round trips, and counts them in `round_trips`.

    Once logged in, what the client sends is held back until a Sync or a simple Query ends it, and what the server
    answers until it is ready for more. That is one round trip. So a client that waits for an answer any earlier gets
    none: after `wait_timeout` seconds its connection is closed.

    `faults` are those of the next round trips, None for none. `when_stalled` is called when one of them stalls, delays
    or trickles.
    """

    def __init__(self, host: str, port: int, wait_timeout: float) -> None:
        super().__init__(host, port, _Relay, wait_timeout)
        self.round_trips = 0
        self.faults: list[Fault | None] = []
        self.when_stalled: Callable[[], None] = lambda: None


class _Relay(BaseRequestHandler):
    """One connection of a client."""

    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        # Either side may go, or be silent for too long: then so does the other.
        with (
            contextlib.suppress(OSError),
            self.server.dial() as server,
            self.request.makefile("rb") as sent,
            server.makefile("rb") as answered,
        ):
            self._log_in(sent, server, answered)
            while request := self._burst(sent):
                self.server.round_trips += 1
                fault = self.server.faults.pop(0) if self.server.faults else None
                if fault is not None and fault.of == "request":
                    request = self._faulty(fault, request, server)
                # The server answers while it is still being asked, and stops to listen where nobody takes its answers.
                asking = started(server.sendall, request)
                answer = b"".join(_until(answered, READY))
                ended(asking)
                if fault is not None and fault.of == "answer":
                    answer = self._faulty(fault, answer, self.request)
                self.request.sendall(answer)

    def _faulty(self, fault: Fault, message: bytes, to: socket.socket) -> bytes:
        """Send a part of it as the fault says, and return the rest, where one is still to be sent."""
        through = int(len(message) * fault.share)
        to.sendall(message[:through])
        if fault.then == "delay":
            self.server.when_stalled()
            sleep(DELAY)
            return message[through:]
        if fault.then in ("crawl", "trickle"):
            for number in range(through, len(message)):
                to.sendall(message[number : number + 1])
                if fault.then == "trickle":
                    self.server.when_stalled()
                    sleep(0.05)
            return b""
        if fault.then == "stall":
            self.server.when_stalled()
            self.request.settimeout(self.server.wait_timeout)
            while self.request.recv(1000):
                pass
        raise ConnectionError("as the fault says")

    def _log_in(self, sent: BinaryIO, server: socket.socket, answered: BinaryIO) -> None:
        length = _exactly(sent, 4)
        server.sendall(length + _exactly(sent, struct.unpack("!i", length)[0] - 4))
        for message in _until(answered, READY):
            self.request.sendall(message)
            if message[:1] == AUTHENTICATION:
                (code,) = struct.unpack_from("!i", message, 5)
                if code not in (AUTHENTICATION_OK, SASL_FINAL):
                    server.sendall(_message(sent))

    def _burst(self, sent: BinaryIO) -> bytes:
        """All that the client sends before it waits; nothing where it takes its leave."""
        self.request.settimeout(None)
        # A Flush with nothing before it asks for nothing; psycopg sends one after each pipeline.
        while (first := _message(sent))[:1] == FLUSH:
            pass
        held = [first]
        self.request.settimeout(self.server.wait_timeout)
        while held[-1][:1] not in (SYNC, QUERY, TERMINATE):
            held.append(_message(sent))
        return b"" if held[-1][:1] == TERMINATE else b"".join(held)


def _until(stream: BinaryIO, last: bytes) -> Iterator[bytes]:
    while True:
        message = _message(stream)
        yield message
        if message[:1] == last:
            return


def _message(stream: BinaryIO) -> bytes:
    """A whole message: its type, its length, which counts itself, and the rest."""
    head = _exactly(stream, 5)
    return head + _exactly(stream, struct.unpack("!xi", head)[0] - 4)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    read = stream.read(count)
    if len(read) < count:
        raise ConnectionError("the other side has gone")
    return read


def proxy(host: str, port: int, wait_timeout: float = 8.0) -> AbstractContextManager[Proxy]:
    """A running Proxy."""
    return serving(Proxy(host, port, wait_timeout))


def through(wire: Proxy, dsn: str) -> str:
    """The address that leads through the proxy."""
    return benchmarks.proxy.through(wire.port, dsn)
