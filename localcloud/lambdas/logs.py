"""What functions print, in one file for each function, with Lambda's START, END and REPORT lines.

Workers write into pipes; one thread carries what comes out of them into the files, so that a file can be rotated while
functions write. The runtime client separates the lines of a traceback by carriage returns (CloudWatch shows them as one
event); here they become lines, because people read these files with `tail`.
"""

import os
import selectors
import threading
from pathlib import Path

LOG_MAX_BYTES = 10_000_000
LOG_KEPT = 2  # rotated files beside the one that is written
_CHUNK_BYTES = 65_536


class LogFile:
    """One function's log: `path`, and `path.1` … as it is rotated by size."""

    def __init__(self, path: Path, max_bytes: int = LOG_MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        with self._lock:
            if self._file.closed:
                return
            if self._file.tell() + len(data) > self._max_bytes:
                self._rotate()
            self._file.write(data)

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(LOG_KEPT, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path if number == 1 else self.path.with_name(f"{self.path.name}.{number - 1}")
            if newer.exists():
                newer.replace(older)
        self._file = self.path.open("ab", buffering=0)


class Outlet:
    """The reading end of one worker's standard output and error."""

    def __init__(self, log: LogFile) -> None:
        self.log = log
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self._lock = threading.Lock()
        self._open = True

    def drain(self) -> bool:
        """Carry what is in the pipe into the log; False at the pipe's end."""
        with self._lock:
            while self._open:
                try:
                    chunk = os.read(self.reader, _CHUNK_BYTES)
                except BlockingIOError:
                    return True
                if not chunk:
                    return False
                self.log.write(chunk.replace(b"\r", b"\n"))
            return False

    def close(self) -> None:
        with self._lock:
            if self._open:
                self._open = False
                os.close(self.reader)


class LogPump:
    """One thread that drains every outlet."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._changes: list[Outlet] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="function-logs")
        self._thread.start()

    def add(self, outlet: Outlet) -> None:
        with self._lock:
            self._changes.append(outlet)
        os.write(self._wake_writer, b"+")

    def stop(self) -> None:
        """Drain once more, then end. Call it when no worker is left."""
        self._stopping = True
        os.write(self._wake_writer, b".")
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                outlet: Outlet | None = key.data
                if outlet is None:
                    os.read(self._wake_reader, _CHUNK_BYTES)
                elif not outlet.drain():
                    self._selector.unregister(key.fileobj)
                    outlet.close()
            with self._lock:
                added, self._changes = self._changes, []
            for outlet in added:
                self._selector.register(outlet.reader, selectors.EVENT_READ, outlet)
            if self._stopping:
                self._finish()
                return

    def _finish(self) -> None:
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                key.data.drain()
                key.data.close()
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
