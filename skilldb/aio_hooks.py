"""The functions that differ between the two APIs, for the async one. database_hooks.py has the same names."""

from __future__ import annotations

import asyncio
from asyncio import Lock
from typing import Any

from psycopg_pool import AsyncConnectionPool

__all__ = ["Lock", "get_connection", "put_connection"]


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
