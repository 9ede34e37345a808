"""Keeping the first part of a log and saying so at its end. Pure."""

from __future__ import annotations

LINE = "\n[spillway: the log was cut here; %d bytes came, at most %d are kept]\n"
RESERVE_BYTES = len(LINE % (10**15, 10**12))  # room for the line at its longest


class LogCut:
    """Fed with output, answers what to keep: all of it up to `limit_bytes`, else a first part and a last line.

    The bytes just under the limit are held back until it is known which of the two it is.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = max(limit_bytes, RESERVE_BYTES)
        self._held = b""
        self.came = 0
        self.kept = 0

    @property
    def cut(self) -> bool:
        """Whether more came than is kept."""
        return self.came > self._limit

    def feed(self, data: bytes) -> bytes:
        """The bytes to keep now."""
        self.came += len(data)
        room = self._limit - RESERVE_BYTES - self.kept
        pending = self._held + data if room > 0 or not self.cut else b""
        now, self._held = pending[: max(0, room)], pending[max(0, room) :]
        if self.cut:
            self._held = b""
        self.kept += len(now)
        return now

    def end(self) -> bytes:
        """The last bytes to keep."""
        last = (LINE % (self.came, self._limit)).encode() if self.cut else self._held
        self._held = b""
        self.kept += len(last)
        return last
