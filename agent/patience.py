"""Storing what an attempt leaves, while AWS cannot be reached: what is not stored now is lost with the host, so it is worth a wait."""

from __future__ import annotations

import time
from typing import Callable, Optional

from agent import wire
from agent.aws import Refused

WAIT_MAX_S = 300.0
EVERY_S = 5.0


class Patience:
    """For all that one attempt stores: `wait_max_s` in sum, from the first failure on. `hurried`: nobody can wait any longer."""

    def __init__(self, hurried: Callable[[], bool], wait_max_s: float = WAIT_MAX_S, every_s: float = EVERY_S) -> None:
        self._hurried, self._wait_max_s, self._every_s = hurried, wait_max_s, every_s
        self._until: Optional[float] = None

    def __call__(self, store: Callable[[], None]) -> None:
        """Until it is stored. Raises what the last try raised."""
        while True:
            try:
                return store()
            except (wire.Unreachable, Refused) as error:
                now = time.monotonic()
                if self._until is None:
                    self._until = now + self._wait_max_s
                theirs = isinstance(error, wire.Unreachable) or error.status >= 500
                if not theirs or now >= self._until or self._hurried():
                    raise
            time.sleep(self._every_s)
