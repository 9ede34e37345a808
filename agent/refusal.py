"""An attempt that is given back before it began."""

from __future__ import annotations


class Refusal(Exception):
    """The attempt is given back, not begun. `why` is a `refused` ping's."""

    def __init__(self, why: str, reason: str) -> None:
        super().__init__(reason)
        self.why = why
