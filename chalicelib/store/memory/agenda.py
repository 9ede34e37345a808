"""The agenda in memory."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from chalicelib.core.agenda import Item


class MemoryAgenda:
    """`ports.Agenda`: a set of items."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._items: set[Item] = set()

    def put(self, items: Sequence[Item]) -> None:
        with self._lock:
            self._items.update(items)

    def due(self, until: float, limit: int) -> list[Item]:
        with self._lock:
            return sorted((item for item in self._items if item.at <= until), key=lambda item: item.key)[:limit]

    def remove(self, items: Sequence[Item]) -> None:
        with self._lock:
            self._items.difference_update(items)
