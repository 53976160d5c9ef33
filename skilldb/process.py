"""What belongs to one process: connections and pools, which a forked child must leave alone."""

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
    """What a forked child must let go of."""

    def abandon(self) -> None:
        """Called in the child. Must touch nothing that the parent shares; may be called more than once."""


_watched: WeakSet[Inheritable] = WeakSet()
_process = os.getpid()


def watch(opened: Inheritable) -> None:
    """Have `opened` abandoned in every process that is forked from this one while it exists."""
    _watched.add(opened)


def notice_fork() -> None:
    """Abandon what a parent process has opened, where this one is a fork that has not done so yet.

    Python calls this in the child. Whoever uses a connection calls it too: a fork by a C library runs no hook of
    Python, and the hooks of others may run before ours.
    """
    global _process
    if os.getpid() == _process:
        return
    with suppress(Exception):
        for opened in list(_watched):
            with suppress(Exception):  # One that fails must not keep the others.
                opened.abandon()
    _process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=notice_fork)


def disconnect(descriptor: int) -> None:
    """Put something else in the place of a socket, in this process alone.

    The parent's connection then gets nothing from here, not even a farewell. Its event loop keeps watching it: the
    kernel files a watched socket under the socket itself, which the parent still has open. And the number is not given
    to another file, on which a late call would act.
    """
    try:
        other = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # There is no /dev, or no descriptor is left: then this one's number is free for the pipe.
        os.close(descriptor)
        other, writing = os.pipe()
        os.close(writing)
    if other != descriptor:
        os.dup2(other, descriptor, inheritable=False)
        os.close(other)


def refuse_forked(since: int) -> None:
    """Raise ForkedError where this process is not the one of that id, which began what goes on."""
    if os.getpid() != since:
        refuse_inherited()


def refuse_inherited() -> NoReturn:
    """Raise ForkedError, for a call or a transaction that a parent process has begun."""
    raise ForkedError(
        "this process was forked while the call or transaction was open: it goes on in the parent process alone. "
        "Begin another one here"
    )


class NotPicklable:
    """Refuses to be pickled or copied: a connection cannot go to another process."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle or copy a {type(self).__name__}: connect in the process that uses it")


class Inheritance:
    """A connection's knowledge of its process."""

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
        with suppress(psycopg.Error):  # It was closed.
            disconnect(self.pgconn.socket)


class _Attempt:
    """A connection that is being made. `socket` is -1 while it has none."""

    socket = -1

    def abandon(self) -> None:
        if self.socket >= 0:
            disconnect(self.socket)


def watched(connecting: PQGenConn[T]) -> PQGenConn[T]:
    """What psycopg does to connect. A process that is forked meanwhile leaves it alone, and gets ForkedError."""
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
        attempt.socket = -1  # Closed by now, or the connection's, which is watched itself.


class Connection(Inheritance, psycopg.Connection[tuple[Any, ...]]):
    """psycopg's connection, for what is not a call: it waits without a bound."""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Any]:
        return (yield from watched(super()._connect_gen(conninfo)))

    def _try_cancel(self, *, timeout: float = 5.0) -> None:
        if not self.inherited:  # Cancelling would end the parent's query.
            super()._try_cancel(timeout=timeout)
