"""How long an answer of the server is waited for.

Owns a thread that cuts a connection on which one answer has been awaited for too long. A server whose processes stand
still, on a disk that has stopped answering, keeps its connections open, and its own time-outs stand still with it. The
surprising fact: it is a duplicate of the connection that is cut, so whatever the system gives the connection's number
to meanwhile, nothing else is hit.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class ServerTimeouts:
    """One connection's; used by one thread at a time."""

    def __init__(self, seconds: float) -> None:
        """`seconds` should be more than the server's own time-out of a statement."""
        self._seconds = seconds
        self._lock = threading.Lock()
        self._line: int | None = None
        """What is to be cut; None as long as nothing is awaited."""
        self._waited = 0.0
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="patience", daemon=True).start()

    @contextmanager
    def waiting(self, fileno: int) -> Iterator[None]:
        """Whoever awaits an answer on this connection, within the block."""
        line = os.dup(fileno)
        with self._lock:
            self._line, self._waited = line, 0.0
        try:
            yield
        finally:
            with self._lock:
                self._line = None
            os.close(line)

    def end(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        step = self._seconds / 10
        while not self._ended.wait(step):
            with self._lock:
                self._waited += step
                if self._line is not None and self._waited > self._seconds:
                    with suppress(OSError), socket.socket(fileno=os.dup(self._line)) as line:
                        line.shutdown(socket.SHUT_RDWR)
