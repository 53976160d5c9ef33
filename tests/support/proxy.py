"""A proxy that counts round trips: it forwards messages only when the client must wait for an answer.

It produces faults on demand, in either direction.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import RawIOBase
from select import select
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
Stream = BinaryIO | RawIOBase
DELAY = 0.3
"""Seconds. Longer than psycopg's polling interval of a tenth of a second."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a round trip: a part of the request or answer gets through, and then the fault happens.

    cut: both sides are closed. stall: nothing more arrives until the client disconnects or the proxy's timeout ends.
    delay: the rest arrives after DELAY seconds. crawl: it arrives byte by byte. trickle: it arrives slowly, byte by
    byte. A fault of the answer happens after the server has done its work.
    """

    of: Literal["request", "answer"]
    share: float
    then: Literal["cut", "stall", "delay", "crawl", "trickle"]


class Proxy(benchmarks.proxy.Proxy):
    """Forwards round trips, and counts them in `round_trips`.

    After the login the proxy holds back the client's messages until a Sync or a simple Query, and the server's answer
    until ReadyForQuery. That is one round trip. A client that waits for an earlier answer gets none: the proxy closes
    its connection after `wait_timeout` seconds.

    `pause`: seconds in which a client may go on after a Sync; what it sends then belongs to the same round trip. The
    client of a cluster sends two Syncs with one call.

    `faults`: the faults of the next round trips; None for no fault. `when_stalled` is called when one stalls, delays
    or trickles.
    """

    def __init__(self, host: str, port: int, wait_timeout: float) -> None:
        super().__init__(host, port, _Relay, wait_timeout)
        self.round_trips = 0
        self.pause = 0.0
        self.faults: list[Fault | None] = []
        self.when_stalled: Callable[[], None] = lambda: None


class _Relay(BaseRequestHandler):
    """One connection of a client."""

    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        # If one side closes or is silent for too long, close the other.
        with (
            contextlib.suppress(OSError),
            self.server.dial() as server,
            # Without a buffer, so that select() says whether more has come.
            self.request.makefile("rb", buffering=0) as sent,
            server.makefile("rb") as answered,
        ):
            self._log_in(sent, server, answered)
            while burst := self._burst(sent):
                request, answers = b"".join(burst), sum(message[:1] in (SYNC, QUERY) for message in burst)
                self.server.round_trips += 1
                fault = self.server.faults.pop(0) if self.server.faults else None
                if fault is not None and fault.of == "request":
                    request = self._faulty(fault, request, server)
                # The server answers while it is still being asked, and stops to listen where nobody takes its answers.
                asking = started(server.sendall, request)
                answer = b"".join(message for _ in range(answers) for message in _until(answered, READY))
                ended(asking)
                if fault is not None and fault.of == "answer":
                    answer = self._faulty(fault, answer, self.request)
                self.request.sendall(answer)

    def _faulty(self, fault: Fault, message: bytes, to: socket.socket) -> bytes:
        """Send the part that the fault allows. Returns the rest that is still to be sent."""
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

    def _log_in(self, sent: Stream, server: socket.socket, answered: BinaryIO) -> None:
        length = _exactly(sent, 4)
        server.sendall(length + _exactly(sent, struct.unpack("!i", length)[0] - 4))
        for message in _until(answered, READY):
            self.request.sendall(message)
            if message[:1] == AUTHENTICATION:
                (code,) = struct.unpack_from("!i", message, 5)
                if code not in (AUTHENTICATION_OK, SASL_FINAL):
                    server.sendall(_message(sent))

    def _burst(self, sent: Stream) -> list[bytes]:
        """Everything that the client sends before it waits for an answer. Empty if the client ends the session."""
        self.request.settimeout(None)
        # psycopg sends a Flush after each pipeline. A Flush without messages before it gets no answer.
        while (first := _message(sent))[:1] == FLUSH:
            pass
        held = [first]
        self.request.settimeout(self.server.wait_timeout)
        while held[-1][:1] not in (SYNC, QUERY, TERMINATE) or (held[-1][:1] == SYNC and self._goes_on()):
            held.append(_message(sent))
        return [] if held[-1][:1] == TERMINATE else held

    def _goes_on(self) -> bool:
        """Whether the client sends more before it waits."""
        return bool(self.server.pause and select([self.request], [], [], self.server.pause)[0])


def _until(stream: Stream, last: bytes) -> Iterator[bytes]:
    while True:
        message = _message(stream)
        yield message
        if message[:1] == last:
            return


def _message(stream: Stream) -> bytes:
    """A whole message: its type, its length (which includes itself), and the rest."""
    head = _exactly(stream, 5)
    return head + _exactly(stream, struct.unpack("!xi", head)[0] - 4)


def _exactly(stream: Stream, count: int) -> bytes:
    read = b""
    while len(read) < count:
        if not (more := stream.read(count - len(read))):
            raise ConnectionError("the other side has gone")
        read += more
    return read


def proxy(host: str, port: int, wait_timeout: float = 8.0) -> AbstractContextManager[Proxy]:
    """A running Proxy."""
    return serving(Proxy(host, port, wait_timeout))


def through(wire: Proxy, dsn: str) -> str:
    """The DSN that leads through the proxy."""
    return benchmarks.proxy.through(wire.port, dsn)
