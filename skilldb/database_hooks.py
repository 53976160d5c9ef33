"""The functions that differ between the two APIs, for the blocking one. aio_hooks.py has the same names."""

from __future__ import annotations

import select
from threading import Lock
from traceback import walk_tb
from typing import Any

from psycopg.waiting import Wait
from psycopg_pool import ConnectionPool, PoolTimeout
from psycopg_pool.pool import WaitingClient

__all__ = ["INTERRUPTIONS", "Lock", "get_connection", "put_connection", "ready"]

INTERRUPTIONS = (KeyboardInterrupt,)


def ready(socket: int, asked: int) -> int:
    """Wait for what a generator asked for, at most a tenth of a second. Returns 0 if nothing came."""
    poll = select.poll()
    poll.register(socket, select.POLLIN | select.POLLOUT if asked & Wait.W else select.POLLIN)
    return asked if poll.poll(100) else 0


def get_connection(pool: ConnectionPool[Any], seconds: float) -> Any:
    """A connection of the pool. Raises psycopg's PoolTimeout if none becomes free in time."""
    try:
        return pool.getconn(seconds)
    except BaseException as error:
        _leave_queue(pool, error)
        raise


def _leave_queue(pool: ConnectionPool[Any], error: BaseException) -> None:
    """Give up the queue place of a caller who was interrupted while waiting.

    psycopg_pool (3.3) leaves the place in the queue. The next free connection would go there and be lost.
    """
    for frame, _ in walk_tb(error.__traceback__):
        place = frame.f_locals.get("pos")
        if isinstance(place, WaitingClient) and not place.fail(PoolTimeout()) and place.conn is not None:
            place.conn._pool = pool
            pool.putconn(place.conn)


def put_connection(pool: ConnectionPool[Any], conn: Any) -> None:
    """Give a connection back to the pool."""
    pool.putconn(conn)
