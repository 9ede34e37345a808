"""An attempt's log: spooled to a file while the command prints, sent to S3 in chunks, so that it can be followed.

The thread that drains the command's pipe only moves bytes into the spool, so a slow network never slows a command. A second thread,
started by the first output, sends what is new: at once when the log outgrows what travels in the finish ping, else every few
seconds. A small log of a short command costs no request: it ends before the first of those seconds have passed.

An agent that adopts the command opens the same spool: its size is how much is kept, and a small file beside it says how much more came,
with the last of it, and how much was sent. A chunk that was sent and not noted is sent again, from the same byte on.
"""

from __future__ import annotations

import functools
import os
import struct
import threading
from typing import Any, Callable, Optional

from agent import splice
from agent.log_cut import LogCut

SMALL_BYTES = 8 * 1024
CHUNK_BYTES = 256 * 1024
FLUSH_EVERY_S = 5.0
LAST_BYTES = 32 * 1024
TAKE_BYTES = 1 << 20  # they move inside the kernel
DROP_BYTES = 64 * 1024
COUNTS = struct.Struct("<QQ")  # came beyond the limit, sent


def _at_once(store: Callable[[], None]) -> None:
    store()


class Log:
    """`put(offset, data)` writes a chunk; called from the flushing thread only. One of at most `small_bytes` is not sent at all."""

    def __init__(
        self, path: str, limit_bytes: int, put: Callable[[int, bytes], None], small_bytes: int = SMALL_BYTES
    ) -> None:
        self._small = small_bytes
        self._cut = LogCut(limit_bytes)
        self._put = put
        self._store: Callable[[Callable[[], None]], None] = _at_once
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._counts = os.open(path + ".counts", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        noted = os.pread(self._counts, COUNTS.size + LAST_BYTES, 0)
        self._beyond: int
        self._sent: int
        self._beyond, self._sent = COUNTS.unpack_from(noted) if len(noted) >= COUNTS.size else (0, 0)
        self._tail = noted[COUNTS.size :]  # of what came beyond the limit
        self._written = min(os.fstat(self._fd).st_size, self._cut.limit)
        if self._beyond:
            self._written = self._cut.limit  # an agent that was cutting it did not end
        self._noting = threading.Lock()
        self._changed = threading.Condition()
        self._ended = False
        self._fault = ""  # of the spool: it is not gone on with
        self._unsent = ""
        self._flusher: Optional[threading.Thread] = None
        if self._written:
            self._came()

    @property
    def came(self) -> int:
        """Bytes that the command has printed so far."""
        return self._written + self._beyond

    @property
    def kept_bytes(self) -> int:
        """Kept so far."""
        return self._written

    @property
    def last(self) -> bytes:
        """The last that came, also where the log was cut before."""
        if len(self._tail) >= LAST_BYTES:
            return self._tail
        room = LAST_BYTES - len(self._tail)
        return os.pread(self._fd, room, max(0, self._written - room)) + self._tail

    def take(self, pipe: int) -> bool:
        """Output of the command: a bounded part of what is in the pipe. Never blocks on anything but the local disk."""
        room = self._cut.limit - self._written
        try:
            if room and not self._fault:
                moved = splice.move(pipe, self._fd, min(room, TAKE_BYTES), self._written)
                if moved:
                    with self._changed:
                        self._written += moved
                    self._came()
                return moved > 0
        except BlockingIOError:
            return False
        except OSError as error:
            self._fault = "the log could not be kept on the host: %s" % error
        return self._drop(pipe, room)

    def _drop(self, pipe: int, room: int) -> bool:
        try:
            data = os.read(pipe, DROP_BYTES)
        except BlockingIOError:
            return False
        if not room:
            self._beyond += len(data)
            self._tail = (self._tail + data)[-LAST_BYTES:]
            self._note()
        return bool(data)

    def _note(self) -> None:
        with self._noting:
            try:
                os.pwrite(self._counts, COUNTS.pack(self._beyond, self._sent) + self._tail, 0)
            except OSError as error:
                self._fault = "the log could not be kept on the host: %s" % error

    def _came(self) -> None:
        with self._changed:
            if self._urgent():
                self._changed.notify_all()
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_all, name="log", daemon=True)
            self._flusher.start()

    def _ready(self) -> int:
        """How much can be sent."""
        return (self._written if self._ended else self._cut.settled(self._written)) - self._sent

    def _urgent(self) -> bool:
        """Whether what waits must not wait for the next round."""
        ready = self._ready()
        return ready >= CHUNK_BYTES or (self._sent == 0 and ready > SMALL_BYTES)

    def _flush_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._urgent(), FLUSH_EVERY_S)
                ended, ready = self._ended, self._ready()
            if ended and self._written <= self._small:
                return  # all of it travels in the finish ping
            while ready > 0:
                chunk = os.pread(self._fd, min(ready, CHUNK_BYTES), self._sent)
                try:
                    self._store(functools.partial(self._put, self._sent, chunk))
                except Exception as error:  # tried again at the next flush; told in the finish ping when it is the last
                    self._unsent = "its log could not be stored: %s" % error
                    break
                self._unsent = ""
                with self._changed:
                    self._sent += len(chunk)
                self._note()
                ready -= len(chunk)
            if ended:
                return

    def finish(self, patience: Callable[[Callable[[], None]], None] = _at_once) -> tuple[dict[str, Any], str]:
        """The finish ping's `log`, and what went wrong with it ("" when nothing did). `patience` stores the last of it."""
        came = self.came
        stays, line = self._cut.end(came)
        if line:
            with self._changed:
                self._written = stays
            try:
                os.ftruncate(self._fd, stays)
                os.pwrite(self._fd, line, stays)
            except OSError as error:
                self._fault = "the log could not be kept on the host: %s" % error
        with self._changed:
            self._written = stays + len(line)
            self._store = patience
            self._ended = True
            self._changed.notify_all()
        if self._flusher is not None:
            self._flusher.join()
        text = None
        if self._written <= SMALL_BYTES:
            text = os.pread(self._fd, SMALL_BYTES, 0).decode("utf-8", "replace")
        self.close()
        return {"bytes": self._written, "cut": bool(line), "text": text}, self._fault or self._unsent

    def close(self) -> None:
        """Give back what it holds, also where nobody came to `finish`."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._flusher is not None:
            self._flusher.join()
        for fd in (self._fd, self._counts):
            if fd >= 0:
                os.close(fd)
        self._fd = self._counts = -1
