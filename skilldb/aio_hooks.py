"""What the async API does in its own way; database_hooks.py has the same names for the blocking one."""

from __future__ import annotations

import asyncio
from asyncio import Lock, to_thread
from typing import Any

from psycopg_pool import AsyncConnectionPool

__all__ = ["Lock", "get_connection", "put_connection", "to_thread"]


async def get_connection(pool: AsyncConnectionPool[Any]) -> Any:
    """A connection of the pool. psycopg's error where there is none in time."""
    return await pool.getconn()


async def put_connection(pool: AsyncConnectionPool[Any], conn: Any) -> None:
    """Give a connection back to the pool, also where the caller is cancelled meanwhile."""
    try:
        await pool.putconn(conn)
    except asyncio.CancelledError:
        # Cancelled while the connection is rolled back or waits for the pool's lock: it would be lost to the pool.
        # Shielding every return, instead of only an interrupted one, costs a fifth of a call's time.
        conn._pool = pool
        await asyncio.shield(pool.putconn(conn))
        raise
