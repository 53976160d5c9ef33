"""Keeps connections and pools in the process that opened them: a forked child must not use them."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, NoReturn, Protocol, TypeVar
from weakref import WeakSet

import psycopg
from psycopg.abc import PQGenConn
from psycopg.pq.abc import PGconn

from skilldb.errors import ForkedError

T = TypeVar("T")


class Inheritable(Protocol):
    """An object that a forked child must abandon."""

    def abandon(self) -> None:
        """Called in the child, possibly more than once. It must not touch anything that the parent shares."""


_watched: WeakSet[Inheritable] = WeakSet()
_process = os.getpid()


def watch(opened: Inheritable) -> None:
    """Abandon `opened` in every process that is forked from this one while the object exists."""
    _watched.add(opened)


def notice_fork() -> None:
    """In a fork, abandon everything that the parent process has opened, once.

    Python calls this in the child. Every use of a connection calls it too: a fork by a C library runs none of Python's
    hooks, and the hooks of other packages may run before ours.
    """
    global _process
    if os.getpid() == _process:
        return
    with suppress(Exception):
        for opened in list(_watched):
            with suppress(Exception):  # If one fails, the others must still be abandoned.
                opened.abandon()
    _process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=notice_fork)


def disconnect(descriptor: int) -> None:
    """Replace a socket with /dev/null, in this process alone.

    Nothing from here then reaches the parent's connection, not even the message that ends a session. The parent's
    event loop keeps watching its socket: epoll refers to the open socket and not to the descriptor's number. No
    other file can get this descriptor's number, so a late call cannot act on the wrong file.
    """
    try:
        other = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # There is no /dev, or no free descriptor. Closing the socket frees one for the pipe.
        os.close(descriptor)
        other, writing = os.pipe()
        os.close(writing)
    if other != descriptor:
        os.dup2(other, descriptor, inheritable=False)
        os.close(other)


def refuse_forked(since: int) -> None:
    """Raise ForkedError if this process is not `since`, the id of the process that began the call."""
    if os.getpid() != since:
        refuse_inherited()


def refuse_inherited() -> NoReturn:
    """Raise ForkedError for a call or a transaction that a parent process began."""
    raise ForkedError(
        "this process was forked during the call or transaction, which goes on in the parent process alone. "
        "Begin a new one here"
    )


class NotPicklable:
    """Refuses to be pickled or copied: a connection cannot go to another process."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle or copy a {type(self).__name__}: connect in the process that uses it")


class Inheritance:
    """Makes a connection know the process that opened it."""

    pgconn: PGconn

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._opened_by = os.getpid()
        super().__init__(*args, **kwargs)

    @property
    def inherited(self) -> bool:
        """Whether this process is a fork of the one that opened the connection."""
        if self._opened_by == os.getpid():
            return False
        notice_fork()
        return True

    def abandon(self) -> None:
        """In a forked child: replace the socket, which is the parent's."""
        with suppress(psycopg.Error):  # A closed connection has no socket.
            disconnect(self.pgconn.socket)


class _Attempt:
    """A connection attempt. `socket` is -1 while it has none."""

    socket = -1

    def abandon(self) -> None:
        if self.socket >= 0:
            disconnect(self.socket)


def watched(connecting: PQGenConn[T]) -> PQGenConn[T]:
    """Run psycopg's generator that connects. A process that is forked meanwhile abandons it and gets ForkedError."""
    attempt = _Attempt()
    watch(attempt)
    opened_by = os.getpid()
    ready = None
    try:
        while True:
            try:
                asked = connecting.send(ready)  # type: ignore[arg-type]
            except StopIteration as done:
                watch(done.value)
                answer: T = done.value
                return answer
            attempt.socket = asked[0]
            ready = yield asked
            refuse_forked(opened_by)
    finally:
        attempt.socket = -1  # It is closed now, or it belongs to the connection, which is watched itself.


class Connection(Inheritance, psycopg.Connection[tuple[Any, ...]]):
    """psycopg's connection, for everything but calls. It waits without a bound."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Any]:
        return (yield from watched(super()._connect_gen(conninfo)))

    def _try_cancel(self, *, timeout: float = 5.0) -> None:
        if not self.inherited:  # Cancelling would end the parent's query.
            super()._try_cancel(timeout=timeout)
