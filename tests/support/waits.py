"""Waits for threads and processes, each with a bound."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

BOUND = 60
"""Seconds."""


def started(work: Callable[..., Any], *arguments: Any) -> threading.Thread:
    """A thread that does the work. It does not keep the process from ending."""
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def ended(thread: threading.Thread) -> None:
    """Wait until the thread ends; fail after a minute."""
    thread.join(timeout=BOUND)
    assert not thread.is_alive(), f"{thread.name} hangs"


@contextmanager
def running(*arguments: Any, **settings: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process, from arguments of Popen. It is killed at the end of the block if it still runs."""
    process = subprocess.Popen(*arguments, **settings)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=BOUND)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
