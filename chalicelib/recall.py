"""What a warm process remembers for some seconds, so that pools, families and the boot script are not read for every request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

T = TypeVar("T")


class Recall:
    """A small map whose entries grow stale. Holds only values that may be `max_age_s` old without harm."""

    def __init__(self, entries_max: int = 256) -> None:
        self._entries_max = entries_max
        self._entries: dict[str, tuple[float, object]] = {}

    def get(self, key: str, now: float, max_age_s: float, load: Callable[[], T | None]) -> T | None:
        """The remembered value, or a freshly loaded one. None is never remembered: what is missing may be made any moment."""
        entry = self._entries.get(key)
        if entry is not None and now - entry[0] <= max_age_s:
            return cast(T, entry[1])
        value = load()
        if value is None:
            self._entries.pop(key, None)
        else:
            if len(self._entries) >= self._entries_max:
                self._entries.clear()
            self._entries[key] = (now, value)
        return value

    def forget(self, key: str) -> None:
        """Load it anew the next time."""
        self._entries.pop(key, None)
