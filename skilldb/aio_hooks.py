"""The functions that differ between the two APIs, for the async one. database_hooks.py has the same names."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Future, Lock
from typing import Any

from psycopg.waiting import Wait
from psycopg_pool import AsyncConnectionPool

__all__ = ["INTERRUPTIONS", "Lock", "get_connection", "put_connection", "ready"]

INTERRUPTIONS = (CancelledError, KeyboardInterrupt)


async def ready(socket: int, asked: int) -> int:
    """Wait for what a generator asked for, at most a tenth of a second. Returns 0 if nothing came."""
    loop = asyncio.get_running_loop()
    woken: Future[int] = loop.create_future()
    timer = loop.call_later(0.1, _wake, woken, 0)
    try:
        loop.add_reader(socket, _wake, woken, asked)
        if asked & Wait.W:
            loop.add_writer(socket, _wake, woken, asked)
        return await woken
    finally:
        timer.cancel()
        loop.remove_reader(socket)
        if asked & Wait.W:
            loop.remove_writer(socket)


def _wake(woken: Future[int], ready: int) -> None:
    if not woken.done():
        woken.set_result(ready)


async def get_connection(pool: AsyncConnectionPool[Any], seconds: float) -> Any:
    """A connection of the pool. Raises psycopg's PoolTimeout if none becomes free in time."""
    return await pool.getconn(seconds)


async def put_connection(pool: AsyncConnectionPool[Any], conn: Any) -> None:
    """Give a connection back to the pool, even if the caller is cancelled meanwhile."""
    try:
        await pool.putconn(conn)
    except asyncio.CancelledError:
        # The caller was cancelled while the connection was rolled back or waited for the pool's lock. Without this,
        # the pool would lose the connection. Shielding every return would cost a fifth of a call's time.
        conn._pool = pool
        await asyncio.shield(pool.putconn(conn))
        raise
