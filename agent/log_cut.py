"""Keeping the first part of a log and saying so at its end. Pure."""

from __future__ import annotations

from typing import NamedTuple

LINE = "\n[spillway: the log was cut here; %d bytes came, at most %d are kept]\n"
RESERVE_BYTES = len(LINE % (10**15, 10**12))  # room for the line at its longest


class LogCut(NamedTuple):
    """What comes is kept up to `limit_bytes`; if more comes, a first part and a last line. What lies just under the limit is not
    given away until it is known which of the two it is."""

    limit_bytes: int

    @property
    def limit(self) -> int:
        """The most that is kept."""
        return max(self.limit_bytes, RESERVE_BYTES)

    def settled(self, kept: int) -> int:
        """Of the first `kept` bytes, how many stay as they are, whatever comes."""
        return min(kept, self.limit - RESERVE_BYTES)

    def end(self, came: int) -> tuple[int, bytes]:
        """When all has come: how many of the first bytes stay, and what follows them."""
        if came <= self.limit:
            return came, b""
        return self.limit - RESERVE_BYTES, (LINE % (came, self.limit)).encode()
