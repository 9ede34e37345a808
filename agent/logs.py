"""An attempt's log: spooled to a file while the command prints, sent to S3 in chunks, so that it can be followed.

The thread that drains the command's pipe only writes to the spool, so a slow network never slows a command. A second thread,
started by the first output, sends what is new: at once when the log outgrows what travels in the finish ping, else every few
seconds. A small log of a short command costs no request: it ends before the first of those seconds have passed.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Callable, Optional

from agent.log_cut import LogCut

SMALL_BYTES = 8 * 1024
CHUNK_BYTES = 256 * 1024
FLUSH_EVERY_S = 5.0
LAST_BYTES = 32 * 1024


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


class Log:
    """`put(offset, data)` writes a chunk; called from the flushing thread only."""

    def __init__(self, path: str, limit_bytes: int, put: Callable[[int, bytes], None]) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._cut = LogCut(limit_bytes)
        self._last = bytearray()
        self._put = put
        self._sent = 0
        self._written = 0
        self._changed = threading.Condition()
        self._ended = False
        self._fault = ""
        self._flusher: Optional[threading.Thread] = None

    @property
    def came(self) -> int:
        """Bytes that the command has printed so far."""
        return self._cut.came

    @property
    def kept_bytes(self) -> int:
        """Kept so far."""
        return self._cut.kept

    @property
    def last(self) -> bytes:
        """The last that came, also where the log was cut before."""
        return bytes(self._last)

    def feed(self, data: bytes) -> None:
        """Output of the command. Never blocks on anything but the local disk."""
        self._last += data
        del self._last[:-LAST_BYTES]
        self._write(self._cut.feed(data))

    def _write(self, keep: bytes) -> None:
        if not keep:
            return
        try:
            _write_all(self._fd, keep)
        except OSError as error:
            self._fault = "the log could not be kept on the host: %s" % error
            return
        with self._changed:
            self._written += len(keep)
            if self._urgent():
                self._changed.notify_all()
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_all, name="log", daemon=True)
            self._flusher.start()

    def _urgent(self) -> bool:
        """Whether what waits must not wait for the next round."""
        return self._written - self._sent >= CHUNK_BYTES or (self._sent == 0 and self._written > SMALL_BYTES)

    def _flush_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._urgent(), FLUSH_EVERY_S)
                ended, ready = self._ended, self._written - self._sent
            if ended and self._written <= SMALL_BYTES:
                return  # all of it travels in the finish ping
            while ready > 0:
                chunk = os.pread(self._fd, min(ready, CHUNK_BYTES), self._sent)
                try:
                    self._put(self._sent, chunk)
                except Exception as error:  # tried again at the next flush; told in the finish ping when it is the last
                    self._fault = "its log could not be stored: %s" % error
                    break
                self._fault = ""
                with self._changed:
                    self._sent += len(chunk)
                ready -= len(chunk)
            if ended:
                return

    def finish(self) -> tuple[dict[str, Any], str]:
        """The finish ping's `log`, and what went wrong with it ("" when nothing did)."""
        self._write(self._cut.end())
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._flusher is not None:
            self._flusher.join()
        text = None
        if self._written <= SMALL_BYTES:
            text = os.pread(self._fd, SMALL_BYTES, 0).decode("utf-8", "replace")
        os.close(self._fd)
        return {"bytes": self._cut.kept, "cut": self._cut.cut, "text": text}, self._fault
